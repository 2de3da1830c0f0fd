"""Geometries of SMILES strings: many are tried, and the lowest minimum is taken."""

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import unit

from onestep_md.config import load_configs
from onestep_md.targets.molecule import load_molecule

pytestmark = pytest.mark.ligands


def load(smiles, tmp_path, monkeypatch):
    """Parametrise a SMILES string; nothing is kept from other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    target = {
        "smiles": smiles,
        "forcefield": ["gaff2"],
        "charges": "gasteiger",
        "solvent": "vacuum",
        "temperature": 300,
    }
    (config,) = load_configs({"target": target}).values()
    return load_molecule(config.molecule, config.folder)


def minimise(molecule, x):
    """Energy in kJ/mol of the minimum below x."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    openmm.LocalEnergyMinimizer.minimize(context)
    energy = context.getState(getEnergy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoule_per_mole)


def test_the_lowest_minimum_is_taken(tmp_path, monkeypatch):
    chemistry = pytest.importorskip("onestep_md.targets.sources.chemistry")
    smiles = "OCCCO"  # the hydrogen bond between its ends needs two gauche torsions
    molecule = load(smiles, tmp_path, monkeypatch)
    minima = [minimise(molecule, x) for x in chemistry.read_smiles(smiles).geometries]
    assert max(minima) > min(minima) + 5.0
    assert minimise(molecule, molecule.positions) == pytest.approx(min(minima), abs=0.1)
    (note,) = (n for n in molecule.fingerprint.notes if "lowest minimum" in n)
    assert "50 geometries" in note


def test_butane_is_trans(tmp_path, monkeypatch):
    molecule = load("CCCC", tmp_path, monkeypatch)
    trajectory = md.Trajectory(molecule.positions[None], None)
    (torsion,) = md.compute_dihedrals(trajectory, [[0, 1, 2, 3]])[0]
    assert abs(np.degrees(torsion)) == pytest.approx(180, abs=2)


@pytest.mark.parametrize("smiles", ["CC(O)C(F)Cl", "CC=CC(F)Cl", "OC1CCCC(F)C1"])
def test_all_geometries_have_the_stereo_of_the_first(smiles):
    chemistry = pytest.importorskip("onestep_md.targets.sources.chemistry")
    from rdkit import Chem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    labels = set()
    for x in chemistry.read_smiles(smiles).geometries:
        conformer = Chem.Conformer(molecule.GetNumAtoms())
        conformer.SetPositions(10.0 * x)
        molecule.RemoveAllConformers()
        molecule.AddConformer(conformer)
        Chem.AssignStereochemistryFrom3D(molecule)
        labels.add(Chem.MolToSmiles(Chem.RemoveHs(molecule)))
    assert len(labels) == 1
