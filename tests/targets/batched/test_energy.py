"""Batched energies against OpenMM's Reference platform: every shipped System, force by force."""

from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from alanine import AMBER99, alanine_system, load
from openmm.app.internal import customgbforces

from onestep_md.config import load_config, load_configs, load_states
from onestep_md.errors import TargetError
from onestep_md.targets.batched.energy import BatchedEnergy
from onestep_md.targets.evaluator import PotentialEvaluator
from onestep_md.targets.molecule import Molecule, load_molecule

SYSTEMS = Path(__file__).parents[3] / "systems"
DATA = Path(__file__).parents[1] / "data"
FILES = [
    path
    for folder in (".", "molecules", "solvation")
    for path in (SYSTEMS / folder).glob("*.yaml")
]
STATES = [path for path in FILES if load_states(path) is not None]
KT = 2.4943387854459713  # kJ/mol at 300 K
AGREE = 1e-9  # relative, of energies; of gradients, of the largest component


def shipped_configs():
    """Configurations of all molecules and states that need no further packages, by name."""
    found = {}
    for path in sorted(set(FILES) - set(STATES)):
        for name, config in load_configs(path).items():
            if config.target.kind == "molecule" and not config.molecule.smiles:
                found[f"{path.stem}: {name}"] = config
    for path in STATES:
        own = path.with_name(f"{path.stem.rpartition('-')[0]}.yaml")
        for name, changes in load_states(path).items():
            found[f"{path.stem}: {name}"] = load_config(own, changes)
    # one of those that have the same target
    unique = {
        str((c.folder, c.target.model_copy(update={"temperature": 300.0}))): n
        for n, c in found.items()
    }
    return {name: found[name] for name in unique.values()}


CONFIGS = shipped_configs()


def perturbed(positions, seed=0):
    """The geometry, and others near it and far from it: (batch, atoms, 3)."""
    generator = np.random.default_rng(seed)
    scale = np.repeat([0.0, 0.005, 0.03], 2)[:, None, None]
    return positions + scale * generator.normal(size=(6, *positions.shape))


def bare(count, *forces):
    """A System of some forces alone."""
    system = openmm.System()
    for _ in range(count):
        system.addParticle(12.0)
    for force in forces:
        system.addForce(openmm.XmlSerializer.clone(force))
    return system


