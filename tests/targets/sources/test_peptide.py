"""Peptides from the names of their residues, by the templates of a force field."""

import functools
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm
import pytest
from alanine import AMBER99, load
from checked import load_again
from openmm import app

from onestep_md.config import MoleculeTarget
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.errors import TargetError
from onestep_md.kinds.molecule import describe_alpha_carbons
from onestep_md.targets.energy_terms import split_energy
from onestep_md.targets.evaluator import PotentialEvaluator
from onestep_md.targets.molecule import load_molecule
from onestep_md.targets.sources.mirroring import mirror_residues

FF14SB = ("amber14/protein.ff14SB.xml",)
# (centre, three arms) of positive volume in L residues, by the rules of IUPAC
L_CENTRES = {
    ("ILE", "CB"): ("CG1", "CA", "HB"),  # 3S
    ("THR", "CB"): ("CA", "OG1", "CG2"),  # 3R
    ("VAL", "CB"): ("CG1", "CA", "CG2"),  # CG1 is pro-R
    ("LEU", "CG"): ("CD1", "CB", "CD2"),  # CD1 is pro-R
}


@functools.cache
def build(peptide, forcefield=FF14SB, **keys):
    target = MoleculeTarget(peptide=peptide, forcefield=forcefield, temperature=300.0, **keys)
    return load_molecule(target, Path())


def atoms_of(molecule):
    """Finds the index of every (residue number, atom name)."""
    lines = [line for line in molecule.pdb_text.splitlines() if line[:6] in ("ATOM  ", "HETATM")]
    return {(int(line[22:26]), line[12:16].strip()): k for k, line in enumerate(lines)}


