"""Ligands in the shapes that drawing, modelling and docking programs give them."""

import gzip
import re
from pathlib import Path

import pytest
from checked import check, refuse

pytestmark = pytest.mark.ligands

SHAPES = Path(__file__).parents[1] / "shapes"
OPTIONS = {"forcefield": ["gaff2"], "charges": "gasteiger", "solvent": "vacuum"}
PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Parameters that one test makes are there for the next one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def text(file):
    return (SHAPES / file).read_text()


def records(file):
    return [line for line in text(file).splitlines() if line.startswith("HETATM")]


def joined(*rows):
    return "\n".join([*rows, "END", ""])


SDF, MOL2, CIF = text("paracetamol.sdf"), text("chimera.mol2"), text("ligand.cif")
PYMOL = records("pymol.pdb")
HEAVY = [line for line in PYMOL if line[77] != "H"]
PERCEIVED = f"bonds perceived by RDKit, for charge 0: {PARACETAMOL}"
# what the file is called, its name, its text, and what is said
RUN = {
    "PDB of Avogadro": ("mol.pdb", text("avogadro.pdb"), PERCEIVED),
    "PDB of Avogadro without CONECT": ("mol.pdb", joined(*records("avogadro.pdb")), PERCEIVED),
    "one name for all carbons": (
        "mol.pdb",
        text("avogadro.pdb"),
        "atoms of UNL:1 are named by element and number",
    ),
    "PDB of PyMOL, bonds twice": ("mol.pdb", text("pymol.pdb"), PERCEIVED),
    "PDB of Maestro, zwitterion": ("mol.pdb", text("maestro.pdb"), "C[C@H]([NH3+])C(=O)[O-]"),
    "PDB without elements": ("mol.pdb", joined(*[x[:66] for x in PYMOL]), PERCEIVED),
    "PDB of halogens without elements": ("mol.pdb", text("halogens.pdb"), "Clc1ccc(Br)cc1"),
    "mmCIF": ("mol.cif", CIF, PERCEIVED),
    "XYZ": ("mol.xyz", text("paracetamol.xyz"), PERCEIVED),
    "SDF": ("mol.sdf", SDF, "C8H9NO2, charge 0"),
    "SDF, V3000": ("mol.sdf", text("v3000.sdf"), "C8H9NO2, charge 0"),
    "SDF with M CHG": ("mol.sdf", text("zwitterion.sdf"), "stereo: C2 S"),
    "SDF of a phosphate": ("mol.sdf", text("phosphate.sdf"), "CH3O4P-2, charge -2"),
    "SDF of a drawing": ("mol.sdf", text("drawing.sdf"), "a drawing in the plane"),
    "SDF with properties": ("mol.sdf", SDF.replace("$$$$", "> <name>\nx\n\n$$$$"), "C8H9NO2"),
    "SDF with CRLF": ("mol.sdf", SDF.replace("\n", "\r\n"), "C8H9NO2"),
    "SDF with bytes of Latin-1": ("mol.sdf", b"Gr\xf6\xdfe" + SDF.encode(), "C8H9NO2"),
    "SDF with deuterium": ("mol.sdf", SDF.replace(" H  ", " D  ", 1), "1 isotope taken as"),
    "MOL2 of Chimera": ("mol.mol2", MOL2, "C8H9NO2, charge 0"),
    "MOL2 of Maestro": ("mol.mol2", text("maestro.mol2"), "C8H9NO2, charge 0"),
    "MOL2 with CRLF": ("mol.mol2", MOL2.replace("\n", "\r\n"), "C8H9NO2"),
    "MOL2 of a carboxylate": ("mol.mol2", text("acetate.mol2"), "C2H3O2-, charge -1"),
}  # fmt: skip


@pytest.mark.parametrize("shape", RUN)
def test_ligands_of_many_programs_run(shape, tmp_path):
    name, content, words = RUN[shape]
    assert words in check(tmp_path, {"file": name} | OPTIONS, {name: content})


