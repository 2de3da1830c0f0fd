"""The bonds of a serialized System are the molecule's; a PDB of something else is refused."""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app

from onestep_md.config import MoleculeTarget
from onestep_md.errors import TargetError
from onestep_md.targets.molecule import load_molecule

SYSTEMS = Path(__file__).parents[2] / "systems"
FIELD = "amber14/DNA.OL15.xml"
TEXT = (SYSTEMS / "thymidine.pdb").read_text()
ATOMS = [line for line in TEXT.splitlines() if line.startswith(("ATOM", "HETATM"))]
LIGAND = [f"HETATM{line[6:17]}LIG{line[20:]}" for line in ATOMS]  # no standard residue: no bonds


def thymidine(**options):
    pdb = app.PDBFile(str(SYSTEMS / "thymidine.pdb"))
    return app.ForceField(FIELD).createSystem(pdb.topology, removeCMMotion=False, **options)


def load(folder, system, lines):
    (folder / "mol.pdb").write_text("\n".join([*lines, "END"]))
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    target = MoleculeTarget(
        pdb="mol.pdb", forcefield=None, system="system.xml", held="amides", temperature=300.0
    )
    return load_molecule(target, folder)


def refusal(*args):
    with pytest.raises(TargetError) as caught:
        load(*args)
    return str(caught.value)


def known():
    target = MoleculeTarget(
        pdb="thymidine.pdb", forcefield=(FIELD,), system=None, constraints="none", held="amides",
        temperature=300.0,
    )  # fmt: skip
    return load_molecule(target, SYSTEMS)


def conect(*pairs):
    return [f"CONECT{i + 1:5d}{j + 1:5d}" for i, j in pairs]


def with_custom_bonds(system):
    """The same bonds as a CustomBondForce, which also holds terms of 1-3 neighbours."""
    kinds = [type(force) for force in system.getForces()]
    where = kinds.index(openmm.HarmonicBondForce)
    old = system.getForce(where)
    new = openmm.CustomBondForce("k * (r - r0)^2 / 2")
    new.addPerBondParameter("k")
    new.addPerBondParameter("r0")
    for k in range(old.getNumBonds()):
        i, j, length, stiffness = old.getBondParameters(k)
        new.addBond(i, j, [stiffness, length])
    near = [set() for _ in range(system.getNumParticles())]
    for i, j in known().bonds:
        near[i].add(j)
        near[j].add(i)
    for middle in near:
        i, j, *_ = [*sorted(middle), None, None]
        if j is not None:
            new.addBond(i, j, [1.0, 0.2])
    system.removeForce(where)
    system.addForce(new)
    return system


@pytest.mark.parametrize("constraints", [None, app.HBonds, app.AllBonds])
def test_a_pdb_may_list_no_bonds(tmp_path, constraints):
    system = thymidine(constraints=constraints)
    if constraints is app.AllBonds:  # a ring keeps one free
        ends = [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]
        names = [line[12:16].strip() for line in ATOMS]
        free = [{"C1'", "C2'"}, {"C5", "C6"}]
        for k in reversed(range(len(ends))):
            if {names[i] for i in ends[k]} in free:
                system.removeConstraint(k)
                bonds = next(f for f in system.getForces() if "HarmonicBond" in f.getName())
                bonds.addBond(*ends[k], 0.15, 2e5)
    molecule = load(tmp_path, system, LIGAND)
    assert molecule.bonds == known().bonds
    (note,) = molecule.fingerprint.notes
    assert "bonds of the System that the PDB does not list: LIG:1:" in note and "more" in note


def test_bonds_of_other_forms_are_bonds_and_their_other_uses_are_none(tmp_path):
    molecule = load(tmp_path, with_custom_bonds(thymidine()), LIGAND)
    assert molecule.bonds == known().bonds


def test_urey_bradley_terms_and_restraints_are_no_bonds(tmp_path):
    system = thymidine()
    bonds = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    x = known().positions
    near = {i: {a + b - i for a, b in known().bonds if i in (a, b)} for i in range(len(x))}
    for others in near.values():
        for i, j in zip(sorted(others), sorted(others)[1:], strict=False):
            bonds.addBond(i, j, float(np.linalg.norm(x[i] - x[j])), 1e3)
    bonds.addBond(0, len(x) - 1, 0.6, 10.0)
    assert load(tmp_path, system, LIGAND).bonds == known().bonds


def test_the_run_folder_is_complete_by_itself(tmp_path):
    first = load(tmp_path, thymidine(), LIGAND)
    (tmp_path / "again").mkdir()
    lines = first.pdb_text.splitlines()
    again = load(tmp_path / "again", openmm.XmlSerializer.deserialize(first.system_xml), lines)
    assert again.bonds == first.bonds


def test_a_system_without_bonds_takes_those_of_the_pdb(tmp_path):
    system = thymidine()
    for k in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(k), openmm.HarmonicBondForce):
            system.removeForce(k)
    assert load(tmp_path, system, LIGAND + conect(*known().bonds)).bonds == known().bonds


def test_a_bond_too_many_is_refused(tmp_path):
    message = refusal(tmp_path, thymidine(), ATOMS + conect((0, 12)))
    assert "has a bond between DT:1:" in message and "Delete its CONECT record" in message


@pytest.mark.parametrize("lines", [ATOMS, LIGAND])
@pytest.mark.parametrize("heavy", [False, True])
def test_reordered_atoms(tmp_path, lines, heavy):
    system = thymidine(**({"hydrogenMass": 3.0} if heavy else {}))
    message = refusal(tmp_path, system, lines[::-1])
    assert "same atoms, in another order" in message and "PDBFile.writeFile" in message


def test_another_molecule_of_as_many_atoms(tmp_path):
    oxygen = next(k for k, line in enumerate(LIGAND) if line[76:78].strip() == "O")
    lines = list(LIGAND)
    lines[oxygen] = f"{lines[oxygen][:76]} S{lines[oxygen][78:]}"
    message = refusal(tmp_path, thymidine(), lines)
    assert "has the mass of O" in message and "different molecules" in message


def test_masses_that_are_no_elements_tell_nothing(tmp_path):
    system = thymidine()
    for i in range(system.getNumParticles()):
        system.setParticleMass(i, 10.0 + 0.3 * i)
    assert load(tmp_path, system, LIGAND).bonds == known().bonds
