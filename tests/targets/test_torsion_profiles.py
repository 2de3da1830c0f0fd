"""Torsion profiles against their formulas, turns against dihedrals, jumps against Boltzmann."""

import numpy as np
import openmm
import pytest

from onestep_md.exploration.torsion_jumps import TorsionJumps
from onestep_md.targets.torsion_profiles import (
    POINTS,
    TorsionProfile,
    compute_torsion_profiles,
    turn_atoms,
)

# a bent chain of four atoms with a torsion of 50 degrees, and a fifth on the last
X = np.array([[0.1, 0.14, 0], [0, 0, 0], [0.15, 0, 0], [0.2, 0.09, 0.107], [0.3, 0.08, 0.1]])
BONDS = ((0, 1), (1, 2), (2, 3), (3, 4))


def dihedral(x, a, i, j, d):
    axis = (x[j] - x[i]) / np.linalg.norm(x[j] - x[i])
    one, other = x[a] - x[i], x[d] - x[j]
    one, other = one - (one @ axis) * axis, other - (other @ axis) * axis
    return np.arctan2(np.cross(one, other) @ axis, one @ other)


def system(*forces):
    made = openmm.System()
    for _ in X:
        made.addParticle(12.0)
    for force in forces:
        made.addForce(force)
    return made


def periodic(n, phase, k):
    force = openmm.PeriodicTorsionForce()
    force.addTorsion(0, 1, 2, 3, n, phase, k)
    return force


def test_turning_by_an_angle_adds_it_to_the_torsion():
    angles = np.linspace(-3.0, 3.0, 7)
    before = dihedral(X, 0, 1, 2, 3)
    for angle, x in zip(angles, turn_atoms(X, (1, 2), (3, 4), angles), strict=True):
        change = dihedral(x, 0, 1, 2, 3) - before - angle
        assert abs((change + np.pi) % (2 * np.pi) - np.pi) < 1e-12
        for i, j in BONDS:
            assert np.linalg.norm(x[i] - x[j]) == pytest.approx(np.linalg.norm(X[i] - X[j]))


def test_profiles_are_those_of_the_terms_of_every_form():
    ryckaert = openmm.RBTorsionForce()
    ryckaert.addTorsion(0, 1, 2, 3, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0)
    custom = openmm.CustomTorsionForce("5 * (1 - cos(theta))")
    custom.addTorsion(0, 1, 2, 3, [])
    phi = dihedral(X, 0, 1, 2, 3) + 2 * np.pi / POINTS * np.arange(POINTS)
    psi = np.cos(phi - np.pi)
    expected = 7.0 * (1 + np.cos(2 * phi - 1.0)) + 1 + 2 * psi + 3 * psi**2 + 5 * (1 - np.cos(phi))
    made = system(periodic(2, 1.0, 7.0), ryckaert, custom, openmm.HarmonicBondForce())
    profile = {p.bond: p for p in compute_torsion_profiles(made, BONDS, X)}
    assert set(profile) == {(1, 2), (2, 3)}
    np.testing.assert_allclose(profile[1, 2].energy, expected - expected.min(), atol=1e-6)
    assert profile[1, 2].barrier == pytest.approx(np.ptp(expected))
    assert profile[1, 2].described and not profile[2, 3].described


def test_bonds_of_rings_have_no_profile():
    ring = compute_torsion_profiles(system(), (*BONDS, (4, 0)), X)
    assert ring == ()


def test_jumps_choose_what_dynamics_cannot_cross():
    profiles = compute_torsion_profiles(system(periodic(2, np.pi, 30.0)), BONDS, X)
    assert TorsionJumps(profiles, hottest=8.3).bonds == ((1, 2),)  # 60 kJ/mol at 1000 K
    assert TorsionJumps(profiles, hottest=20.0).bonds == ()


def test_jumps_sample_two_wells_by_their_energies():
    """Metropolis with the proposal: shares of the wells are those of Boltzmann."""
    energy = 30.0 * (1 - np.cos(2 * (2 * np.pi / POINTS) * np.arange(POINTS)))
    jumps = TorsionJumps([TorsionProfile((1, 2), (3, 4), energy, True)], hottest=1.0)
    generator = np.random.default_rng(0)
    x, start = np.repeat(X[None], 500, 0), dihedral(X, 0, 1, 2, 3)

    def u(x):
        return np.array([0.0 if abs(dihedral(c, 0, 1, 2, 3) - start) < 0.1 else 1.0 for c in x])

    shares = []
    for _ in range(30):
        y = jumps.propose(x, generator)
        accept = u(x) - u(y) > -generator.standard_exponential(len(x))
        x[accept] = y[accept]
        shares.append(u(x).mean())
    exact = np.exp(-1) / (1 + np.exp(-1))
    assert np.mean(shares[5:]) == pytest.approx(exact, abs=0.02)
