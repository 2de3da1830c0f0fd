"""Ligands from SMILES, SDF and MOL2, by RDKit and AmberTools themselves."""

import re
import sys

import numpy as np
import pytest

from onestep_md.config import load_config, load_configs
from onestep_md.errors import TargetError
from onestep_md.free_energy.states import read_states
from onestep_md.kinds import load_target
from onestep_md.run_folder import keep_origin, load_run_config
from onestep_md.targets.molecule import load_molecule

pytestmark = pytest.mark.ligands

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
FAST = {"forcefield": ["gaff2"], "charges": "gasteiger", "solvent": "vacuum", "temperature": 300}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Parameters of other tests and of the user are not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(**keys):
    (config,) = load_configs({"target": FAST | keys}).values()
    return load_molecule(config.molecule, config.folder)


def notes(**keys) -> str:
    return "\n".join(load(**keys).fingerprint.notes)


def refusal(**keys) -> str:
    with pytest.raises(TargetError) as caught:
        load(**keys)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def write_sdf(path, atoms, bonds, space="3D"):
    """Write (symbol, x, y, z) in A and (i, j, order) from 1."""
    lines = ["made up", f"  test            {space}", ""]
    lines += [f"{len(atoms):3d}{len(bonds):3d}  0  0  0  0  0  0  0  0999 V2000"]
    lines += [
        f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:<3} 0  0  0  0  0  0  0  0  0  0  0  0"
        for symbol, x, y, z in atoms
    ]
    lines += [f"{i:3d}{j:3d}{order:3d}  0" for i, j, order in bonds]
    path.write_text("\n".join([*lines, "M  END", "$$$$", ""]))
    return path


def tetrahedron(outer, length):
    """A carbon atom with four others around it, and its bonds."""
    corners = length / 3**0.5 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return [("C", 0, 0, 0), *((outer, *x) for x in corners)], [(1, i, 1) for i in (2, 3, 4, 5)]


@pytest.fixture
def methane(tmp_path):
    return write_sdf(tmp_path / "methane.sdf", *tetrahedron("H", 1.09))


def test_aspirin_by_am1bcc_is_whole():
    molecule = load(smiles=ASPIRIN, charges="am1bcc", solvent="obc2")
    text = "\n".join(molecule.fingerprint.notes)
    assert "C9H8O4, charge 0" in text and "GAFF2 with AM1-BCC charges" in text
    assert molecule.fingerprint.solvent == "implicit, generalised Born (GBSAOBCForce)"
    assert molecule.elements == tuple("CCOOCCCCCCCOO" + 8 * "H")  # those of the SMILES, then H
    assert molecule.atom_names[:4] == ("C1", "C2", "O1", "O2") and len(molecule.bonds) == 21
    pairs = {
        tuple(sorted(map(int, (line[6:11], line[k : k + 5]))))
        for line in molecule.pdb_text.splitlines()
        if line.startswith("CONECT")
        for k in range(11, len(line.rstrip()), 5)
    }
    assert pairs == {(i + 1, j + 1) for i, j in molecule.bonds}


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("aspirin", "aspirin is no SMILES string. Names, formulas and InChI are not looked up"),
        ("C1CC", "C1CC is no SMILES string"),
        ("N/C=C\u2029", "has characters that no SMILES string has. A backslash in double quotes"),
        ("CC=C=CC", "the double bonds at atom 3 (C) share it, and GAFF lets their ends turn"),
        ("CN=C=NC", "the double bonds at atom 3 (C) share it"),
        ("C[N+](C)(C)[O-]", "sum to 1.000, and its net charge is 0. Take the other of target.ch"),
        ("C[CH2]", "atom 2 (C) has unpaired electrons. GAFF has no radicals"),
        ("[Na+].CC(=O)[O-]", "holds 2 molecules: Na+, C2H3O2-. Only one can be sampled"),
        ("C[Zn]C", "GAFF has no atom 2 (Zn). Its elements are H, C, N, O, F, P, S, Cl, Br, I"),
        ("OB(O)C", "GAFF has no atom 2 (B)"),
        ("CC*", "atom 3 (*) is a placeholder. Name its element."),
        ("C~C", "the bond of atom 1 (C) and atom 2 (C) is neither single, double, triple nor"),
        ("CN(C)(C)(C)C", "Explicit valence for atom 2 N, 5, is greater than permitted"),
        ("c1cccc1", "Can't kekulize mol (by RDKit). Correct the bond orders"),
        ("C[C@H]1[C@@H](C)C#C1", "RDKit has no geometry for it"),
        ("[Cl-]", "[Cl-] is a single atom, which has nothing to sample."),
        (" ", "holds no atoms."),
        (
            "OCl(=O)(=O)=O",
            "antechamber fails on the ligand: No Gasteiger parameter for atom (ID: 1",
        ),
        ("[H][H]", "GAFF2 has no parameters for ha-ha of the ligand"),
    ],
)
def test_what_gaff_cannot_do_is_refused_in_one_sentence(smiles, words):
    assert words in refusal(smiles=smiles)


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("CC(F)C(O)C", r"2 stereocentres undefined: taken as [RS],[RS] \(C2,C3\); give @ in"),
        ("CC=CF", r"1 double bond undefined: taken as [EZ] \(C2=C3\); give / and \\ in SMILES"),
        ("C[C@H](F)Cl", r"stereo: C2 R"),
        ("CC O", "SMILES CC; what follows, O, is taken as a name"),
        ("F/C=C/F", r"stereo: C1=C2 E"),
        ("[2H]C([2H])O", "2 isotopes taken as the usual one: the energy is the same"),
        ("CC(=O)[O-]", "C2H3O2-, charge -1"),
        ("C[N+](C)(C)C", r"C4H12N\+, charge 1"),
        ("C[NH2+]CC(=O)[O-]", "C3H7NO2, charge 0"),
        ("CN(=O)=O", "CH3NO2, charge 0"),
        (
            "C=[N+]=[N-]",
            "parmchk2 estimated [0-9]+ parameters? that GAFF2 lacks; the least certain",
        ),
    ],
)
def test_what_is_understood_and_chosen_is_said(smiles, words):
    assert re.search(words, notes(smiles=smiles))


