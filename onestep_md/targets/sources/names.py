"""Names of atoms and residues as PDB files have them: output and run folder are PDB files."""

import io
from pathlib import Path

import numpy as np
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.checks import label

_OTHER_NAME = "UNL"  # the PDB's name of a residue that has none


def number_residues(topology: app.Topology) -> list[str]:
    """Number residues anew where two of them have one number; return a note.

    Insertion codes and chains tell them apart in a file, and names of torsions do not.
    """
    residues = list(topology.residues())
    if len({residue.id.strip() for residue in residues}) == len(residues):
        return []
    for number, residue in enumerate(residues, start=1):
        residue.id, residue.insertionCode = str(number), ""
    return [
        f"residues are numbered from 1 to {len(residues)}, in the order of the file: some had the "
        "same number"
    ]


def name_as_pdb(
    topology: app.Topology, positions: np.ndarray, path: Path
) -> tuple[app.Topology, list[str]]:
    """Return the same atoms and bonds with the names that a PDB file gives them, and notes.

    These are shorter, and of standard residues partly others.

    Raises:
        TargetError: names are no longer different, or mean bonds that the molecule has not.
    """
    notes = []
    app.Topology().createStandardBonds()  # OpenMM reads its table of residues at the first use
    for residue in topology.residues():
        if len(residue.name) > 3:
            known = residue.name[:3] in app.Topology._standardBonds
            short = _OTHER_NAME if known else residue.name[:3]
            notes.append(f"residue {residue.name}:{residue.id} is {short} in PDB files")
            residue.name = short
    old = list(topology.atoms())
    names = [(atom.residue.index, atom.name[:4]) for atom in old]
    twice = [atom for atom, name in zip(old, names, strict=True) if names.count(name) > 1]
    if twice:
        residue = twice[0].residue
        raise TargetError(
            f"{path}: several atoms of residue {residue.name}:{residue.id} are called "
            f"{twice[0].name[:4]}. Atoms are told apart by it: give each a name of its own, of up "
            "to four letters."
        )
    text = io.StringIO()
    app.PDBFile.writeFile(topology, positions * unit.nanometer, text, keepIds=True)
    text.seek(0)
    named = app.PDBFile(text).topology
    named.setPeriodicBoxVectors(None)
    new = list(named.atoms())
    for a, b in zip(old, new, strict=True):
        b.element = a.element
    bonds, listed = (
        {tuple(sorted((a.index, b.index))) for a, b in t.bonds()} for t in (topology, named)
    )
    for i, j in sorted(listed - bonds):
        raise TargetError(
            f"{path}: {label(old[i])} and {label(old[j])} are not bonded, but have the names of "
            "bonded atoms of a standard residue. Give the residue another name."
        )
    for i, j in sorted(bonds - listed):
        named.addBond(new[i], new[j])
    return named, notes
