"""The one molecule of an SDF or MOL2 file, by RDKit, before it is checked."""

import re

from rdkit import Chem, rdBase

from onestep_md.errors import TargetError


def parse_sdf(text: str, where: str) -> Chem.Mol:
    """Read the one molecule of an SDF, V2000 or V3000."""
    if not text.strip():
        raise TargetError(f"{where} is empty. Write it anew.")
    blocks = [block for block in re.split(r"^\$\$\$\$", text, flags=re.M) if block.strip()]
    if "M  END" not in text:
        raise TargetError(
            f"{where} is neither an SDF (molfile) nor a MOL2 file, nor a PDB, mmCIF or XYZ file. "
            "Write it as one of these, or give a SMILES string as target.smiles."
        )
    _refuse_several(len(blocks), where)
    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock(blocks[0], sanitize=False, removeHs=False)
    if molecule is None:
        raise TargetError(f"{where} cannot be read by RDKit as an SDF; write it anew.")
    return molecule


def parse_mol2(text: str, where: str) -> tuple[Chem.Mol, float | None]:
    """Read a MOL2 file; also return the sum of its partial charges, None without them."""
    _refuse_several(text.count("@<TRIPOS>MOLECULE"), where)
    try:
        with rdBase.BlockLogs():
            molecule = Chem.MolFromMol2Block(text, sanitize=False, removeHs=False)
    except RuntimeError:  # the element that a type begins with does not exist
        molecule = None
    if molecule is None:
        raise TargetError(
            f"{where} cannot be read by RDKit. The types of its atoms have to be those of SYBYL "
            "(C.3, N.ar): write them with `antechamber -at sybyl`, or give an SDF."
        )
    atoms = [row for row in _section(text, "ATOM") if row.strip() and not row.startswith("#")]
    if molecule.GetNumAtoms() != len(atoms):
        raise TargetError(
            f"{where} has {len(atoms)} atoms, and its head (@<TRIPOS>MOLECULE) says "
            f"{molecule.GetNumAtoms()}. Write it anew."
        )
    bonds = [row for row in _section(text, "BOND") if row.strip() and not row.startswith("#")]
    if molecule.GetNumBonds() < len(bonds):
        known = {(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()}
        row = next(row for row in bonds if _ends(row) not in known)
        raise TargetError(
            f"{where} has a bond of a type that RDKit does not know: `{' '.join(row.split())}`. "
            "Types are 1, 2, 3, am and ar: give one of them, or delete the bond."
        )
    has_charges = "NO_CHARGES" not in text
    charges = [float(a.GetProp("_TriposPartialCharge")) for a in molecule.GetAtoms()]
    return molecule, sum(charges) if has_charges and any(charges) else None


def _refuse_several(count: int, where: str) -> None:
    if count > 1:
        raise TargetError(f"{where} holds {count} molecules. Only one can be sampled: keep one.")


def _section(text: str, name: str) -> list[str]:
    """Return the lines of a section of a MOL2 file."""
    return text.partition(f"@<TRIPOS>{name}")[2].partition("@<TRIPOS>")[0].splitlines()[1:]


def _ends(row: str) -> tuple[int, int]:
    """Return the atoms of a line of bonds, from 0."""
    _, i, j, *_ = row.split()
    return int(i) - 1, int(j) - 1