def volume(molecule, number, centre, arms):
    index = atoms_of(molecule)
    rays = molecule.positions[[index[number, a] for a in arms]]
    rays = rays - molecule.positions[index[number, centre]]
    return np.linalg.det(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def energies(molecule, x):
    return PotentialEvaluator(molecule, "Reference").evaluate(x[None])


def test_alanine_is_the_shipped_one_term_by_term():
    built, shipped = build("ACE-ALA-NME", AMBER99), load()
    index = atoms_of(built)
    order = [index[key] for key in atoms_of(shipped)]
    assert sorted(order) == list(range(22))
    x = np.empty_like(shipped.positions)
    x[order] = shipped.positions
    terms = split_energy(replace(built, positions=x))
    assert terms.keys() == split_energy(shipped).keys()
    for name, energy in split_energy(shipped).items():
        assert terms[name] == pytest.approx(energy, abs=1e-6), name
    assert find_molecule_isomers(built).held == find_molecule_isomers(shipped).held
    # the lowest minimum is not far below
    assert -25.0 < built.fingerprint.u_input - shipped.fingerprint.u_input < 5.0


def test_d_residues_are_mirror_images():
    left, right = build("ACE-ILE-NME"), build("ACE-DIL-NME")
    assert left.fingerprint.system_sha256 == right.fingerprint.system_sha256
    u, grad_u = energies(left, left.positions)
    mirrored, mirrored_grad_u = energies(right, -left.positions)
    np.testing.assert_allclose(mirrored, u)
    np.testing.assert_allclose(mirrored_grad_u, -grad_u)
    for centre, arms in (("CA", ("N", "C", "CB")), ("CB", L_CENTRES["ILE", "CB"])):
        assert volume(left, 2, centre, arms) > 0.5 > -0.5 > volume(right, 2, centre, arms)
    assert " DIL A   2" in right.pdb_text and " ILE A   2" in left.pdb_text
    (note,) = (note for note in right.fingerprint.notes if note.startswith("D residues"))
    assert note.endswith("DIL:2 of ILE")


@pytest.mark.parametrize("forcefield", ["amber19/protein.ff19SB.xml", "charmm36.xml"])
def test_maps_of_d_residues_are_reflected(forcefield):
    left = build("ALA-DIL-PRO-SER", (forcefield,), cyclic=True)
    right = build("DAL-ILE-DPR-DSN", (forcefield,), cyclic=True)
    assert left.fingerprint.system_sha256 != right.fingerprint.system_sha256
    mirrored = split_energy(replace(right, positions=-left.positions))
    assert mirrored == pytest.approx(split_energy(left))


@pytest.mark.parametrize(
    ("forcefield", "knows"),
    [("amber19/protein.ff19SB.xml", True), ("charmm36.xml", True), (FF14SB[0], False)],
)
def test_a_pdb_with_d_residues_is_the_peptide_of_the_sequence(forcefield, knows, tmp_path):
    built = build("GLY-ILE-DAL-PRO", (forcefield,), cyclic=True)
    # force fields know the residue by the name of its mirror image
    (tmp_path / "d.pdb").write_text(built.pdb_text.replace("DAL", "ALA"))
    target = MoleculeTarget(pdb="d.pdb", forcefield=(forcefield,), temperature=300.0)
    read = load_molecule(target, tmp_path)
    assert split_energy(read) == pytest.approx(split_energy(built), abs=1e-4)
    said = [note for note in read.fingerprint.notes if note.startswith("D residues")]
    expected = "D residues whose maps and odd torsions are those of L, reflected: ALA:3"
    assert said == [expected] * knows


def test_phases_of_d_residues_are_reflected():
    molecule = build("ACE-ALA-NME")
    original = openmm.XmlSerializer.deserialize(molecule.system_xml)
    topology = app.PDBFile(io.StringIO(molecule.pdb_text)).topology
    (force,) = (f for f in original.getForces() if isinstance(f, openmm.PeriodicTorsionForce))
    residues = [atom.residue.index for atom in topology.atoms()]
    for k in range(force.getNumTorsions()):
        *quad, period, _, barrier = force.getTorsionParameters(k)
        if residues[quad[1]] == residues[quad[2]]:
            force.setTorsionParameters(k, *quad, period, 0.7, barrier)
    reflected = openmm.XmlSerializer.clone(original)
    mirror_residues(reflected, topology, [True] * 3)
    u, mirrored, wrong = (
        split_energy(replace(molecule, system_xml=openmm.XmlSerializer.serialize(s), positions=x))
        for s, x in (
            (original, molecule.positions),
            (reflected, -molecule.positions),
            (original, -molecule.positions),
        )
    )
    assert mirrored == pytest.approx(u)
    assert abs(wrong["torsions"] - u["torsions"]) > 0.1


def test_terms_that_cannot_be_reflected_are_refused():
    assert build("ACE-ALA-NME", ("amberfb15.xml",)).fingerprint.u_input < 0.0
    with pytest.raises(TargetError, match="terms for L residues that cannot be reflected"):
        build("ACE-ALA-DAL-NME", ("amberfb15.xml",))


@pytest.mark.parametrize(
    "peptide",
    [
        "ACE-ALA-ARG-ASN-ASP-CYS-GLN-GLU-GLY-HIE-ILE-NME",
        "LEU-LYS-MET-PHE-PRO-SER-THR-TRP-TYR-VAL",
        "ACE-DVA-DTH-DIL-DPR-DLE-NME",
    ],
)
def test_every_residue_has_its_isomer(peptide):
    molecule = build(peptide)
    index = atoms_of(molecule)
    for number, name in enumerate(peptide.split("-"), start=1):
        mirrors = {"DVA": "VAL", "DTH": "THR", "DIL": "ILE", "DPR": "PRO", "DLE": "LEU"}
        sign, kind = (-1.0, mirrors[name]) if name in mirrors else (1.0, name)
        centres = {c: arms for (residue, c), arms in L_CENTRES.items() if residue == kind}
        if (number, "CB") in index:
            centres["CA"] = ("N", "C", "CB")
        if (number, "HB2") in index and (number, "HB3") in index and (number, "HB1") not in index:
            (gamma,) = (a for a in ("CG", "SG", "OG") if (number, a) in index)
            centres["CB"] = (gamma, "CA", "HB2")
        if kind == "GLY":
            centres["CA"] = ("C", "N", "HA2")
        for centre, arms in centres.items():
            assert sign * volume(molecule, number, centre, arms) > 0.5, (number, centre)
    assert "cis" not in "".join(find_molecule_isomers(molecule).held)
    assert molecule.fingerprint.u_input < 1000.0
    largest = np.abs(energies(molecule, molecule.positions)[1]).max()
    assert largest < 500.0  # kT/nm: relaxed


def test_alpha_carbons_are_described_by_their_geometry():
    molecule = build("ACE-DVA-DTH-DIL-DPR-DLE-NME")
    line = "alpha carbons D: DVA:2, DTH:3, DIL:4, DPR:5, DLE:6"
    assert describe_alpha_carbons(molecule) == [line]
    mixed = build("ALA-DVA-GLY-SER", cyclic=True)
    assert describe_alpha_carbons(mixed) == ["alpha carbons L: ALA:1, SER:4; D: DVA:2"]
    assert describe_alpha_carbons(build("ACE-GLY-NME")) == []


def test_prochiral_names_are_those_of_a_shipped_peptide(shipped):
    ours, theirs = build("ACE-VAL-NME"), shipped("valine")
    for arms in (("CG1", "CA", "CG2"), ("CG1", "CA", "HB")):
        assert volume(ours, 2, "CB", arms) * volume(theirs, 2, "CB", arms) > 0.25


@pytest.mark.parametrize(
    ("peptide", "ring", "amides"),
    [
        ("ALA-ALA-ALA-ALA-DAL", 15, "5 trans amides"),
        ("DPR-GLY-ALA-PRO-GLY", 15, "5 trans amides"),
        ("PRO-PRO-PRO", 9, "3 cis amides"),
    ],
)
def test_ends_of_a_cyclic_peptide_are_bonded(peptide, ring, amides):
    molecule = build(peptide, cyclic=True)
    index = atoms_of(molecule)
    last = len(peptide.split("-"))
    assert tuple(sorted((index[1, "N"], index[last, "C"]))) in molecule.bonds
    isomers = find_molecule_isomers(molecule)
    assert ring in {len(atoms) for atoms in isomers.rings}
    assert amides in isomers.held
    assert not any("charged" in note for note in molecule.fingerprint.notes)


def test_the_smallest_ring_is_a_diketopiperazine():
    molecule = build("GLY-ALA", cyclic=True)
    assert len(molecule.elements) == 17
    assert "cis" in "".join(molecule.fingerprint.notes)


@pytest.mark.parametrize("peptide", ["ACE-CYX-ALA-ALA-CYX-NME", "ACE-CYS-ALA-ALA-DCY-NME"])
def test_disulfides_are_bonds(peptide):
    molecule = build(peptide, disulfides=((2, 5),))
    index = atoms_of(molecule)
    pair = index[2, "SG"], index[5, "SG"]
    assert pair in molecule.bonds
    assert 0.19 < np.linalg.norm(np.subtract(*molecule.positions[list(pair)])) < 0.22
    assert "disulfides: 2 and 5" in molecule.fingerprint.notes


def test_the_only_disulfide_that_can_be_is_chosen_and_said():
    molecule = build("ACE-CYX-CYX-NME")
    index = atoms_of(molecule)
    assert (index[2, "SG"], index[3, "SG"]) in molecule.bonds
    (note,) = (note for note in molecule.fingerprint.notes if note.startswith("disulfide"))
    assert note == "disulfide: residues 2 and 3, the only two that can have it"


def test_cysteines_are_thiols_unless_they_are_paired():
    assert "SG" in {name for _, name in atoms_of(build("ACE-CYS-CYS-NME"))}
    assert (2, "HG") in atoms_of(build("ACE-CYS-CYS-NME"))


def test_ends_without_caps_are_charged_and_this_is_said():
    molecule = build("ALA-DAL", ("amber99sbildn.xml", "amber99_obc.xml"))
    assert (1, "H3") in atoms_of(molecule) and (2, "OXT") in atoms_of(molecule)
    notes = molecule.fingerprint.notes
    assert (
        "charged ends: ALA:1 by template NALA, DAL:2 by template CALA; ACE and NME are neutral "
        "caps" in notes
    )


def test_choices_are_said():
    notes = build("ACE-HIS-NH2").fingerprint.notes
    assert any(note.startswith("HIS:2 is taken as HIE") for note in notes)
    assert any(note.startswith("NH2:3 is taken as NHE") for note in notes)


@pytest.mark.parametrize("solvent", ["obc1", "gbn2"])
def test_any_implicit_solvent(solvent):
    molecule = build("ACE-GLY-NME", (*FF14SB, f"implicit/{solvent}.xml"))
    assert molecule.fingerprint.solvent.startswith("implicit")
    assert build("ACE-GLY-NME").fingerprint.solvent == "vacuum"


def test_bonds_to_hydrogen_may_be_constrained():
    molecule = build("ACE-GLY-NME", constraints="hbonds")
    assert len(molecule.constraints) == sum(element == "H" for element in molecule.elements)


def test_the_same_peptide_is_built_each_time():
    first = build("ACE-ALA-NME", AMBER99)
    build.cache_clear()
    again = build("ACE-ALA-NME", AMBER99)
    assert (first.pdb_text, first.system_xml) == (again.pdb_text, again.system_xml)


@pytest.mark.parametrize(
    ("peptide", "keys"),
    [
        ("ALA-ALA-ALA-ALA-DAL", {"cyclic": True}),
        ("GLY-GLY-GLY-GLY-GLY", {"cyclic": True}),
        ("ACE-CYX-ALA-ALA-CYX-NME", {"disulfides": ((2, 5),)}),
        ("HIP-ASH-LYN-DHI", {}),
    ],
)
def test_a_run_folder_has_the_same_molecule(peptide, keys, tmp_path):
    molecule = build(peptide, **keys)
    again = load_again(molecule, tmp_path)
    assert find_molecule_isomers(again) == find_molecule_isomers(molecule)
    read = app.PDBFile(str(tmp_path / "input.pdb")).topology
    assert {tuple(sorted((a.index, b.index))) for a, b in read.bonds()} == set(molecule.bonds)
    np.testing.assert_allclose(again.positions, molecule.positions, atol=1e-9)


BAD = {
    "ACE-ALX-NME": "residue 2, ALX, has no template in the force field, which has ACE, ALA,",
    "AGAV": "residue 1, AGAV, has no template in the force field; if these are one-letter codes, "
    "write ALA-GLY-ALA-VAL.",
    "A": "if these are one-letter codes, write ALA.",
    "A-G": "if these are one-letter codes, write ALA-GLY.",
    "ALA": "residue 1, ALA, stands alone",
    "ALA-ACE-NME": "residue 2, ACE, is a cap and can only stand first; leave it out elsewhere.",
    "ACE-NME-ALA": "residue 2, NME, is a cap and can only stand last; leave it out elsewhere.",
    "ASH-ALA-NME": "residue 1, ASH, stands first, and the force field has no template NASH of a "
    "charged end; add a cap, such as ACE, or add a force-field file that has the template.",
    "ACE-LYN": "residue 2, LYN, stands last, and the force field has no template CLYN",
    "ACE-CYX-NME": "CYX:2 without a partner",
    "ACE-CYX-CYX-CYX-CYX-NME": "CYX:2, CYX:3, CYX:4, CYX:5 without a partner",
}


@pytest.mark.parametrize("peptide", BAD)
def test_one_sentence_says_what_is_wrong_with_a_sequence(peptide):
    with pytest.raises(TargetError) as caught:
        build(peptide)
    message = str(caught.value)
    assert message.startswith("target.peptide: ") and BAD[peptide] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("peptide", "keys", "message"),
    [
        ("ACE-ALA-NME", {"cyclic": True}, "residue 1, ACE, is a cap, and target.cyclic joins"),
        ("ALA", {"cyclic": True}, "a ring of one residue does not exist"),
        ("ACE-CYX-ALA-NME", {"disulfides": ((2, 3),)}, "residue 3 is ALA, which is no cysteine"),
        ("ACE-CYX-CYX-NME", {"disulfides": ((2, 9),)}, "there is no residue 9"),
        (
            "CYX-CYX-CYX",
            {"disulfides": ((1, 2), (2, 3))},
            "residue 2 is in a disulfide twice; each cysteine has one.",
        ),
    ],
)
def test_rings_that_cannot_be_are_refused(peptide, keys, message):
    with pytest.raises(TargetError, match="^target") as caught:
        build(peptide, **keys)
    assert message in str(caught.value)


def test_a_force_field_without_disulfides_says_so():
    with pytest.raises(TargetError, match="the force field has no template CYX"):
        build("CYS-ALA-CYS-ALA", ("charmm36.xml",), cyclic=True, disulfides=((1, 3),))
