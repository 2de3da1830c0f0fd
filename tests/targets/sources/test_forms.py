"""One molecule in the forms of several programs is the same molecule, term by term."""

import shutil
from pathlib import Path

import numpy as np
import openmm
import pytest
from alanine import SYSTEMS, load
from checked import load_again
from openmm import app

from onestep_md.config import MoleculeTarget
from onestep_md.targets.energy_terms import split_energy
from onestep_md.targets.molecule import load_molecule

DATA = Path(__file__).parents[1] / "data"
SAME = 1e-3  # kT; files round
FORMS = {
    "amber": {"prmtop": "alanine.prmtop", "inpcrd": "alanine.rst7"},
    "gromacs": {"top": "alanine.top", "gro": "alanine.gro"},
    "charmm": {"psf": "alanine.psf", "params": ["alanine.prm"], "crd": "alanine.crd"},
}


def read(folder=DATA, solvent="vacuum", **keys):
    return load_molecule(MoleculeTarget(temperature=300.0, solvent=solvent, **keys), folder)


def assert_same_terms(a, b):
    terms, others = split_energy(a), split_energy(b)
    assert terms.keys() == others.keys()
    for name, energy in terms.items():
        assert energy == pytest.approx(others[name], abs=SAME), name


@pytest.mark.parametrize("solvent", ["vacuum", "gbn2"])
@pytest.mark.parametrize("form", ["gromacs", "charmm"])
def test_forms_of_three_programs_agree_term_by_term(form, solvent):
    amber, other = read(solvent=solvent, **FORMS["amber"]), read(solvent=solvent, **FORMS[form])
    assert_same_terms(amber, other)
    assert ("generalised Born" in split_energy(amber)) == (solvent != "vacuum")
    assert amber.bonds == other.bonds and amber.elements == other.elements
    assert amber.atom_names == other.atom_names
    np.testing.assert_allclose(amber.positions, other.positions, atol=1e-6)


def test_bonded_terms_are_those_of_the_force_field_that_the_files_were_made_of():
    ours, original = split_energy(read(**FORMS["amber"])), load(forcefield=("amber99sbildn.xml",))
    for name in ("bonds", "angles", "torsions"):
        assert ours[name] == pytest.approx(split_energy(original)[name], abs=SAME)


def test_urey_bradley_cmap_and_nbfix_of_charmm_are_those_of_gromacs():
    charmm = read(psf="charmm.psf", params=["charmm.prm"], crd="alanine.crd")
    gromacs = read(top="charmm.top", gro="alanine.gro")
    assert_same_terms(charmm, gromacs)
    assert {"Urey-Bradley", "CMAP", "pairs, custom"} < split_energy(charmm).keys()
    # pairs 1-3 are no bonds
    assert charmm.bonds == read(**FORMS["charmm"]).bonds


def test_nbfix_changes_one_pair_as_its_line_says():
    charmm = read(psf="charmm.psf", params=["charmm.prm"], crd="alanine.crd")
    plain = read(**FORMS["charmm"])
    pairs = [
        split_energy(m)["Lennard-Jones"] + split_energy(m).get("pairs, custom", 0.0)
        for m in (charmm, plain)
    ]
    r = 10.0 * np.linalg.norm(charmm.positions[5] - charmm.positions[17])

    def energy(depth, minimum):  # kcal/mol, of O5 and H17 at their distance in A
        return depth * ((minimum / r) ** 12 - 2.0 * (minimum / r) ** 6)

    change = energy(0.4, 3.0) - energy((0.21 * 0.0157) ** 0.5, 1.6612 + 0.6)
    assert pairs[0] - pairs[1] == pytest.approx(4.184 * change / charmm.kT, abs=SAME)


def test_scaled_pairs_of_antechamber_and_acpype_agree():
    amber = read(prmtop="ethanol.prmtop", pdb="ethanol.pdb")
    gromacs = read(top="ethanol.top", pdb="ethanol.pdb")
    assert_same_terms(amber, gromacs)
    assert amber.fingerprint.notes[-1].startswith("bonds of the System that the PDB does not list")


