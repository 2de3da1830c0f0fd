"""Atoms, residues and coordinates from a PDB file."""

from pathlib import Path

import numpy as np
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.checks import check_topology
from onestep_md.targets.pdb_file import check_is_pdb
from onestep_md.targets.sources.structure import find_file


def read_pdb(name: str, folder: Path) -> tuple[app.PDBFile, Path]:
    """Read the file that target.pdb names, and return it with its path.

    Raises:
        TargetError: it is missing, no PDB file, or holds more than one molecule in free space.
    """
    path = find_file(name, folder, "target.pdb")
    pdb = _read(path)
    check_topology(pdb.topology, path)
    return pdb, path


def positions_of(pdb: app.PDBFile) -> np.ndarray:
    """Return the coordinates (atoms, 3) in nm."""
    return np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer), dtype=np.float64)


def _read(path: Path) -> app.PDBFile:
    check_is_pdb(path)
    lines = path.read_text(errors="replace").splitlines()
    count = sum(line.startswith(("ATOM  ", "HETATM")) for line in lines)
    if count < 2:
        raise TargetError(
            f"{path} holds {count} ATOM and HETATM records; a molecule of at least two atoms is "
            "needed, in PDB format: a single atom has nothing to sample."
        )
    try:
        pdb = app.PDBFile(str(path))
    except Exception as error:  # OpenMM's reader raises whatever its parsing step raised
        raise TargetError(
            f"{path} cannot be read as a PDB file: {error!r}. Coordinates stand in columns 31-54, "
            "elements in columns 77-78."
        ) from error
    lengths = pdb.topology.getUnitCellDimensions()
    if lengths is not None and max(lengths.value_in_unit(unit.angstrom)) < 1.001:
        pdb.topology.setPeriodicBoxVectors(None)  # 1 x 1 x 1 A is the PDB's word for "no crystal"
    return pdb
