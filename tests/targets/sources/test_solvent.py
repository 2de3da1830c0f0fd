"""OBC2 of implicit/obc2.xml: OpenMM's own force has the same energy, and is taken."""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from onestep_md.targets.sources.solvent import use_own_obc2
from onestep_md.targets.sources.structure import system_options

ALANINE = Path(__file__).parents[3] / "systems" / "alanine.pdb"


def make(model):
    pdb = app.PDBFile(str(ALANINE))
    forcefield = app.ForceField("amber14/protein.ff14SB.xml", f"implicit/{model}.xml")
    system = forcefield.createSystem(pdb.topology, **system_options("none"))
    return system, np.array(pdb.getPositions().value_in_unit(unit.nanometer))


def evaluate(system, x):
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    state = context.getState(getEnergy=True, getForces=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy, state.getForces(asNumpy=True).value_in_unit(
        unit.kilojoule_per_mole / unit.nanometer
    )


def test_the_energy_is_the_same():
    system, x = make("obc2")
    generator = np.random.default_rng(1)
    places = [x, *(x + 0.01 * generator.standard_normal(x.shape) for _ in range(5))]
    before = [evaluate(system, place) for place in places]
    use_own_obc2(system)
    names = {type(force).__name__ for force in system.getForces()}
    assert "GBSAOBCForce" in names and "CustomGBForce" not in names
    for place, (energy, forces) in zip(places, before, strict=True):
        again, pulled = evaluate(system, place)
        assert again == pytest.approx(energy, abs=1e-4)  # kJ/mol; constants have six digits
        np.testing.assert_allclose(pulled, forces, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("model", ["obc1", "gbn2", "hct"])
def test_other_models_stay(model):
    system, _ = make(model)
    before = openmm.XmlSerializer.serialize(system)
    use_own_obc2(system)
    assert openmm.XmlSerializer.serialize(system) == before


def test_another_dielectric_constant_stays():
    pdb = app.PDBFile(str(ALANINE))
    forcefield = app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml")
    system = forcefield.createSystem(
        pdb.topology, solventDielectric=40.0, **system_options("none")
    )
    before = openmm.XmlSerializer.serialize(system)
    use_own_obc2(system)
    assert openmm.XmlSerializer.serialize(system) == before