def test_given_stereo_is_no_choice_and_kept():
    for smiles, label in (("C[C@H](F)Cl", "R"), ("C[C@@H](F)Cl", "S")):
        said = notes(smiles=smiles)
        assert f"stereo: C2 {label}" in said and "undefined" not in said


@pytest.mark.parametrize("smiles", ["CCO", "c1cnc[nH]1"])
def test_equal_smiles_make_equal_systems(smiles, tmp_path, monkeypatch):
    made = []
    for number in range(4):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(number)))
        molecule = load(smiles=smiles, charges="am1bcc")
        made.append((molecule.system_xml, molecule.pdb_text))
    assert len(set(made)) == 1


def hide_ambertools(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


def test_parameters_are_made_once(tmp_path, monkeypatch):
    first = load(smiles="CCO")
    hide_ambertools(monkeypatch, tmp_path)
    again = load(smiles="CCO")
    assert again.system_xml == first.system_xml and again.bonds == first.bonds
    assert any("parameters as made before, kept in " in note for note in again.fingerprint.notes)
    message = refusal(smiles="CCC")
    assert "antechamber of AmberTools is missing" in message
    assert 'pip install "onestep_md[ligands]"' in message


def test_solvents_and_constraints_are_those_asked_for():
    gbn2 = load(smiles="CCO", solvent="gbn2", constraints="hbonds")
    assert gbn2.fingerprint.solvent == "implicit, generalised Born (CustomGBForce)"
    assert len(gbn2.constraints) == 6
    assert load(smiles="CCO", forcefield=["gaff"]).fingerprint.forcefield == ("gaff", "gasteiger")


def test_an_sdf_keeps_its_geometry(methane):
    molecule = load(file=str(methane))
    lengths = np.linalg.norm(molecule.positions[1:] - molecule.positions[0], axis=1)
    np.testing.assert_allclose(lengths, 0.109, atol=1e-4)
    assert molecule.fingerprint.pdb == "methane.sdf"


def test_missing_hydrogens_are_added_and_said(tmp_path):
    path = write_sdf(tmp_path / "a.sdf", [("C", 0, 0, 0), ("O", 1.2, 0.8, 0.1)], [(1, 2, 1)])
    assert "4 hydrogens missing in the file: added after its atoms" in notes(file=str(path))
    assert load(file=str(path)).elements == tuple("COHHHH")


def test_a_drawing_gets_a_geometry(tmp_path):
    path = write_sdf(tmp_path / "a.mol", [("C", 0, 0, 0), ("O", 1, 0, 0)], [(1, 2, 1)], "2D")
    assert "a drawing in the plane: the geometry is RDKit's" in notes(file=str(path))


def test_files_that_are_no_one_ligand_are_refused(tmp_path, methane):
    two = tmp_path / "two.sdf"
    two.write_text(2 * methane.read_text())
    assert "holds 2 molecules. Only one can be sampled: keep one." in refusal(file=str(two))
    weak = write_sdf(tmp_path / "weak.sdf", [("N", 0, 0, 0), ("C", 2, 0, 0)], [(1, 2, 8)])
    assert "is neither single, double, triple nor aromatic" in refusal(file=str(weak))
    close = write_sdf(tmp_path / "nm.sdf", *tetrahedron("H", 0.109))
    assert "the bond of atoms 1 and 2 is 0.11 A long" in refusal(file=str(close))
    other = tmp_path / "a.pdb"
    other.write_text("ATOM\n")
    message = refusal(file=str(other))
    assert "is neither an SDF (molfile) nor a MOL2 file" in message
    assert "give a SMILES string as target.smiles." in message
    assert "absent.sdf does not exist" in refusal(file=str(tmp_path / "absent.sdf"))


MOL2 = """\
@<TRIPOS>MOLECULE
made up
 5 4 1 0 0
SMALL
{charges}

@<TRIPOS>ATOM
 1 N1  0.000  0.000  0.000 {type} 1 LIG {q}
 2 HA  0.600  0.600  0.600 H 1 LIG 0.0
 3 HB  0.600 -0.600 -0.600 H 1 LIG 0.0
 4 HC -0.600  0.600 -0.600 H 1 LIG 0.0
 5 HD -0.600 -0.600  0.600 H 1 LIG 0.0
@<TRIPOS>BOND
 1 1 2 1
 2 1 3 1
 3 1 4 1
 4 1 5 1
"""


def test_mol2_files_have_names_and_a_charge(tmp_path):
    path = tmp_path / "ammonium.mol2"
    path.write_text(MOL2.format(charges="USER_CHARGES", type="N.4", q=1.0))
    molecule = load(file=str(path))
    assert molecule.atom_names == ("N1", "HA", "HB", "HC", "HD")
    assert "H4N+, charge 1" in molecule.fingerprint.notes
    path.write_text(MOL2.format(charges="USER_CHARGES", type="N.4", q=-1.0))
    message = refusal(file=str(path))
    assert "partial charges sum to -1.00, and its bonds and hydrogens make a molecule" in message
    path.write_text(MOL2.format(charges="NO_CHARGES", type="n4", q=0.0))
    assert "types of its atoms have to be those of SYBYL" in refusal(file=str(path))


def test_sqm_without_convergence_names_the_way_out(tmp_path):
    path = write_sdf(tmp_path / "a.sdf", *tetrahedron("Cl", 6.0))
    message = refusal(file=str(path), charges="am1bcc")
    assert "sqm does not converge to AM1-BCC charges: QMMM: No convergence in SCF" in message
    assert "target.charges: gasteiger" in message


def test_a_proton_that_moves_in_sqm_is_seen():
    message = refusal(smiles="[NH3+]CCCCP(=O)([O-])[O-]", charges="am1bcc")
    assert "AM1 breaks the bond N1-H" in message and "target.charges: gasteiger" in message


def test_names_of_files_are_no_commands(tmp_path, methane, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = methane.rename(tmp_path / "a.sdf; touch hacked; $(touch hacked)")
    load(file=str(path))
    assert not list(tmp_path.rglob("hacked"))


@pytest.fixture
def run_folder(tmp_path):
    """Makes what a run keeps of its target, from the YAML of the target."""

    def make(target):
        (tmp_path / "run.yaml").write_text(f"target: {target}\n")
        config = load_config(tmp_path / "run.yaml")
        keep_origin(tmp_path / "run", config, load_target(config), {})
        return tmp_path / "run"

    return make


OPTIONS = "forcefield: [gaff2], charges: gasteiger, solvent: vacuum, temperature: 300"


def test_a_run_folder_needs_neither_the_file_nor_ambertools(
    methane, run_folder, tmp_path, monkeypatch
):
    molecule = load(file=str(methane))
    folder = run_folder(f"{{file: methane.sdf, {OPTIONS}}}")
    methane.unlink()
    hide_ambertools(monkeypatch, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    config = load_run_config(folder)
    assert config.molecule.file is None and config.molecule.solvent is None
    kept = load_target(config)
    assert kept.fingerprint.identity == molecule.fingerprint.identity
    assert kept.molecule.bonds == molecule.bonds


def test_a_state_in_another_solvent_is_made_from_the_smiles(run_folder):
    folder = run_folder(f"{{smiles: CC(F)O, {OPTIONS}}}")
    config = load_run_config(folder)
    changes = {"water": ["target.solvent=obc2"], "warm": ["target.temperature=310"]}
    own, water, warm = read_states(folder, config, load_target(config), [], changes, [])
    assert water.target.fingerprint.solvent.startswith("implicit")
    assert "charges: gasteiger" in (folder / "config.yaml").read_text()
    assert warm.target is own.target and warm.scale == pytest.approx(300 / 310)
