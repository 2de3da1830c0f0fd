"""The message of everything that is refused as a molecule."""

import networkx
import numpy as np
import openmm
import pytest
from alanine import (
    ALANINE,
    AMBER99,
    SYSTEMS,
    alanine_system,
    load,
    load_system,
    load_text,
)
from labels import residue_labels
from openmm import app, unit

from onestep_md.errors import TargetError

WATER = (
    "HETATM   23  O   HOH B   4      20.000  20.000  20.000  1.00  0.00           O\n"
    "HETATM   24  H1  HOH B   4      20.957  20.000  20.000  1.00  0.00           H\n"
    "HETATM   25  H2  HOH B   4      19.760  20.927  20.000  1.00  0.00           H\n"
)


def refusal(load_function, *args, **kwargs):
    with pytest.raises(TargetError) as caught:
        load_function(*args, **kwargs)
    return str(caught.value)


def test_a_pdb_without_hydrogens(tmp_path):
    heavy = [line for line in ALANINE.splitlines() if not line[:6].strip() or line[76:78] != " H"]
    message = refusal(load_text, tmp_path, "\n".join(heavy))
    assert "ACE:1 has no hydrogen" in message
    assert "addHydrogens" in message and "PDBFixer" in message


def test_one_missing_hydrogen_is_explained_by_openmm(tmp_path):
    lines = [line for line in ALANINE.splitlines() if line[12:21] != " HB1 ALA "]
    message = refusal(load_text, tmp_path, "\n".join(lines))
    assert "ALA:2 has no template" in message and "missing 1 H atom" in message


def test_a_residue_without_template(tmp_path):
    message = refusal(load, pdb="thymidine.pdb", forcefield=("amber14/protein.ff14SB.xml",))
    assert "DT:1 has no template" in message and "target.system" in message


def test_missing_files_are_named_with_their_folder(tmp_path):
    message = refusal(load, tmp_path)
    assert str(tmp_path / "alanine.pdb") in message and "folder of the YAML" in message
    (tmp_path / "alanine.pdb").write_text(ALANINE)
    message = refusal(load, tmp_path, forcefield=None, system="system.xml")
    assert "target.system" in message and str(tmp_path / "system.xml") in message


def test_a_misspelt_force_field_gets_a_suggestion():
    message = refusal(load, forcefield=("amber99sbildm.xml",))
    assert "amber99sbildm.xml" in message and "Did you mean amber99sbildn.xml?" in message


def test_broken_xml(tmp_path):
    (tmp_path / "broken.xml").write_text("<ForceField><AtomTypes>")
    message = refusal(load_text, tmp_path, ALANINE, forcefield=("broken.xml",))
    assert "broken.xml is broken XML" in message
    message = refusal(load, tmp_path, forcefield=None, system="broken.xml")
    assert "broken.xml cannot be read" in message


def test_another_serialized_object_is_no_system(tmp_path):
    integrator = openmm.XmlSerializer.serialize(openmm.VerletIntegrator(0.001))
    (tmp_path / "system.xml").write_text(integrator)
    message = refusal(load_text, tmp_path, ALANINE, forcefield=None, system="system.xml")
    assert "VerletIntegrator, not a System" in message


@pytest.mark.parametrize("text", ["", "no PDB at all\n", ALANINE[:80]])
def test_a_pdb_without_molecule(tmp_path, text):
    assert "at least two atoms is needed" in refusal(load_text, tmp_path, text)


def test_a_pdb_with_unreadable_coordinates(tmp_path):
    text = ALANINE[:30] + "  x.yyyy" + ALANINE[38:]
    assert "cannot be read as a PDB" in refusal(load_text, tmp_path, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: f"{10 * x:8.3f}", "in Angstrom"),
        (lambda x: "     nan", "the coordinates of atom 1 of the file are not numbers"),
    ],
)
def test_coordinates_that_are_none(tmp_path, change, message):
    lines = [
        line[:30] + "".join(change(float(line[k : k + 8])) for k in (30, 38, 46)) + line[54:]
        if line.startswith(("ATOM", "HETATM"))
        else line
        for line in ALANINE.splitlines()
    ]
    assert message in refusal(load_text, tmp_path, "\n".join(lines))


def test_two_molecules(tmp_path):
    first = [line for line in ALANINE.splitlines() if line.startswith(("ATOM", "HETATM"))]
    second = [line[:21] + "B" + line[22:30] + "  20.0" + line[36:] for line in first]
    message = refusal(load_text, tmp_path, "\n".join([*first, "TER", *second, "END"]))
    assert "2 molecules that no bond connects" in message and "ACE:1:CH3" in message


