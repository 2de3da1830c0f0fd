"""Atoms, residues and coordinates from a PDB or mmCIF file."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.checks import check_topology
from onestep_md.targets.pdb_file import check_is_pdb
from onestep_md.targets.sources.mmcif_records import clean_tables
from onestep_md.targets.sources.names import name_as_pdb
from onestep_md.targets.sources.pdb_records import ATOMS, clean_records
from onestep_md.targets.sources.structure import describe_error, find_file, read_text

MMCIF = (".cif", ".mmcif")


@dataclass(frozen=True)
class PdbFile:
    """What a file holds: atoms with the bonds that it lists or that its residues have.

    Attributes:
        path: of the file.
        topology: its atoms and bonds.
        positions: (atoms, 3) in nm.
        notes: on names that were changed.
    """

    path: Path
    topology: app.Topology
    positions: np.ndarray
    notes: tuple[str, ...] = ()


def read_pdb(name: str, folder: Path) -> PdbFile:
    """Read the file that target.pdb names; one in mmCIF has a name that ends in .cif.

    Raises:
        TargetError: it is missing, no such file, or holds more than one molecule in free space.
    """
    return read_pdb_file(find_file(name, folder, "target.pdb"))


def read_pdb_file(path: Path) -> PdbFile:
    """Read a PDB file, or an mmCIF file by the end of its name.

    Raises:
        TargetError: it is no such file, or holds more than one molecule in free space.
    """
    if path.suffix.lower() in MMCIF:
        return _read_mmcif(path)
    pdb, notes = _read_pdb(path)
    check_topology(pdb.topology, path)
    return PdbFile(path, pdb.topology, _positions(pdb), tuple(notes))


def _read_mmcif(path: Path) -> PdbFile:
    try:
        text, chosen = clean_tables(read_text(path), path)
        cif = app.PDBxFile(io.StringIO(text))
        positions = _positions(cif)
    except TargetError:
        raise
    except Exception as error:  # OpenMM's reader raises whatever its parsing step raised
        raise TargetError(
            f"{path} cannot be read as mmCIF: {describe_error(error)}. A table of _atom_site with "
            "all its columns is needed; a PDB file may be given instead."
        ) from error
    if len(positions) < 2:
        raise TargetError(
            f"{path} holds {len(positions)} atoms; a molecule of at least two atoms is needed: a "
            "single atom has nothing to sample."
        )
    _forget_unit_box(cif.topology)
    if cif.topology.getPeriodicBoxVectors() is not None:
        raise TargetError(
            f"{path} has a periodic box (its _cell entries). Boxes are refused: the density must "
            "be that of one molecule in free space. If the box is a leftover, delete them."
        )
    check_topology(cif.topology, path)
    cif.topology.createDisulfideBonds(cif.getPositions())
    topology, notes = name_as_pdb(cif.topology, positions, path)
    return PdbFile(path, topology, positions, (*chosen, *notes))


def _read_pdb(path: Path) -> tuple[app.PDBFile, list[str]]:
    check_is_pdb(path)
    text, notes = clean_records(read_text(path), path)
    count = sum(line.startswith(ATOMS) for line in text.splitlines())
    if count < 2:
        raise TargetError(
            f"{path} holds {count} ATOM and HETATM records; a molecule of at least two atoms is "
            "needed, in PDB format: a single atom has nothing to sample."
        )
    try:
        with warnings.catch_warnings():  # of residues with one number, which are told apart
            warnings.simplefilter("ignore")
            pdb = app.PDBFile(io.StringIO(text))
    except Exception as error:  # OpenMM's reader raises whatever its parsing step raised
        raise TargetError(
            f"{path} cannot be read as a PDB file: {error!r}. Coordinates stand in columns 31-54, "
            "elements in columns 77-78."
        ) from error
    _forget_unit_box(pdb.topology)
    return pdb, notes


def _forget_unit_box(topology: app.Topology) -> None:
    """Drop a box of 1 x 1 x 1 A, which is the PDB's word for "no crystal"."""
    lengths = topology.getUnitCellDimensions()
    if lengths is not None and max(lengths.value_in_unit(unit.angstrom)) < 1.001:
        topology.setPeriodicBoxVectors(None)


def _positions(file: app.PDBFile | app.PDBxFile) -> np.ndarray:
    """Return the coordinates (atoms, 3) in nm."""
    x = file.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return np.array(x, dtype=np.float64)