def test_every_solvent_is_in_the_system_and_another_energy():
    energies = set()
    for solvent in ("vacuum", "hct", "obc1", "obc2", "gbn", "gbn2"):
        for form in FORMS.values():
            molecule = read(solvent=solvent, **form)
            assert molecule.fingerprint.solvent.startswith("implicit") == (solvent != "vacuum")
            assert f"solvent: {solvent}" in molecule.fingerprint.notes[0]
            assert molecule.fingerprint.cutoff == "none"
            energies.add(round(molecule.fingerprint.u_input, 2))
    assert len(energies) >= 6


def test_radii_that_do_not_fit_the_solvent_are_said():
    notes = read(solvent="hct", **FORMS["amber"]).fingerprint.notes
    assert "radii of the prmtop: ArgH and AspGluO modified Bondi2 radii (mbondi3)" in notes[0]
    assert notes[1].startswith("OpenMM says: Non-optimal GB parameters")


@pytest.mark.parametrize("form", FORMS)
def test_bonds_to_hydrogen_may_be_constrained(form):
    molecule = read(constraints="hbonds", **FORMS[form])
    assert len(molecule.constraints) == 12


@pytest.mark.parametrize("form", FORMS)
def test_a_pdb_gives_the_coordinates_as_well(form):
    keys = {key: FORMS[form][key] for key in FORMS[form] if key not in ("inpcrd", "gro", "crd")}
    molecule = read(pdb=str(SYSTEMS / "alanine.pdb"), **keys)
    assert molecule.fingerprint.pdb == "alanine.pdb"
    assert molecule.fingerprint.system_sha256 == read(**FORMS[form]).fingerprint.system_sha256


@pytest.mark.parametrize("form", FORMS)
def test_a_run_folder_has_the_same_molecule(form, tmp_path):
    molecule = read(solvent="obc2", **FORMS[form])
    again = load_again(molecule, tmp_path)
    assert again.elements == molecule.elements
    np.testing.assert_allclose(again.positions, molecule.positions, atol=5.1e-5)


def test_includes_are_read_from_beside_the_file_and_from_the_include_folder(tmp_path):
    (tmp_path / "ff").mkdir()
    shutil.copy(DATA / "ethanol.itp", tmp_path / "ff")
    for name in ("ethanol.top", "ethanol.gro"):
        shutil.copy(DATA / name, tmp_path)
    molecule = read(tmp_path, top="ethanol.top", gro="ethanol.gro", include="ff")
    beside = read(top="ethanol.top", gro="ethanol.gro")
    assert molecule.fingerprint.system_sha256 == beside.fingerprint.system_sha256


def test_names_of_another_convention_are_those_of_the_pdb(tmp_path):
    text = (DATA / "ethanol.pdb").read_text()
    (tmp_path / "mol.pdb").write_text(text.replace("  H5 UNL", "  HO UNL"))
    shutil.copy(DATA / "ethanol.prmtop", tmp_path)
    assert read(tmp_path, prmtop="ethanol.prmtop", pdb="mol.pdb").atom_names[-1] == "HO"


def test_long_names_of_residues_are_shortened_and_said(tmp_path):
    text = (DATA / "alanine.psf").read_text().replace(" ALA  ", " ALAD ")
    assert " ALAD " in text
    (tmp_path / "mol.psf").write_text(text)
    keys = {"params": [str(DATA / "alanine.prm")], "crd": str(DATA / "alanine.crd")}
    molecule = read(tmp_path, psf="mol.psf", **keys)
    assert "residue ALAD:2 is UNL in PDB files" in molecule.fingerprint.notes
    assert molecule.bonds == read(**FORMS["charmm"]).bonds


