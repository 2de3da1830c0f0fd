"""The structure of a molecule with bond orders, for drawings and other programs."""

from pathlib import Path

from onestep_md.analysis.sdf import MOST_ATOMS, STRUCTURE, read_bond_orders, sdf_record
from onestep_md.coordinates.bond_orders import find_bond_orders
from onestep_md.files import write_text
from onestep_md.targets.molecule import Molecule


def molecule_bond_orders(molecule: Molecule) -> tuple[dict[tuple[int, int], int], tuple[int, ...]]:
    """Find bond orders and formal charges: those of the input, or by valence if it has none."""
    if molecule.molfile:
        return read_bond_orders(molecule.molfile)
    return find_bond_orders(molecule.elements, molecule.bonds)


def write_structure(folder: Path, molecule: Molecule) -> None:
    """Write input.sdf, the input geometry with bond orders; no file if it is too large."""
    orders, charges = molecule_bond_orders(molecule)
    if max(len(molecule.elements), len(orders)) > MOST_ATOMS:
        return
    title, x = Path(molecule.fingerprint.pdb).stem, molecule.positions
    record = sdf_record(title, molecule.elements, x, orders, charges, {})
    write_text(folder / STRUCTURE, record)
