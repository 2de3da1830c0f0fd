"""What `load_molecule` reads."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import networkx
import numpy as np
import openmm
import pytest
from alanine import ALANINE, AMBER99, SYSTEMS, alanine_system, load, load_system, load_text
from labels import residue_labels
from openmm import app, unit

from onestep_md.targets.molecule import KB


def test_alanine_is_described_in_pdb_order():
    molecule = load()
    assert molecule.positions.shape == (22, 3) and molecule.positions.dtype == np.float64
    assert molecule.elements[:6] == ("C", "H", "H", "H", "C", "O")
    assert molecule.atom_names[8] == "CA" and residue_labels(molecule)[8] == "ALA:2"
    assert len(molecule.bonds) == 21 and (4, 6) in molecule.bonds
    assert molecule.kT == pytest.approx(2.4943387, abs=1e-6)
    gas_constant = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    assert KB == pytest.approx(gas_constant, rel=1e-9)


def test_the_molecule_carries_no_centre_of_mass_remover():
    system = openmm.XmlSerializer.deserialize(load().system_xml)
    assert "CMMotionRemover" not in [force.getName() for force in system.getForces()]
    assert system.getNumConstraints() == 0


def test_pdb_text_reads_back_as_the_same_molecule(tmp_path):
    molecule = load()
    again = load_text(tmp_path, molecule.pdb_text)
    assert again.bonds == molecule.bonds and again.atom_names == molecule.atom_names
    np.testing.assert_allclose(again.positions, molecule.positions, atol=1e-6)
    assert again.fingerprint == molecule.fingerprint


def test_the_molecule_travels_to_other_processes():
    molecule = load()
    copy = pickle.loads(pickle.dumps(molecule))
    assert copy.fingerprint == molecule.fingerprint and copy.system_xml == molecule.system_xml


def test_fingerprint_tells_targets_apart():
    fingerprint = load().fingerprint
    assert fingerprint.solvent.startswith("implicit") and fingerprint.cutoff == "none"
    assert fingerprint.constraints == "none" and fingerprint.atoms == 22
    assert any("amber99sbildn.xml + amber99_obc.xml" in line for line in fingerprint.lines())
    assert fingerprint.as_dict()["forcefield"] == list(AMBER99)
    vacuum = load(forcefield=AMBER99[:1]).fingerprint
    assert vacuum.solvent == "vacuum" and vacuum.system_sha256 != fingerprint.system_sha256
    hot = load(temperature=600.0).fingerprint
    assert hot.system_sha256 == fingerprint.system_sha256
    assert hot.u_input == pytest.approx(fingerprint.u_input / 2, rel=1e-12)


def test_fingerprint_is_the_same_in_another_process():
    code = (
        "from pathlib import Path; from onestep_md.config import MoleculeTarget as N;"
        "from onestep_md.targets.molecule import load_molecule as f;"
        f"t = N(pdb='alanine.pdb', forcefield={AMBER99!r}, system=None, constraints='none',"
        "held='amides', temperature=300.0);"
        f"print(f(t, Path({str(SYSTEMS)!r})).fingerprint.system_sha256)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(SYSTEMS.parent)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == load().fingerprint.system_sha256


def test_a_system_xml_gives_the_same_target_as_its_force_field(tmp_path):
    molecule = load_system(tmp_path, alanine_system())  # with the CMMotionRemover in it
    assert molecule.fingerprint.system_sha256 == load().fingerprint.system_sha256
    assert molecule.fingerprint.forcefield == ("system.xml",)
    assert molecule.bonds == load().bonds


def test_a_cutoff_in_the_system_is_in_the_fingerprint(tmp_path):
    system = alanine_system(
        nonbondedMethod=app.CutoffNonPeriodic, nonbondedCutoff=1.2 * unit.nanometer
    )
    assert load_system(tmp_path, system).fingerprint.cutoff == "1.2 nm"


def test_hbonds_are_constrained_bonds():
    molecule = load(constraints="hbonds")
    assert len(molecule.constraints) == 12
    for i, j, length in molecule.constraints:
        assert (i, j) in molecule.bonds and "H" in (molecule.elements[i], molecule.elements[j])
        assert 0.09 < length < 0.12


def test_a_local_force_field_file_is_found_beside_the_yaml(tmp_path):
    data = Path(app.__file__).parent / "data" / "amber99sbildn.xml"
    (tmp_path / "mine.xml").write_text(data.read_text())
    molecule = load_text(tmp_path, ALANINE, forcefield=("mine.xml",))
    assert molecule.fingerprint.forcefield == ("mine.xml",)
    expected = load(forcefield=("amber99sbildn.xml",)).fingerprint
    assert molecule.fingerprint.system_sha256 == expected.system_sha256


def test_what_acts_on_dynamics_alone_is_dropped_and_said(tmp_path):
    system = alanine_system()
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    thermostat = openmm.AndersenThermostat(300.0, 1.0)
    thermostat.setName("mine")
    system.addForce(thermostat)
    fingerprint = load_system(tmp_path, system).fingerprint
    assert fingerprint.system_sha256 == load().fingerprint.system_sha256
    (said,) = (line for line in fingerprint.lines() if "dropped" in line)
    for name in ("CMMotionRemover", "MonteCarloBarostat", "AndersenThermostat"):
        assert name in said and name in fingerprint.as_dict()["notes"][0]
    assert load().fingerprint.as_dict()["notes"] == []


@pytest.mark.parametrize(("pdb", "atoms"), [("alanine.pdb", 22), ("trialanine.pdb", 42)])
def test_the_peptides_are_l_with_trans_amides(pdb, atoms):
    molecule = load(pdb=pdb)
    x = molecule.positions
    residues = residue_labels(molecule)
    keys = zip(residues, molecule.atom_names, strict=True)
    index = {key: i for i, key in enumerate(keys)}
    assert len(x) == atoms
    last = int(residues[-1].split(":")[1])
    for n in range(2, last):
        ca = x[index[f"ALA:{n}", "CA"]]
        arms = [x[index[f"ALA:{n}", name]] - ca for name in ("N", "C", "CB")]
        assert np.linalg.det(arms) > 0  # CORN: from H, CO-R-N runs clockwise
    for i, j in molecule.bonds:
        if {molecule.atom_names[i], molecule.atom_names[j]} == {"C", "N"}:
            c, n = (i, j) if molecule.atom_names[i] == "C" else (j, i)
            if residues[c] == residues[n]:
                continue  # the methyl carbon of NME is called C too
            oxygen = x[index[residues[c], "O"]] - x[c]
            hydrogen = x[index[residues[n], "H"]] - x[n]
            assert oxygen @ hydrogen < 0  # trans: C=O and N-H point apart


def test_thymidine_is_a_molecule_with_two_rings_in_implicit_solvent():
    molecule = load(pdb="thymidine.pdb", forcefield=("amber14/DNA.OL15.xml", "implicit/obc2.xml"))
    rings = networkx.cycle_basis(networkx.Graph(molecule.bonds))
    assert len(molecule.elements) == 31 and sorted(map(len, rings)) == [5, 6]
    assert molecule.fingerprint.solvent.startswith("implicit")
    assert molecule.fingerprint.u_input < 0
