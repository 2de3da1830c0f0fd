"""Refusal of files that are no PDB."""

from pathlib import Path

from onestep_md.errors import TargetError

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
    """Refuse files of other formats.

    Raises:
        TargetError: the file is refused; the message has the format, and what to do.
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
