"""Coordinates for the atoms of a topology: the same atoms in the same order, or a refusal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from openmm import app

from onestep_md.errors import TargetError
from onestep_md.targets.checks import label
from onestep_md.targets.sources.names import name_as_pdb
from onestep_md.targets.sources.parameters import Parameters
from onestep_md.targets.sources.pdb import read_pdb
from onestep_md.targets.sources.structure import Structure
from onestep_md.targets.system_bonds import find_rest_lengths, take_bonds

_SHORTEST, _LONGEST = 0.5, 1.5  # times its rest length, of any bond in a plausible input geometry


@dataclass(frozen=True)
class Coordinates:
    """The input geometry in a file of its own.

    Attributes:
        path: of the file.
        positions: (atoms, 3) in nm.
        names: of the atoms, in the file; none where it has no names.
    """

    path: Path
    positions: np.ndarray
    names: tuple[str, ...] = ()


def place_by_pdb(parameters: Parameters, name: str, folder: Path) -> Structure:
    """Take coordinates and names from target.pdb.

    Raises:
        TargetError: it has other atoms than the topology, or in another order.
    """
    pdb = read_pdb(name, folder)
    path = pdb.path
    ours, theirs = list(parameters.topology.atoms()), list(pdb.topology.atoms())
    _check_count(len(ours), len(theirs), parameters.path, path)
    for a, b in zip(ours, theirs, strict=True):
        if a.element.atomic_number != b.element.atomic_number:
            raise _order_error(
                f"atom {a.index + 1} is {label(a)} ({a.element.symbol}) in {parameters.path}, and "
                f"{label(b)} ({b.element.symbol}) in {path}"
            )
    _check_names(ours, [atom.name for atom in theirs], parameters.path, path)
    residues = [
        [residue.name for residue in t.residues()] for t in (parameters.topology, pdb.topology)
    ]
    if residues[0] != residues[1] and sorted(residues[0]) == sorted(residues[1]):
        raise _order_error(
            f"the residues are {' '.join(residues[0])} in {parameters.path}, and "
            f"{' '.join(residues[1])} in {path}"
        )
    notes = take_bonds(parameters.system, pdb.topology, pdb.positions, parameters.path, pdb.path)
    _check_lengths(parameters, pdb.positions, path)
    return Structure(
        parameters.system, pdb.topology, pdb.positions, path, parameters.names,
        (*parameters.notes, *pdb.notes, *notes),
    )  # fmt: skip


def place(parameters: Parameters, coordinates: Coordinates) -> Structure:
    """Take coordinates from another file, and names from the topology.

    Raises:
        TargetError: they are of other atoms, or in another order.
    """
    path, atoms = coordinates.path, list(parameters.topology.atoms())
    _check_count(len(atoms), len(coordinates.positions), parameters.path, path)
    if not np.isfinite(coordinates.positions).all():
        raise TargetError(f"{path}: some of its coordinates are not numbers.")
    if coordinates.names:
        _check_names(atoms, coordinates.names, parameters.path, path)
    _check_lengths(parameters, coordinates.positions, path)
    topology, notes = name_as_pdb(parameters.topology, coordinates.positions, parameters.path)
    return Structure(
        parameters.system, topology, coordinates.positions, path, parameters.names,
        (*parameters.notes, *notes),
    )  # fmt: skip


def _check_count(ours: int, theirs: int, path: Path, other: Path) -> None:
    if ours != theirs:
        raise TargetError(
            f"{path} has {ours} atoms, and {other} has {theirs}. Give coordinates of the same "
            "molecule, with every hydrogen and nothing else."
        )


def _check_names(
    atoms: Sequence[app.topology.Atom], names: Sequence[str], path: Path, other: Path
) -> None:
    """Refuse the names of a residue in another order; names of another kind say nothing."""
    for residue in dict.fromkeys(atom.residue for atom in atoms):
        every = list(residue.atoms())
        heavy = [atom for atom in every if atom.element.symbol != "H"]
        for some in (every, heavy):
            mine, theirs = [a.name for a in some], [names[a.index] for a in some]
            if mine != theirs and sorted(mine) == sorted(theirs):
                k = next(k for k in range(len(mine)) if mine[k] != theirs[k])
                raise _order_error(
                    f"atom {some[k].index + 1} is {label(some[k])} in {path}, and {theirs[k]} in "
                    f"{other}"
                )


def _check_lengths(parameters: Parameters, positions: np.ndarray, other: Path) -> None:
    """Refuse bonds that are much longer or shorter than the force field has them."""
    atoms = list(parameters.topology.atoms())
    for (i, j), rest in find_rest_lengths(parameters.system, atoms, positions).items():
        length = float(np.linalg.norm(positions[i] - positions[j]))
        if not _SHORTEST * rest < length < _LONGEST * rest:
            raise _order_error(
                f"{label(atoms[i])} and {label(atoms[j])} are bonded in {parameters.path}, at "
                f"{rest:.3f} nm, and {length:.3f} nm apart in {other}"
            )


def _order_error(what: str) -> TargetError:
    return TargetError(
        f"{what}: these are other atoms, or the same in another order. Give the coordinates that "
        "belong to the topology, or write them in its order."
    )
