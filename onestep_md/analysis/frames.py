"""Frames of the user's own trajectories, read by mdtraj."""

from collections.abc import Sequence
from pathlib import Path

import mdtraj
import numpy as np

from onestep_md.analysis.topology import read_topology
from onestep_md.errors import TargetError

_OWN_TOPOLOGY = {".h5", ".hdf5"}
_SUFFIXES = {".dcd", ".xtc", ".trr", ".nc", ".netcdf"} | _OWN_TOPOLOGY
_BROKEN = 0.5  # nm; a longer bond crosses a periodic boundary


def read_frames(files: Sequence[Path], pdb_text: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the frames of trajectories of one molecule.

    Args:
        files: DCD, XTC, TRR, NetCDF or H5 files.
        pdb_text: PDB in the atom order of the frames.

    Returns:
        Frames (n, atoms, 3) in nm, and the number (n,) of the file that each is from.

    Raises:
        TargetError: a file cannot be read, or holds other atoms.
    """
    topology = read_topology(pdb_text)
    read = [_read_file(path, topology) for path in files]
    walkers = np.repeat(np.arange(len(read)), [len(frames) for frames in read])
    return np.concatenate(read), walkers


def _read_file(path: Path, topology: mdtraj.Topology) -> np.ndarray:
    if path.suffix.lower() not in _SUFFIXES:
        raise TargetError(
            f"exploration.files: {path} is no DCD, XTC, TRR, NetCDF or H5 file by its name."
        )
    if not path.is_file():
        raise TargetError(
            f"exploration.files: {path} does not exist. Paths start at the folder of the YAML "
            "file."
        )
    top = None if path.suffix.lower() in _OWN_TOPOLOGY else topology
    try:
        trajectory = mdtraj.load(str(path), top=top)
    except Exception as error:  # mdtraj's readers raise whatever their format makes them raise
        raise TargetError(
            f"exploration.files: {path} cannot be read with the {topology.n_atoms} atoms of "
            f"target.pdb: {error}. Write the molecule alone, without solvent, in that order."
        ) from error
    names = [atom.name for atom in trajectory.topology.atoms]
    if names != [atom.name for atom in topology.atoms]:
        raise TargetError(
            f"exploration.files: {path} has other atoms than target.pdb, or another order. Write "
            "the molecule alone, without solvent, in that order."
        )
    frames = trajectory.xyz.astype(np.float64)
    bonds = np.array([(a.index, b.index) for a, b in topology.bonds]).reshape(-1, 2)
    length = np.linalg.norm(frames[:, bonds[:, 0]] - frames[:, bonds[:, 1]], axis=-1)
    broken = (length > _BROKEN).any(axis=1).sum()
    if broken:
        raise TargetError(
            f"exploration.files: {path} has {broken} frames with a bond of more than "
            f"{10 * _BROKEN:g} angstrom. Make molecules whole across the periodic box first."
        )
    return frames


def read_frame_weights(path: Path, n: int) -> np.ndarray:
    """Read the log weights (n,) of frames from a NumPy file of weights.

    Raises:
        TargetError: it cannot be read, or does not hold n weights, none below zero.
    """
    try:
        weights = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TargetError(f"exploration.weights: {path} cannot be read: {error}.") from error
    if weights.shape != (n,) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise TargetError(
            f"exploration.weights: {path} must hold {n} numbers >= 0, one for every frame of "
            f"exploration.files; it has the shape {weights.shape}."
        )
    with np.errstate(divide="ignore"):
        return np.log(weights.astype(np.float64))