def stated_energy(said):
    return float(re.search(r"input geometry: u = ([-\d.]+) kT", said)[1])


def test_one_ligand_has_one_energy_in_all_formats(tmp_path):
    files = {"pymol.pdb": 0, "avogadro.pdb": 0, "paracetamol.xyz": 0, "chimera.mol2": 0}
    files = dict.fromkeys([*files, "ligand.cif", "v3000.sdf", "paracetamol.sdf"], 0.0)
    for name in files:
        said = check(tmp_path, {"file": name} | OPTIONS, {name: text(name)})
        files[name] = stated_energy(said)
    # PDB and XYZ have three decimals and more, SDF four
    assert max(files.values()) - min(files.values()) < 0.05


TAIL = "HETATM   21  O   HOH     2      12.000  12.000  12.000  1.00  0.00           O"
ZINC = "HETATM   21 ZN   UNK     0      -2.329  -3.200   1.200  1.00  0.00          ZN"


def first_bond(kind):
    """The type of the first bond of the MOL2 file replaced."""
    return re.sub(r"(<TRIPOS>BOND\n +1 +\d+ +\d+) \w+", rf"\1 {kind}", MOL2)


def without_last_hydrogen(sdf):
    """Atom 20 and its bond to atom 11 deleted."""
    lines = sdf.splitlines()
    rest = [line for line in [*lines[:23], *lines[24:]] if line != " 11 20  1  0"]
    return "\n".join(rest).replace(" 20 20 ", " 19 19 ") + "\n"