def compare(system, x):
    """Assert that energies and gradients of x are those of the Reference platform."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    u, grad_u = BatchedEnergy.of(system, 1.0).with_gradient(torch.tensor(x))
    for i in range(len(x)):
        context.setPositions(x[i])
        state = context.getState(energy=True, forces=True)
        energy, force = state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value
        assert u[i].item() == pytest.approx(energy, rel=AGREE, abs=AGREE)
        scale = max(1.0, np.abs(force).max())
        np.testing.assert_allclose(grad_u[i].numpy(), -force, rtol=0.0, atol=AGREE * scale)


def compare_by_force(molecule: Molecule):
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    x = perturbed(molecule.positions)
    for force in system.getForces():
        compare(bare(len(molecule.elements), force), x)
    compare(system, x)


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_systems_have_the_energies_of_openmm(name):
    config = CONFIGS[name]
    compare_by_force(load_molecule(config.molecule, config.folder))


def test_every_kind_of_shipped_solvent_is_there():
    text = " ".join(CONFIGS)
    assert len(CONFIGS) > 50
    for name in ("alanine-ff96", "HCT", "ff19SB-GBn2", "alphaR", "acetate-states: OBC2"):
        assert name in text


@pytest.mark.parametrize(
    "form",
    [
        {"psf": "charmm.psf", "params": ("charmm.prm",), "crd": "alanine.crd"},
        {"prmtop": "charmm.prmtop", "inpcrd": "alanine.rst7"},
        {"top": "charmm.top", "gro": "alanine.gro"},
        {"prmtop": "alanine.prmtop", "inpcrd": "alanine.rst7", "solvent": "gbn"},
    ],
    ids=lambda form: " ".join(map(str, form.values())),
)
def test_systems_of_other_programs_have_the_energies_of_openmm(form):
    target = {"solvent": "vacuum", "temperature": 300.0} | form
    (config,) = load_configs({"target": target}).values()
    compare_by_force(load_molecule(config.molecule, DATA))


# --- forces that no shipped System has --------------------------------------------------------

ATOMS = 9


def random_positions(scale=0.2, seed=1):
    return np.random.default_rng(seed).normal(scale=scale, size=(6, ATOMS, 3))


def test_ryckaert_bellemans_torsions():
    force = openmm.RBTorsionForce()
    force.addTorsion(0, 1, 2, 3, 1.0, -2.0, 3.0, 0.5, 0.25, -0.125)
    force.addTorsion(5, 3, 2, 8, 0.0, 2.0, 0.0, 0.0, 0.0, 4.0)
    compare(bare(ATOMS, force), random_positions())


def test_maps_of_several_sizes():
    generator, force = np.random.default_rng(0), openmm.CMAPTorsionForce()
    for size in (8, 24):
        force.addMap(size, generator.normal(size=size * size))
    force.addTorsion(1, 0, 1, 2, 3, 1, 2, 3, 4)
    force.addTorsion(0, 2, 3, 4, 5, 8, 7, 6, 5)
    force.addTorsion(1, 4, 5, 6, 7, 5, 6, 7, 8)
    compare(bare(ATOMS, force), random_positions())


def test_custom_bonds_angles_and_torsions():
    bonds = openmm.CustomBondForce("d*(1-exp(-a*(r-r0)))^2")
    for name in ("d", "a", "r0"):
        bonds.addPerBondParameter(name)
    bonds.addBond(0, 1, [300.0, 20.0, 0.12])
    bonds.addBond(4, 2, [200.0, 10.0, 0.15])
    angles = openmm.CustomAngleForce("scale*k*(cos(theta)-cos(theta0))^2")
    angles.addGlobalParameter("scale", 0.5)
    angles.addPerAngleParameter("k")
    angles.addPerAngleParameter("theta0")
    angles.addAngle(0, 1, 2, [100.0, 1.9])
    torsions = openmm.CustomTorsionForce("k*min(d, 2*pi-d)^2; d=abs(theta-0.5); pi=3.1415926535")
    torsions.addPerTorsionParameter("k")
    torsions.addTorsion(3, 4, 5, 6, [10.0])
    constant = openmm.CustomBondForce("2")
    constant.addBond(0, 1)
    compare(bare(ATOMS, bonds, angles, torsions, constant), random_positions())


def test_custom_pairs_with_tables_and_exclusions():
    force = openmm.CustomNonbondedForce("a(kind1, kind2)/r^6 - q1*q2*erfc(2*r)/r")
    force.addTabulatedFunction("a", openmm.Discrete2DFunction(2, 3, [1, 2, 3, 4, 5, 6]))
    force.addPerParticleParameter("kind")
    force.addPerParticleParameter("q")
    for i in range(ATOMS):
        force.addParticle([i % 2, 0.1 * i])
    force.addExclusion(3, 1)
    force.addExclusion(0, 8)
    compare(bare(ATOMS, force), random_positions())


def test_an_atom_within_another_one_has_the_born_radius_of_openmm():
    force = openmm.GBSAOBCForce()
    for i in range(ATOMS):
        force.addParticle(0.1 * (i - 4), 0.05 if i % 2 else 0.25, 0.9)
    compare(bare(ATOMS, force), random_positions(scale=0.05))


def test_a_negative_scale_of_sulphur_leaves_the_gradient_a_number():
    force = customgbforces.GBSAGBn2Force(SA="ACE")
    for i in range(ATOMS):
        scale = -0.703469 if i % 2 else 1.058554
        force.addParticle([0.1 * (i - 4), 0.18 if i % 2 else 0.13, scale, 0.87, 0.88, 0.39])
    force.finalize()
    compare(bare(ATOMS, force), random_positions(scale=0.06))


# --- the module ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alanine():
    return load()


@pytest.fixture(scope="module")
def energy(alanine):
    return BatchedEnergy.of(openmm.XmlSerializer.deserialize(alanine.system_xml), alanine.kT)


def test_reduced_energies_are_those_of_the_evaluator(alanine, energy):
    x = perturbed(alanine.positions)
    u, grad_u = PotentialEvaluator(alanine, "Reference").evaluate(x)
    found, gradient = energy.with_gradient(torch.tensor(x))
    np.testing.assert_allclose(found, u, rtol=AGREE)
    np.testing.assert_allclose(gradient, grad_u, atol=AGREE * np.abs(grad_u).max())
    np.testing.assert_array_equal(energy(torch.tensor(x)).numpy(), found)


def test_training_through_it_has_the_same_gradient(alanine, energy):
    x = torch.tensor(perturbed(alanine.positions), requires_grad=True)
    energy(x).sum().backward()
    np.testing.assert_array_equal(x.grad, energy.with_gradient(x)[1])


def test_batches_of_one_and_of_none(alanine, energy):
    x = torch.tensor(perturbed(alanine.positions))
    u, grad_u = energy.with_gradient(x)
    one, gradient = energy.with_gradient(x[3:4])
    torch.testing.assert_close(one, u[3:4], rtol=1e-12, atol=0.0)
    torch.testing.assert_close(gradient, grad_u[3:4], rtol=1e-9, atol=1e-6)
    u, grad_u = energy.with_gradient(x[:0])
    assert u.shape == (0,) and grad_u.shape == (0, 22, 3)
    with pytest.raises(ValueError, match="expected"):
        energy(x[0])


def test_single_precision_has_an_error_of_a_thousandth(alanine):
    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    double, single = (BatchedEnergy.of(system, alanine.kT) for _ in range(2))
    x = torch.tensor(perturbed(alanine.positions)[:4])
    u, grad_u = double.with_gradient(x)
    found, gradient = single.float().with_gradient(x.float())
    assert found.dtype == gradient.dtype == torch.float32
    assert (found - u).abs().max() < 2e-3
    assert (gradient - grad_u).abs().max() < 1e-4 * grad_u.abs().max()


def test_hopeless_rows_are_not_finite_and_leave_the_others_alone(alanine, energy):
    x = torch.tensor(alanine.positions).repeat(5, 1, 1)
    x[1, 0] = x[1, -1]  # two atoms that are not bonded, at one place
    x[2, 3, 0] = torch.nan
    x[3] = 0.0
    u, grad_u = energy.with_gradient(x)
    assert not u[1:4].isfinite().any()
    alone, gradient = energy.with_gradient(x[4:])
    torch.testing.assert_close(u[[0, 4]], alone.repeat(2), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(grad_u[4:], gradient, rtol=1e-9, atol=1e-6)


# --- what is refused ---------------------------------------------------------------------------


def refused(system, *words):
    with pytest.raises(TargetError) as caught:
        BatchedEnergy.of(system, KT)
    assert all(word in str(caught.value) for word in (*words, "Set cluster.platform"))


def test_cutoffs_and_boxes_are_refused():
    system = alanine_system()
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setNonbondedMethod(force.CutoffNonPeriodic)
    refused(system, "NonbondedForce", "cutoff")
    bonds = openmm.HarmonicBondForce()
    bonds.setUsesPeriodicBoundaryConditions(True)
    refused(bare(2, bonds), "HarmonicBondForce", "box")


def test_forces_and_offsets_that_are_not_known_are_refused():
    refused(bare(2, openmm.CustomExternalForce("x^2")), "CustomExternalForce")
    force = openmm.NonbondedForce()
    force.addGlobalParameter("scale", 0.0)
    for _ in range(2):
        force.addParticle(0.0, 0.3, 1.0)
    force.addParticleParameterOffset("scale", 0, 1.0, 0.0, 0.0)
    refused(bare(2, force), "NonbondedForce", "offsets")
    groups = openmm.CustomNonbondedForce("r")
    for _ in range(2):
        groups.addParticle([])
    groups.addInteractionGroup([0], [1])
    refused(bare(2, groups), "CustomNonbondedForce", "groups")
    spline = openmm.CustomNonbondedForce("f(r)")
    spline.addTabulatedFunction("f", openmm.Continuous1DFunction([0.0, 1.0], 0.0, 1.0))
    refused(bare(0, spline), "CustomNonbondedForce", "Continuous1DFunction")


@pytest.mark.parametrize("text", ["r*(1/0)", "10^1000", "r+unknown", "a; a=b; b=a"])
def test_expressions_that_fail_are_refused(text):
    force = openmm.CustomNonbondedForce(text)
    for _ in range(2):
        force.addParticle([])
    refused(bare(2, force), "CustomNonbondedForce")


def test_virtual_sites_are_refused():
    system = bare(3)
    system.setParticleMass(2, 0.0)
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    refused(system, "virtual sites")


def test_constraints_have_no_energy():
    system = alanine_system(constraints=openmm.app.HBonds)
    assert system.getNumConstraints()
    free = bare(system.getNumParticles(), *system.getForces())
    x = torch.tensor(perturbed(load(forcefield=AMBER99).positions))
    torch.testing.assert_close(
        BatchedEnergy.of(system, KT)(x), BatchedEnergy.of(free, KT)(x), rtol=0.0, atol=0.0
    )
