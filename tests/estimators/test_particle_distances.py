"""Distances between samples of particles, against brute force and closed forms."""

from itertools import permutations

import numpy as np
import pytest

from onestep_md.estimators.distances import (
    ParticleSamples,
    aligned_w2,
    compare_particles,
    energy_w2,
)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def positions(generator, m, n, space):
    x = generator.standard_normal((m, n, space))
    return x - x.mean(axis=1, keepdims=True)


def moved(generator, x):
    """Every sample turned or reflected, and its particles exchanged, at random."""
    turns, _ = np.linalg.qr(generator.standard_normal((len(x), x.shape[2], x.shape[2])))
    return np.stack([generator.permutation(row @ r) for row, r in zip(x, turns, strict=True)])


@pytest.mark.parametrize(("n", "space"), [(4, 2), (3, 3)])
def test_motions_and_exchange_cost_nothing(generator, n, space):
    x = positions(generator, 20, n, space)
    assert aligned_w2(x, generator.permutation(moved(generator, x)), generator) < 1e-6


def test_one_pair_in_the_plane_against_a_search(generator):
    x, y = positions(generator, 1, 4, 2), positions(generator, 1, 4, 2)
    best = np.inf
    for angle in np.linspace(0, 2 * np.pi, 2000):
        c, s = np.cos(angle), np.sin(angle)
        for turn in (np.array([[c, -s], [s, c]]), np.array([[c, s], [s, -c]])):
            for order in permutations(range(4)):
                best = min(best, np.square(x[0] - y[0][list(order)] @ turn.T).sum())
    assert aligned_w2(x, y, generator) == pytest.approx(np.sqrt(best), rel=1e-4)


def test_many_particles_that_were_moved_a_little(generator):
    # a lattice, so that the nearest particle is the right one
    lattice = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3)[:13]
    lattice = (lattice - lattice.mean(axis=0))[None]
    noise = 0.05 * positions(generator, 1, 13, 3)
    found = aligned_w2(lattice, lattice + noise, generator)
    length = np.sqrt(np.square(noise).sum())
    # a rotation takes off what it can: 3 of 36 degrees of freedom
    assert 0.8 * length < found <= length


def test_energy_w2_of_shifted_and_of_unequal_sets(generator):
    u = generator.standard_normal(300)
    assert energy_w2(u, generator.permutation(u)) == pytest.approx(0.0, abs=1e-12)
    assert energy_w2(u, u + 1.5) == pytest.approx(1.5)
    # {0} against {0, 2}: half of the weight moves by 2
    assert energy_w2(np.zeros(1), np.array([0.0, 2.0])) == pytest.approx(np.sqrt(2.0))
    # {0, 3} and {0, 0, 3}: a sixth of the weight moves by 3
    assert energy_w2(np.array([0.0, 3.0]), np.array([0.0, 0.0, 3.0])) == pytest.approx(
        np.sqrt(9.0 / 6.0)
    )
    assert energy_w2(np.array([0.0, np.inf]), u) == np.inf


def test_weights_turn_wrong_samples_into_right_ones(generator):
    """Energies of N(0, 1) from samples of N(1, 1) with their weights."""
    n = 20_000
    x = positions(generator, n, 3, 2)
    v, u = generator.standard_normal(n), 1.0 + generator.standard_normal(n)
    log_w = -0.5 * u**2 + 0.5 * (u - 1.0) ** 2
    target = ParticleSamples(x, v, v, np.zeros(n))
    raw = compare_particles(ParticleSamples(x, u, u, np.zeros(n)), target, generator)
    reweighted = compare_particles(ParticleSamples(x, u, 2.0 * u + 5.0, log_w), target, generator)
    assert raw.energy_w2 == pytest.approx(1.0, abs=0.05) and raw.coupled == 1000
    assert raw.mean_energy == pytest.approx(1.0, abs=4 * raw.d_mean_energy)
    assert raw.d_mean_energy == pytest.approx(n**-0.5, rel=0.05)
    assert reweighted.energy_w2 < 0.1
    assert abs(reweighted.mean_energy) < 4 * reweighted.d_mean_energy < 0.1
    assert reweighted.virial - 5.0 == pytest.approx(2.0 * reweighted.mean_energy)
    assert raw.w2 < 0.4


def test_samples_without_weight_need_no_energy(generator):
    x = positions(generator, 3, 3, 2)
    u, log_w = np.array([1.0, np.inf, 3.0]), np.array([0.0, -np.inf, 0.0])
    found = compare_particles(
        ParticleSamples(x, u, u, log_w),
        ParticleSamples(x, u[[0, 2, 2]], u, np.zeros(3)),
        generator,
    )
    assert found.mean_energy == 2.0 and np.isfinite(found.energy_w2)