SODIUM = (
    "@<TRIPOS>BOND",
    "     21 NA1        9.0000    9.0000    9.0000 Na        2 NA1      1.0000\n@<TRIPOS>BOND",
)
REFUSED = {
    "PDB without hydrogens": ("mol.pdb", joined(*HEAVY), "It needs all hydrogens"),
    "PDB with polar hydrogens": ("mol.pdb", joined(*HEAVY, PYMOL[14]), "It needs all hydrogens"),
    "PDB with water": ("mol.pdb", joined(*PYMOL, TAIL), "contains water"),
    "PDB with a metal": ("mol.pdb", joined(*PYMOL, ZINC), "GAFF has no atom 21 (Zn)"),
    "PDB that ends early": ("mol.pdb", joined(*PYMOL)[:1000], "The file may end early"),
    "mmCIF of a component": (
        "mol.cif",
        "data_LIG\n_chem_comp.id LIG\n",
        "has no table _atom_site, as structures have",
    ),
    "XYZ that ends early": ("mol.xyz", "20\n\nC 0 0 0\n", "nor a PDB, mmCIF or XYZ file"),
    "SDF of two": ("mol.sdf", SDF + text("zwitterion.sdf"), "holds 2 molecules. Only one can be"),
    "empty SDF": ("mol.sdf", "", "is empty. Write it anew."),
    "SDF that ends early": ("mol.sdf", SDF[:700], "is neither an SDF (molfile) nor"),
    "SDF with tabs": ("mol.sdf", re.sub("  +", "\t", SDF), "is neither an SDF"),
    "SDF without a line of its head": ("mol.sdf", SDF.partition("\n")[2], "as an SDF; write it"),
    "compressed SDF": ("mol.sdf.gz", gzip.compress(SDF.encode()), "Unpack it with `gunzip`."),
    "SDF with a bond of order zero": (
        "mol.sdf",
        SDF.replace("  1  2  1  0", "  1  2  0  0"),
        "is neither single, double, triple nor aromatic",
    ),
    "V3000 with a dative bond": (
        "mol.sdf",
        text("v3000.sdf").replace("M  V30 1 1 1 2", "M  V30 1 9 1 2"),
        "is neither single, double, triple nor aromatic",
    ),
    "SDF with a wildcard": (
        "mol.sdf",
        SDF.replace(" C  ", " A  ", 1),
        "is a placeholder. Name its element.",
    ),
    "SDF with a radical": (
        "mol.sdf",
        without_last_hydrogen(SDF).replace("M  END", "M  RAD  1  11   2\nM  END"),
        "has unpaired electrons",
    ),
    "MOL2 of two": ("mol.mol2", MOL2 + text("acetate.mol2"), "holds 2 molecules"),
    "MOL2 with a bond `un`": ("mol.mol2", first_bond("un"), "is neither single, double, triple"),
    "MOL2 with a bond `du`": ("mol.mol2", first_bond("du"), "is neither single, double, triple"),
    "MOL2 with a bond `nc`": ("mol.mol2", first_bond("nc"), "RDKit does not know: `1 1 2 nc`"),
    "MOL2 with types of GAFF": (
        "mol.mol2",
        MOL2.replace(" C.3 ", " c3  "),
        "types of its atoms have to be those of SYBYL",
    ),
    "MOL2 with sodium": (
        "mol.mol2",
        MOL2.replace(*SODIUM).replace(" 20 20 ", " 21 20 "),
        "holds 2 molecules: C8H9NO2, Na",
    ),
    "MOL2 with an atom too many": (
        "mol.mol2",
        MOL2.replace(*SODIUM),
        "has 21 atoms, and its head (@<TRIPOS>MOLECULE) says 20",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", REFUSED)
def test_files_of_no_one_ligand_say_what_to_do(shape, tmp_path):
    name, content, words = REFUSED[shape]
    assert words in refuse(tmp_path, {"file": name} | OPTIONS, {name: content})


STRINGS = {
    "O=C1[C@H](C)NC(=O)[C@@H](C)N1": "stereo: C2 S, C5 R",
    "C1COCCOCCOCCO1": "C8H16O4, charge 0",
    "[13CH3]O": "1 isotope taken as the usual one",
    "CCO ethanol": "C2H6O, charge 0",
    "CS(=O)(=O)C": "C2H6O2S",
    "COP(=O)(OC)OC": "C3H9O4P",
    "C[C@H](F)Cl |&1:1|": "stereo that is racemic or relative: taken as it is drawn",
    "CC(F)C(O)Cl": "2 stereocentres undefined: taken as",
}
NO_STRINGS = {
    "aspirin": "is no SMILES string. Names, formulas and InChI are not looked up",
    "InChI=1S/CH4/h1H4": "is no SMILES string. Names, formulas and InChI are not looked up",
    "C[CH2]": "has unpaired electrons",
    "CC(=O)[O-].[Na+]": "holds 2 molecules: C2H3O2-, Na+.",
    "CCO.O": "holds 2 molecules: C2H6O, H2O.",
    "CC*": "is a placeholder. Name its element.",
    "C[Si](C)(C)C": "GAFF has no atom 2 (Si)",
    "OB(O)c1ccccc1": "GAFF has no atom 2 (B)",
    "FS(F)(F)(F)(F)F": "GAFF has no atom 2 (S) with 6 neighbours.",
    "FP(F)(F)(F)F": "GAFF has no atom 2 (P) with 5 neighbours.",
}


@pytest.mark.parametrize("smiles", STRINGS)
def test_smiles_strings_of_many_kinds_run(smiles, tmp_path):
    assert STRINGS[smiles] in check(tmp_path, {"smiles": smiles} | OPTIONS, {})


@pytest.mark.parametrize("smiles", NO_STRINGS)
def test_strings_of_no_one_molecule_say_what_to_do(smiles, tmp_path):
    assert NO_STRINGS[smiles] in refuse(tmp_path, {"smiles": smiles} | OPTIONS, {})


def test_sulphoxides_have_one_energy_however_they_are_written(tmp_path):
    said = [check(tmp_path, {"smiles": s} | OPTIONS, {}) for s in ("CS(C)=O", "C[S+](C)[O-]")]
    assert stated_energy(said[0]) == pytest.approx(stated_energy(said[1]), abs=1e-3)