def test_explicit_solvent_and_boxes(tmp_path):
    atoms = ALANINE.split("TER")[0]
    message = refusal(load_text, tmp_path, atoms + "TER\n" + WATER + "END\n")
    assert "Explicit solvent is refused" in message and "implicit" in message
    box = "CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1           1\n"
    message = refusal(load_text, tmp_path, box + ALANINE)
    assert "CRYST1" in message and "delete that line" in message
    no_crystal = box.replace("30.000", " 1.000")
    assert "CRYST1" not in load_text(tmp_path, no_crystal + ALANINE).pdb_text


def test_a_periodic_system(tmp_path):
    pdb = app.PDBFile(str(SYSTEMS / "alanine.pdb"))
    pdb.topology.setPeriodicBoxVectors(np.eye(3) * 3 * unit.nanometer)
    system = app.ForceField(AMBER99[0]).createSystem(
        pdb.topology, nonbondedMethod=app.PME, nonbondedCutoff=1.0 * unit.nanometer
    )
    assert "periodic boundary conditions" in refusal(load_system, tmp_path, system)


def test_a_system_of_another_molecule(tmp_path):
    text = (SYSTEMS / "trialanine.pdb").read_text()
    message = refusal(load_system, tmp_path, alanine_system(), text)
    assert "22 particles" in message and "42 atoms" in message


def test_a_system_with_another_atom_order(tmp_path):
    lines = ALANINE.splitlines()
    first = next(i for i, line in enumerate(lines) if line[12:21] == " HA  ALA ")
    other = next(i for i, line in enumerate(lines) if line[12:21] == " CB  ALA ")
    lines[first], lines[other] = lines[other], lines[first]
    message = refusal(load_system, tmp_path, alanine_system(), "\n".join(lines))
    assert "same atom order" in message


def test_virtual_sites_and_frozen_atoms(tmp_path):
    system = alanine_system()
    system.setParticleMass(21, 0.0)
    assert "NME:3:H3 has zero mass" in refusal(load_system, tmp_path, system)
    system.setVirtualSite(21, openmm.TwoParticleAverageSite(18, 20, -0.5, 1.5))
    assert "NME:3:H3 is a virtual site" in refusal(load_system, tmp_path, system)


def test_constraints_that_are_no_bonds(tmp_path):
    system = alanine_system(constraints=app.HAngles)
    message = refusal(load_system, tmp_path, system)
    assert "are not bonded" in message and "constraints=None or HBonds" in message
    assert "more are)" in message and "rigidWater=False" in message
    assert len(load_system(tmp_path, alanine_system(constraints=app.HBonds)).constraints) == 12


@pytest.mark.parametrize("free", [None, 4])
def test_a_ring_needs_one_free_bond(tmp_path, free):
    molecule = load(pdb="thymidine.pdb", forcefield=("amber14/DNA.OL15.xml",))
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    ring = next(c for c in networkx.cycle_basis(networkx.Graph(molecule.bonds)) if len(c) == 5)
    for k, (i, j) in enumerate(zip(ring, ring[1:] + ring[:1], strict=True)):
        if k != free:
            system.addConstraint(i, j, 0.15)
    text = (SYSTEMS / "thymidine.pdb").read_text()
    if free is not None:
        assert len(load_system(tmp_path, system, text).constraints) == 4
        return
    message = refusal(load_system, tmp_path, system, text)
    assert "All bonds of the ring" in message and "Drop a constraint, such as that of" in message
    pair = message.partition("such as that of ")[2].partition(", and give")[0].split(" and ")
    labels = zip(residue_labels(molecule), molecule.atom_names, strict=True)
    names = [f"{residue}:{atom}" for residue, atom in labels]
    i, j = (names.index(name) for name in pair)
    assert tuple(sorted((i, j))) in molecule.bonds and {i, j} <= set(ring)


def test_position_restraints(tmp_path):
    system = alanine_system()
    restraint = openmm.CustomExternalForce("100*((x-1)^2+y^2+z^2)")
    restraint.addParticle(0, [])
    system.addForce(restraint)
    assert "Remove position restraints" in refusal(load_system, tmp_path, system)


def test_atoms_on_top_of_each_other(tmp_path):
    lines = ALANINE.splitlines()
    lines[21] = lines[21][:30] + lines[0][30:54] + lines[21][54:]
    assert "on top of each other" in refusal(load_text, tmp_path, "\n".join(lines))


def test_a_residue_whose_bonds_are_missing(tmp_path):
    ligand = (SYSTEMS / "thymidine.pdb").read_text().replace(" DT A", "LIG A")
    message = refusal(load_text, tmp_path, ligand)
    assert "LIG:1 has no bonds" in message and "CONECT" in message


def test_an_atom_without_element(tmp_path):
    lines = ALANINE.splitlines()
    lines[5] = lines[5].replace(" O   ACE", " EP  ACE")[:76] + "EP"
    assert "no chemical element for ACE:1:EP" in refusal(load_text, tmp_path, "\n".join(lines))
