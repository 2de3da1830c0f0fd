"""Reduced energies against plain OpenMM and finite differences; segments as pure functions."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import openmm
import pytest
from alanine import hopeless_frames, perturbed
from openmm import app, unit

from onestep_md.config import MoleculeTarget
from onestep_md.errors import TargetError
from onestep_md.targets.evaluator import (
    PotentialEvaluator,
    Segment,
    repartition_hydrogen_masses,
)
from onestep_md.targets.molecule import load_molecule
from onestep_md.targets.platforms import time_platforms

SYSTEMS = Path(__file__).parents[2] / "systems"
AMBER99 = ("amber99sbildn.xml", "amber99_obc.xml")
PLATFORMS = ("Reference", "CPU")


def molecule(pdb="alanine.pdb", forcefield=AMBER99, constraints="none", temperature=300.0):
    target = MoleculeTarget(
        pdb=pdb,
        forcefield=forcefield,
        system=None,
        constraints=constraints,
        held="amides",
        temperature=temperature,
    )
    return load_molecule(target, SYSTEMS)


@pytest.fixture(scope="module")
def alanine():
    return molecule()


@pytest.fixture(scope="module")
def reference(alanine):
    return PotentialEvaluator(alanine, "Reference")


def segment(molecule, **changes):
    base = Segment(
        positions=molecule.positions,
        velocities=None,
        temperature=300.0,
        steps=61,
        timestep=2.0,
        friction=1.0,
        frame_every=20,
        seed=7,
    )
    return replace(base, **changes)


def assert_same(a, b):
    for field in fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_u_and_gradient_equal_a_plain_openmm_context(alanine, reference):
    pdb = app.PDBFile(str(SYSTEMS / "alanine.pdb"))
    system = app.ForceField(*AMBER99).createSystem(pdb.topology, nonbondedMethod=app.NoCutoff)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    x = perturbed(alanine, 5, 0.005)
    u, grad_u = reference.evaluate(x)
    kT = (unit.MOLAR_GAS_CONSTANT_R * 300 * unit.kelvin).in_units_of(unit.kilojoule_per_mole)
    for i in range(len(x)):
        context.setPositions(x[i])
        state = context.getState(energy=True, forces=True)
        assert u[i] == pytest.approx(state.getPotentialEnergy() / kT, rel=1e-9)
        force = state.getForces(asNumpy=True) / (kT / unit.nanometer)
        np.testing.assert_allclose(grad_u[i], -force, rtol=1e-9, atol=1e-9)


def test_gradient_equals_finite_differences(alanine, reference):
    x = perturbed(alanine, 1, 0.003)
    _, grad_u = reference.evaluate(x)
    h, n = 1e-5, alanine.positions.size
    steps = h * np.eye(n).reshape(n, *alanine.positions.shape)
    numeric = (reference.evaluate(x + steps)[0] - reference.evaluate(x - steps)[0]) / (2 * h)
    # Scaled by the largest component, since components near zero only hold rounding.
    np.testing.assert_allclose(numeric, grad_u.ravel(), atol=1e-6 * np.abs(grad_u).max())


def test_reduced_energy_is_inverse_in_temperature(alanine, reference):
    hot = PotentialEvaluator(molecule(temperature=600.0), "Reference")
    x = perturbed(alanine, 3, 0.005)
    (u, grad_u), (u_hot, grad_u_hot) = reference.evaluate(x), hot.evaluate(x)
    np.testing.assert_allclose(u, 2 * u_hot, rtol=1e-12)
    np.testing.assert_allclose(grad_u, 2 * grad_u_hot, rtol=1e-12)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_hopeless_frames_are_infinite_and_leave_the_others_alone(alanine, platform):
    evaluator = PotentialEvaluator(alanine, platform)
    x = hopeless_frames(alanine)
    u, grad_u = evaluator.evaluate(x)
    assert not np.isnan(u).any() and np.isfinite(grad_u).all()
    assert np.isposinf(u[1:6]).all()
    assert (grad_u[np.isinf(u)] == 0).all()
    assert u[6] > 1e3
    assert u[0] == u[8] and np.isfinite(u[0])
    np.testing.assert_array_equal(u[[0]], evaluator.evaluate(x[:1])[0])


def test_an_empty_batch_and_float32_are_accepted_and_a_wrong_shape_is_not(alanine, reference):
    u, grad_u = reference.evaluate(np.empty((0, 22, 3)))
    assert u.shape == (0,) and grad_u.shape == (0, 22, 3)
    u, grad_u = reference.evaluate(alanine.positions[None].astype(np.float32))
    assert u.dtype == grad_u.dtype == np.float64
    assert u[0] == pytest.approx(alanine.fingerprint.u_input, abs=1e-3)
    with pytest.raises(ValueError, match="expected"):
        reference.evaluate(alanine.positions)


@pytest.mark.parametrize("forcefield", [AMBER99, ("amber96.xml", "implicit/obc1.xml")])
def test_cpu_agrees_with_reference(forcefield):
    target = molecule(forcefield=forcefield)
    x = perturbed(target, 20, 0.004)
    u, grad_u = PotentialEvaluator(target, "Reference").evaluate(x)
    u_cpu, grad_u_cpu = PotentialEvaluator(target, "CPU").evaluate(x)
    assert np.abs(u - u_cpu).max() < 1e-3
    assert np.abs(grad_u - grad_u_cpu).max() < 1e-4 * np.abs(grad_u).max()


def test_an_unknown_platform_is_named_with_the_known_ones(alanine):
    with pytest.raises(TargetError, match="Abacus.*\n.*Reference"):
        PotentialEvaluator(alanine, "Abacus")


def test_time_platforms_chooses_the_highest_rate(alanine):
    choice = time_platforms(alanine)
    assert dict(choice.rates)[choice.name] == max(rate for _, rate in choice.rates)
    assert [name for name, _ in choice.rates] == [*PLATFORMS, "torch"]
    assert choice.name in str(choice)


# An odd number of coordinates (thymidine) would show a leftover of the noise generator's pairs.
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("pdb", ["alanine.pdb", "thymidine.pdb"])
def test_a_segment_is_a_pure_function(pdb, platform):
    target = molecule(pdb, AMBER99 if pdb == "alanine.pdb" else ("amber14/DNA.OL15.xml",))
    evaluator = PotentialEvaluator(target, platform)
    first = evaluator.run_segment(segment(target))
    evaluator.run_segment(segment(target, steps=33, temperature=900.0, timestep=1.0, seed=3))
    evaluator.evaluate(perturbed(target, 2, 0.01))
    assert_same(first, evaluator.run_segment(segment(target)))
    assert_same(first, PotentialEvaluator(target, platform).run_segment(segment(target)))
    other = evaluator.run_segment(segment(target, seed=8))
    assert not np.array_equal(first.positions, other.positions)


def test_frames_carry_energies_at_the_target_temperature(alanine, reference):
    result = reference.run_segment(segment(alanine, temperature=700.0))
    assert result.ok and result.frames.shape == (3, 22, 3)
    assert result.force_evaluations == 61 + 3 + 1
    u, grad_u = reference.evaluate(result.frames)
    np.testing.assert_array_equal(u, result.u)
    np.testing.assert_array_equal(grad_u, result.grad_u)
    assert reference.evaluate(result.positions[None])[0][0] == result.u_end
    assert not np.array_equal(result.frames[-1], result.positions)  # step 60, not 61


def test_a_segment_that_ends_on_a_frame_costs_no_further_evaluation(alanine, reference):
    result = reference.run_segment(segment(alanine, steps=60))
    assert result.force_evaluations == 63
    np.testing.assert_array_equal(result.frames[-1], result.positions)
    assert result.u[-1] == result.u_end


def test_given_velocities_are_used(alanine, reference):
    still = np.zeros_like(alanine.positions)
    # Without friction and time to move, the molecule ends where and as fast as it began.
    slow = segment(alanine, velocities=still + [1.0, 0.0, 0.0], steps=1, timestep=1e-6, friction=0)
    result = reference.run_segment(slow)
    np.testing.assert_allclose(result.velocities - still, np.tile([1.0, 0, 0], (22, 1)), atol=1e-4)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("factor", [0.0, 0.3, np.nan])
def test_an_exploding_segment_comes_back_not_ok(alanine, platform, factor):
    evaluator = PotentialEvaluator(alanine, platform)
    before = evaluator.run_segment(segment(alanine))
    start = alanine.positions * factor
    result = evaluator.run_segment(segment(alanine, positions=start, timestep=50.0))
    assert not result.ok and np.isposinf(result.u_end) and len(result.frames) == 0
    np.testing.assert_array_equal(result.positions, start)
    assert np.isfinite(result.velocities).all()
    assert_same(before, evaluator.run_segment(segment(alanine)))  # the context has survived


def test_constrained_bonds_keep_their_length():
    target = molecule(constraints="hbonds")
    assert len(target.constraints) == 12
    result = PotentialEvaluator(target, "Reference").run_segment(segment(target, steps=200))
    i, j, length = (np.array(column) for column in zip(*target.constraints, strict=True))
    distance = np.linalg.norm(result.frames[:, i] - result.frames[:, j], axis=-1)
    np.testing.assert_allclose(distance, np.tile(length, (len(distance), 1)), rtol=1e-4)


def test_repartitioning_keeps_the_total_mass(alanine):
    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    total = sum(system.getParticleMass(i) / unit.dalton for i in range(22))
    repartition_hydrogen_masses(system, alanine)
    masses = np.array([system.getParticleMass(i) / unit.dalton for i in range(22)])
    assert masses.sum() == pytest.approx(total, rel=1e-12)
    hydrogen = np.array(alanine.elements) == "H"
    np.testing.assert_allclose(masses[hydrogen], 3.0)
    assert masses[~hydrogen].min() > 3.0
    before = masses.copy()
    repartition_hydrogen_masses(system, alanine)  # nothing left to move
    np.testing.assert_array_equal(
        before, [system.getParticleMass(i) / unit.dalton for i in range(22)]
    )


@pytest.mark.parametrize("temperature", [300.0, 600.0])
def test_dynamics_reaches_the_mean_energy_of_harmonic_bonds(tmp_path, temperature):
    """In a freely jointed chain each bond length has the density r^2 exp(-u(r))."""
    stiffness, length, atoms, bonds = 5.0e4, 0.15, 4, 3
    system = openmm.System()
    force = openmm.HarmonicBondForce()
    for i in range(atoms):
        system.addParticle(12.0)
        if i:
            force.addBond(i - 1, i, length, stiffness)
    system.addForce(force)
    (tmp_path / "chain.xml").write_text(openmm.XmlSerializer.serialize(system))
    atom = "HETATM{0:5d}  C{0}  LIG A   1    {1:8.3f}{2:8.3f}   0.000  1.00  0.00           C\n"
    conect = "CONECT{:5d}{:5d}\n"
    lines = [atom.format(i + 1, 1.2 * i, 0.9 * (i % 2)) for i in range(atoms)]
    lines += [conect.format(i, i + 1) for i in range(1, atoms)]
    (tmp_path / "chain.pdb").write_text("".join(lines) + "END\n")
    target = MoleculeTarget(
        pdb="chain.pdb",
        forcefield=None,
        system="chain.xml",
        constraints="none",
        held="amides",
        temperature=300.0,
    )
    chain = load_molecule(target, tmp_path)
    assert chain.bonds == ((0, 1), (1, 2), (2, 3))

    evaluator = PotentialEvaluator(chain, "Reference")
    run = segment(
        chain, temperature=temperature, steps=200_000, friction=10.0, frame_every=50, seed=1
    )
    u = evaluator.run_segment(run).u[40:]

    r = np.linspace(0.5 * length, 1.5 * length, 20001)
    u_bond = 0.5 * stiffness * (r - length) ** 2 / chain.kT  # at the target temperature
    density = r**2 * np.exp(-u_bond * 300.0 / temperature)
    expected = bonds * (u_bond * density).sum() / density.sum()
    blocks = u.reshape(20, -1).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert error < 0.04 * expected
    assert abs(u.mean() - expected) < 4 * error
