"""Bonds of ligands whose files have no bond orders, by RDKit itself."""

import re

import pytest

from onestep_md.errors import TargetError

pytestmark = pytest.mark.ligands

SHAPES = (
    "CC(=O)Nc1ccc(O)cc1", "CC(=O)[O-]", "C[NH2+]C", "C[C@H]([NH3+])C(=O)[O-]", "CS(C)=O",
    "CS(C)(=O)=O", "COP(=O)([O-])[O-]", "COP(=O)(OC)OC", "C[N+](=O)[O-]", "CN=[N+]=[N-]",
    "NC(N)=[NH2+]", "Cn1cc[n+](C)c1", "[O-]c1ccccc1", "O=S(=O)([O-])c1ccccc1", "CC#N",
    "[C-]#[N+]C", "C[N+](C)(C)[O-]", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "F/C=C/F", "C[C@@H](F)Cl",
    "ClC(Cl)(Cl)Cl", "c1ccc2[nH]ccc2c1",
)  # fmt: skip


@pytest.fixture
def build():
    """Makes elements and coordinates of a SMILES string."""

    def make(smiles):
        from rdkit import Chem
        from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
        symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
        return list(zip(symbols, molecule.GetConformer().GetPositions().tolist(), strict=True))

    return make


def write_xyz(path, atoms):
    rows = [f"{symbol} {x:.6f} {y:.6f} {z:.6f}" for symbol, (x, y, z) in atoms]
    path.write_text("\n".join([str(len(rows)), "", *rows, ""]))
    return path


def read(path):
    from onestep_md.targets.sources import chemistry

    return chemistry.read_file(path)


def perceived(ligand):
    (note,) = (note for note in ligand.notes if note.startswith("bonds perceived"))
    return re.search(r"for charge (-?\d): ([^; ]+)", note).groups()


@pytest.mark.parametrize("smiles", SHAPES)
def test_bond_orders_and_charge_are_those_of_the_molecule(build, smiles, tmp_path):
    from rdkit import Chem

    ligand = read(write_xyz(tmp_path / "mol.xyz", build(smiles)))
    charge, understood = perceived(ligand)
    assert int(charge) == ligand.charge == Chem.GetFormalCharge(Chem.MolFromSmiles(smiles))
    assert Chem.CanonSmiles(understood) == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize("smiles", ["CCC", "CC(=O)Nc1ccc(O)cc1", "c1ccncc1", "CC=C"])
def test_hydrogens_that_are_missing_are_seen(build, smiles, tmp_path):
    atoms = build(smiles)
    hydrogens = [k for k, (symbol, _) in enumerate(atoms) if symbol == "H"]
    # one of a carbon, and all
    for missing in (hydrogens[:1], hydrogens):
        rest = [atom for k, atom in enumerate(atoms) if k not in missing]
        with pytest.raises(TargetError, match=r"It needs all hydrogens, .* Give an SDF or MOL2"):
            read(write_xyz(tmp_path / "mol.xyz", rest))


def test_a_charge_that_is_not_zero_may_be_a_missing_hydrogen_and_is_said(build, tmp_path):
    atoms = build("CC(=O)O")
    assert atoms[-1][0] == "H"  # of the acid
    notes = read(write_xyz(tmp_path / "mol.xyz", atoms[:-1])).notes
    assert "charge -1: CC(=O)[O-]; give an SDF if it has another one" in "\n".join(notes)


def test_an_xyz_file_may_have_atomic_numbers_and_further_columns_and_frames(build, tmp_path):
    numbers = {"C": 6, "O": 8, "H": 1}
    rows = [
        f"{numbers[s]} {x:.6f} {y:.6f} {z:.6f} 0.1 0.2" for s, (x, y, z) in build("CCO")
    ]  # of one frame
    (tmp_path / "mol.xyz").write_text("\n".join(2 * ["9", "ethanol", *rows]))
    assert perceived(read(tmp_path / "mol.xyz")) == ("0", "CCO")
    (tmp_path / "bad.xyz").write_text("\n".join(["2", "", "Xx 0 0 0", "H 1 0"]))
    with pytest.raises(TargetError, match="`Xx 0 0 0` is no line of an XYZ file"):
        read(tmp_path / "bad.xyz")


def test_connect_records_that_are_whole_are_the_bonds(build, tmp_path):
    atoms = build("CCO")
    rows = [
        f"HETATM{k:5d} {s:>2}   LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {s:>2}"
        for k, (s, (x, y, z)) in enumerate(atoms, start=1)
    ]
    # the ends of a bond far apart, as in a file that was edited
    stretched = rows[8][:38] + f"{float(rows[8][38:46]) + 1.0:8.3f}" + rows[8][46:]
    conect = ["CONECT    1    2    4    5    6", "CONECT    2    3    7    8", "CONECT    3    9"]
    (tmp_path / "mol.pdb").write_text("\n".join([*rows[:8], stretched]))
    with pytest.raises(TargetError, match="holds 2 molecules"):
        read(tmp_path / "mol.pdb")
    (tmp_path / "mol.pdb").write_text("\n".join([*rows[:8], stretched, *conect]))
    ligand = read(tmp_path / "mol.pdb")
    assert perceived(ligand) == ("0", "CCO") and (2, 8) in ligand.bonds
    assert ligand.names == ("C1", "C2", "O1", "H1", "H2", "H3", "H4", "H5", "H6")


def test_elements_without_bond_orders_are_refused_as_in_other_files(tmp_path):
    path = write_xyz(tmp_path / "mol.xyz", [("Zn", (0, 0, 0)), ("C", (2, 0, 0)), ("H", (3, 0, 0))])
    with pytest.raises(TargetError, match=r"GAFF has no atom 1 \(Zn\)"):
        read(path)
