"""Ligands of files that have no bond orders: PDB, mmCIF and XYZ, by RDKit.

Bonds are those of CONECT records where these connect all atoms, or else of the distances. Bond
orders and charges follow from the number of neighbours of every atom, so all hydrogens have to be
there; the lengths of the bonds tell where they are not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import networkx
import numpy as np
from openmm import app
from rdkit import Chem, Geometry, rdBase
from rdkit.Chem import rdDetermineBonds, rdForceFieldHelpers

from onestep_md.errors import TargetError
from onestep_md.targets.sources.pdb import MMCIF, read_pdb_file
from onestep_md.targets.sources.pdb_records import ATOMS
from onestep_md.targets.sources.structure import read_text

NAME = "_Name"  # property of atoms that have names in the file
_CHARGES = (0, 1, -1, 2, -2, 3, -3)  # e, the neutral molecule first
_MOST_TRIALS = 100_000  # of bond orders, some seconds
_SAME_LENGTH = 0.13  # A, between bonds of one order; a hydrogen less makes 0.15 and more
_IN_LINE = -0.8  # cosine of 143 degrees
_GIVE_ORDERS = "Give an SDF or MOL2 file, which have bond orders and charges, or a SMILES string."


def read_atoms(path: Path, where: str) -> tuple[Chem.Mol, list[str]]:
    """Read a PDB, mmCIF or XYZ file.

    Args:
        path: of the file.
        where: the key and the file, for messages.

    Returns:
        A molecule whose bonds are all single, and notes.

    Raises:
        TargetError: the file is broken.
    """
    rows = read_text(path).splitlines()
    if _is_xyz(rows):
        elements, x = _parse_xyz(rows, where)
        return _connect(_make(elements, x)), []
    pdb = read_pdb_file(path)
    atoms = list(pdb.topology.atoms())
    molecule = _make([atom.element for atom in atoms], 10.0 * pdb.positions)
    for atom in atoms:
        molecule.GetAtomWithIdx(atom.index).SetProp(NAME, atom.name)
    graph = networkx.Graph((a.index, b.index) for a, b in pdb.topology.bonds())
    if len(graph) == len(atoms) and networkx.is_connected(graph):
        for i, j in graph.edges:
            molecule.AddBond(i, j, Chem.BondType.SINGLE)
        return molecule, list(pdb.notes)
    return _connect(molecule), list(pdb.notes)


def has_no_orders(path: Path, text: str) -> bool:
    """Whether a file is of a format without bond orders: PDB, mmCIF or XYZ."""
    rows = text.splitlines()
    return (
        path.suffix.lower() in MMCIF or _is_xyz(rows) or any(row.startswith(ATOMS) for row in rows)
    )


def _is_xyz(rows: Sequence[str]) -> bool:
    """Whether the lines of a file begin as those of an XYZ file do."""
    return bool(rows) and rows[0].strip().isdigit() and 0 < int(rows[0]) <= len(rows) - 2


def perceive_bonds(molecule: Chem.Mol, where: str) -> tuple[Chem.Mol, str]:
    """Perceive bond orders and charges of connected atoms; return the molecule and a note.

    Raises:
        TargetError: none fit, or several do.
    """
    trials: dict[str, tuple[Chem.Mol, int]] = {}
    for trial, charge in _assign_orders(molecule):
        trials.setdefault(_describe(trial), (trial, charge))
        if charge == 0:
            break
    if not trials:
        raise TargetError(
            f"{where}: RDKit perceives no bond orders that fit its atoms and the lengths of its "
            f"bonds. It needs all hydrogens, as Avogadro or PyMOL add them. {_GIVE_ORDERS}"
        )
    if len(trials) > 1:
        raise TargetError(
            f"{where}: its atoms and distances fit {' and '.join(trials)}. {_GIVE_ORDERS}"
        )
    ((smiles, (trial, charge)),) = trials.items()
    other = "; give an SDF if it has another one" if charge else ""
    return trial, f"bonds perceived by RDKit, for charge {charge}: {smiles}{other}"


def join_charges(molecule: Chem.Mol) -> None:
    """Write S=O and P=O in place of S+ and P+ beside O-: GAFF has types for the one alone."""
    for i, j in molecule.GetSubstructMatches(Chem.MolFromSmarts("[S,P;+,+2][O-;X1]")):
        atom = molecule.GetAtomWithIdx(i)
        if atom.GetFormalCharge() > 0:
            molecule.GetBondBetweenAtoms(i, j).SetBondType(Chem.BondType.DOUBLE)
            atom.SetFormalCharge(atom.GetFormalCharge() - 1)
            molecule.GetAtomWithIdx(j).SetFormalCharge(0)
    molecule.UpdatePropertyCache(strict=False)


def _parse_xyz(rows: list[str], where: str) -> tuple[list[app.Element], np.ndarray]:
    """Read the first frame: number of atoms, a title, and a line for each atom."""
    elements, x = [], []
    for row in rows[2 : 2 + int(rows[0])]:
        words = row.split()
        try:
            x.append([float(word) for word in words[1:4]])
            symbol = words[0]
            known = app.Element.getByAtomicNumber if symbol.isdigit() else app.Element.getBySymbol
            elements.append(known(int(symbol) if symbol.isdigit() else symbol))
        except (ValueError, KeyError, IndexError) as error:
            raise TargetError(
                f"{where}: `{row}` is no line of an XYZ file, an element and three coordinates."
            ) from error
    return elements, np.array(x)


def _make(elements: Sequence[app.Element], x: np.ndarray) -> Chem.RWMol:
    """Make a molecule without bonds from elements and coordinates in A."""
    molecule, conformer = Chem.RWMol(), Chem.Conformer(len(elements))
    for k, (element, row) in enumerate(zip(elements, x.tolist(), strict=True)):
        molecule.AddAtom(Chem.Atom(element.atomic_number))
        conformer.SetAtomPosition(k, Geometry.Point3D(*row))
    conformer.Set3D(True)
    molecule.AddConformer(conformer)
    return molecule


def _connect(molecule: Chem.RWMol) -> Chem.RWMol:
    """Add the bonds between atoms that are near enough."""
    with rdBase.BlockLogs():
        rdDetermineBonds.DetermineConnectivity(molecule)
    return molecule


def _assign_orders(molecule: Chem.Mol) -> Iterator[tuple[Chem.Mol, int]]:
    """Yield the molecule with bond orders, and its charge, for every charge that is possible."""
    for charge in _CHARGES:
        trial = Chem.RWMol(molecule)
        try:
            with rdBase.BlockLogs():
                rdDetermineBonds.DetermineBondOrders(
                    trial, charge=charge, embedChiral=False, maxIterations=_MOST_TRIALS
                )
                Chem.SanitizeMol(trial)
        except (ValueError, RuntimeError):  # no bond orders, or too many ways to try
            continue
        join_charges(trial)
        if _is_ordinary(trial) and _has_usual_shape(trial):
            yield trial, charge


def _is_ordinary(molecule: Chem.Mol) -> bool:
    """Whether all shells are closed, without charges that a missing hydrogen leaves behind."""
    for atom in molecule.GetAtoms():
        kind = atom.GetSymbol(), atom.GetFormalCharge()
        orders = {bond.GetBondType() for bond in atom.GetBonds()}
        to_carbon = {
            bond.GetBondType()
            for bond in atom.GetBonds()
            if bond.GetOtherAtom(atom).GetSymbol() == "C"
        }
        if kind[0] == "S" and atom.GetDegree() > 1 and Chem.BondType.DOUBLE in to_carbon:
            return False
        isocyanide = kind == ("C", -1) and Chem.BondType.TRIPLE in orders
        if kind[0] == "C" and kind[1] != 0 and not isocyanide:
            return False
        if kind == ("O", 1) or atom.GetNumRadicalElectrons() or atom.GetNumImplicitHs():
            return False
    return True


def _has_usual_shape(molecule: Chem.Mol) -> bool:
    """Whether lengths of bonds are about those of MMFF94, and sp atoms are in line."""
    x = molecule.GetConformer().GetPositions()
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule)
    for bond in molecule.GetBonds() if properties else ():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()} <= {*"CNOS"}:
            _, _, rest = properties.GetMMFFBondStretchParams(molecule, i, j)
            if abs(np.linalg.norm(x[i] - x[j]) - rest) > _SAME_LENGTH:
                return False
    for atom in molecule.GetAtoms():
        if atom.GetHybridization() == Chem.HybridizationType.SP and atom.GetDegree() == 2:
            a, b = (x[other.GetIdx()] - x[atom.GetIdx()] for other in atom.GetNeighbors())
            if a @ b > _IN_LINE * np.linalg.norm(a) * np.linalg.norm(b):
                return False
    return True


def _describe(molecule: Chem.Mol) -> str:
    """Write SMILES without hydrogens, with the stereo of the geometry."""
    copy = Chem.Mol(molecule)
    Chem.AssignStereochemistryFrom3D(copy)
    return Chem.MolToSmiles(Chem.RemoveHs(copy))
