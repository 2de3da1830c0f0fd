"""Ligands by force fields of OpenFF; most tests need its toolkit, which is in no extra."""

import importlib.util

import pytest

from onestep_md.config import load_configs
from onestep_md.errors import TargetError
from onestep_md.targets.energy_terms import split_energy
from onestep_md.targets.molecule import load_molecule

pytestmark = pytest.mark.ligands

TARGET = {
    "smiles": "CC(=O)[O-]",
    "forcefield": ["openff-2.2.1.offxml"],
    "charges": "gasteiger",
    "solvent": "obc2",
    "temperature": 300.0,
}
has_openff = importlib.util.find_spec("openff") is not None
needs_openff = pytest.mark.skipif(not has_openff, reason="needs the OpenFF toolkit")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(**keys):
    (config,) = load_configs({"target": TARGET | keys}).values()
    return load_molecule(config.molecule, config.folder)


def refusal(**keys):
    with pytest.raises(TargetError) as caught:
        load(**keys)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.skipif(has_openff, reason="the OpenFF toolkit is there")
def test_without_the_toolkit_two_ways_out_are_named():
    message = refusal()
    assert message.startswith("target.forcefield: openff-2.2.1.offxml needs the OpenFF toolkit")
    assert "conda install -c conda-forge openff-toolkit" in message
    assert "give target.pdb with target.system" in message


@needs_openff
def test_a_ligand_has_the_energy_of_the_toolkit_itself():
    import openmm
    from openff.toolkit import ForceField, Molecule

    ours = load(solvent="vacuum", smiles="CC(=O)Nc1ccc(O)cc1")
    molecule = Molecule.from_smiles("CC(=O)Nc1ccc(O)cc1")
    molecule.assign_partial_charges("gasteiger")
    system = ForceField("openff_unconstrained-2.2.1.offxml").create_openmm_system(
        molecule.to_topology(), charge_from_molecules=[molecule]
    )
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(ours.positions)
    energy = context.getState(energy=True).getPotentialEnergy()._value / ours.kT
    assert ours.fingerprint.u_input == pytest.approx(energy, abs=1e-4)
    assert sum(split_energy(ours).values()) == pytest.approx(energy, abs=1e-4)


@needs_openff
def test_solvent_constraints_and_charge_are_those_asked_for():
    molecule = load(constraints="hbonds")
    assert len(molecule.constraints) == 3
    assert molecule.fingerprint.solvent == "implicit, generalised Born (GBSAOBCForce)"
    notes = "\n".join(molecule.fingerprint.notes)
    assert "openff-2.2.1.offxml with Gasteiger charges, by the OpenFF toolkit" in notes
    assert "C2H3O2-, charge -1" in notes and "solvent: obc2" in notes
    assert not load().constraints


@needs_openff
def test_force_fields_that_are_not_there_or_have_other_charges_are_refused():
    message = refusal(forcefield=["openff-0.9.offxml"])
    assert "cannot read openff-0.9.offxml" in message and "openff-2.2.1.offxml" in message
    message = refusal(forcefield=["openff-2.3.0.offxml"])
    assert "has charges of another kind than AM1-BCC" in message
