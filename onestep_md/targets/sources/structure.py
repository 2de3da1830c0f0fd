"""What every form of input becomes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app

from onestep_md.errors import TargetError

_GZIP = b"\x1f\x8b"  # how a compressed file begins


@dataclass(frozen=True)
class Structure:
    """One molecule as its files give it, before it is checked.

    Attributes:
        system: forces and masses, without cutoff.
        topology: atoms, residues and bonds, in the order of the System.
        positions: (atoms, 3) input geometry in nm.
        path: the file that messages name.
        forcefield: what the energies are from, for printing.
        notes: what was chosen or added, one sentence each.
        molfile: the same as a molfile of MDL, where the input has bond orders.
    """

    system: openmm.System
    topology: app.Topology
    positions: np.ndarray
    path: Path
    forcefield: tuple[str, ...]
    notes: tuple[str, ...] = ()
    molfile: str = ""


def system_options(constraints: str) -> dict[str, Any]:
    """Return the options of OpenMM's createSystem for one molecule in free space.

    Args:
        constraints: target.constraints, none or hbonds.
    """
    return {
        "nonbondedMethod": app.NoCutoff,
        "constraints": {"none": None, "hbonds": app.HBonds}[constraints],
        "rigidWater": False,
        "removeCMMotion": False,
    }


def find_file(name: str, folder: Path, key: str) -> Path:
    """Find a file that a key of the target names.

    Raises:
        TargetError: there is none, or it is compressed.
    """
    path = folder / name
    if not path.is_file():
        raise TargetError(
            f"{key}: {path} does not exist. Paths are relative to the folder of the YAML file."
        )
    with path.open("rb") as file:
        if file.read(2) == _GZIP:
            raise TargetError(f"{key}: {path} is compressed. Unpack it with `gunzip`.")
    return path


def read_text(path: Path) -> str:
    """Read text; what is not UTF-8, in titles and comments, is replaced."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def describe_error(error: Exception) -> str:
    """Describe an error of OpenMM's readers on one line, without a full stop."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
