"""Refusal of files that are no PDB, or whose atoms have no names of their own."""

from collections import Counter
from pathlib import Path

from onestep_md.errors import TargetError

_RECORDS = ("ATOM  ", "HETATM")
# beginning of a line in another format -> its name, and a way to a PDB
_OTHERS = {
    "@<TRIPOS>": ("MOL2", "`obabel FILE -O molecule.pdb`"),
    "M  END": ("MDL molfile", "`obabel FILE -O molecule.pdb`"),
    "_atom_site.": ("mmCIF", "openmm.app.PDBxFile, or give it a name that ends in .cif"),
    "<?xml": ("XML", ""),
    "%VERSION": ("Amber topology", ""),
}
_LIGANDS = ("MOL2", "MDL molfile")  # formats that target.file takes


def check_is_pdb(path: Path) -> None:
    """Refuse files of other formats, and atoms with the same name within one residue.

    Raises:
        TargetError: the file is refused; the message has the format or the name, and what to do.
    """
    lines = path.read_text(errors="replace").splitlines()
    for start, (name, writer) in _OTHERS.items():
        if any(line.startswith(start) for line in lines):
            convert = f"Convert it, with {writer}" if writer else "Give the PDB of the molecule"
            if name in _LIGANDS:
                convert = f"Name it in target.file, for parameters by GAFF. Or: {convert}"
            raise TargetError(
                f"target.pdb: {path} is a file in {name} format. {convert}; atoms in the order of "
                "the System or force field, bonds of residues that are not standard in CONECT "
                "records."
            )
    (atom, count) = max(_count_names(lines).items(), key=lambda item: item[1], default=((), 0))
    if count > 1:
        name, residue, chain, number = atom[0], atom[2], atom[3], atom[4]
        raise TargetError(
            f"{path}: {count} atoms of residue {residue}:{number}"
            f"{f' of chain {chain}' if chain else ''} have one name, {name}. Atoms are told apart "
            f"by it: give each a name of its own (columns 13-16), such as {name}1, {name}2, ..., "
            "and leave their order as it is."
        )


def _count_names(lines: list[str]) -> Counter[tuple[str, ...]]:
    """Count the atoms of each name, alternate location and residue in the first model."""
    counts: Counter[tuple[str, ...]] = Counter()
    part = 0  # a chain ends at TER, and another of the same letter may follow
    for line in lines:
        if line.startswith("ENDMDL"):
            break
        part += line.startswith("TER")
        if line.startswith(_RECORDS):
            fields = (line[12:16], line[16:17], line[17:21], line[21:22], line[22:27])
            counts[(*(field.strip() for field in fields), str(part))] += 1
    return counts