def test_mmcif_is_read_as_the_pdb_is(tmp_path):
    pdb = app.PDBFile(str(SYSTEMS / "alanine.pdb"))
    with open(tmp_path / "alanine.cif", "w") as file:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions, file)
    molecule, expected = load(tmp_path, pdb="alanine.cif"), load()
    assert molecule.fingerprint.identity == expected.fingerprint.identity
    assert (molecule.bonds, molecule.atom_names) == (expected.bonds, expected.atom_names)
    assert load(DATA, pdb="alanine.cif").fingerprint.identity == expected.fingerprint.identity


def test_quoted_names_of_mmcif_stay(tmp_path):
    pdb = app.PDBFile(str(SYSTEMS / "thymidine.pdb"))
    with open(tmp_path / "mol.cif", "w") as file:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions, file)
    molecule = load(tmp_path, pdb="mol.cif", forcefield=("amber14/DNA.OL15.xml",))
    assert molecule.atom_names == tuple(atom.name for atom in pdb.topology.atoms())


def test_elements_are_those_of_the_masses_where_names_mislead(tmp_path):
    text = (DATA / "alanine.top").read_text().replace(" CH3 ", " BR1 ").replace(" CB ", " NA1 ")
    # without atomic numbers in the file
    types = text.split("[ atomtypes ]")[1].split("[")[0]
    bare = "\n".join(
        " ".join(words[:1] + words[2:]) if len(words := line.split()) == 7 else line
        for line in types.splitlines()
    )
    (tmp_path / "mol.top").write_text(text.replace(types, f"{bare}\n"))
    text = (DATA / "alanine.gro").read_text().replace(" CH3", " BR1").replace("  CB", " NA1")
    (tmp_path / "mol.gro").write_text(text)
    molecule = read(tmp_path, "gbn2", top="mol.top", gro="mol.gro")
    assert "BR1" in molecule.atom_names
    assert molecule.elements == read(**FORMS["gromacs"]).elements
    expected = read(solvent="gbn2", **FORMS["gromacs"]).fingerprint.u_input
    assert molecule.fingerprint.u_input == pytest.approx(expected, abs=SAME)


def write_ethanol_forcefield(path):
    """Writes force-field XML of ethanol whose template is called UNL."""
    system = openmm.XmlSerializer.deserialize(
        read(prmtop="ethanol.prmtop", pdb="ethanol.pdb").system_xml
    )
    pdb = app.PDBFile(str(DATA / "ethanol.pdb"))
    bonds = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    names = [atom.name for atom in pdb.topology.atoms()]
    types, atoms, stretch, template = [], [], [], []
    for atom in pdb.topology.atoms():
        mass = atom.element.mass._value
        types.append(
            f'<Type name="{atom.name}" class="{atom.name}" element="{atom.element.symbol}" '
            f'mass="{mass}"/>'
        )
        atoms.append(f'<Atom name="{atom.name}" type="{atom.name}"/>')
    for k in range(bonds.getNumBonds()):
        i, j, length, stiffness = bonds.getBondParameters(k)
        stretch.append(
            f'<Bond class1="{names[i]}" class2="{names[j]}" length="{length._value}" '
            f'k="{stiffness._value}"/>'
        )
        template.append(f'<Bond atomName1="{names[i]}" atomName2="{names[j]}"/>')
    path.write_text(
        f"<ForceField><AtomTypes>{''.join(types)}</AtomTypes><Residues><Residue name='UNL'>"
        f"{''.join(atoms + template)}</Residue></Residues><HarmonicBondForce>{''.join(stretch)}"
        "</HarmonicBondForce></ForceField>"
    )


def test_bonds_that_a_pdb_lacks_are_those_of_the_template(tmp_path):
    write_ethanol_forcefield(tmp_path / "ethanol.xml")
    shutil.copy(DATA / "ethanol.pdb", tmp_path)
    molecule = load(tmp_path, pdb="ethanol.pdb", forcefield=("ethanol.xml",))
    assert molecule.bonds == read(prmtop="ethanol.prmtop", pdb="ethanol.pdb").bonds
    (note,) = molecule.fingerprint.notes
    assert note.startswith("bonds of the force field's templates that the PDB does not list: ")
    assert note.endswith("and 5 more")
