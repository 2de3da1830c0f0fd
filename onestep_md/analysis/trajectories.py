"""A weighted ensemble as files that mdtraj, MDAnalysis, PyMOL and VMD open, and back.

DCD keeps positions to 1e-7 nm, so energies recomputed from the frames are good to 1e-4 kT. Frames
keep the order of the samples; `weights.npy` belongs to `samples.dcd` line by line, `resampled.dcd`
has equal weights for tools that know none.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
from scipy.io import netcdf_file

from onestep_md.analysis.records.samples import SAMPLES, WEIGHTS, read_samples, write_samples
from onestep_md.analysis.topology import read_topology
from onestep_md.errors import RunFolderError
from onestep_md.estimators.weights import resample
from onestep_md.files import replacing

Trajectory = mdtraj.Trajectory
ROUNDED = (
    "XTC rounds positions to 0.001 nm, which changes energies, by 0.8 kT (rms) of 22 atoms and by "
    "more of larger molecules"
)
_NETCDF = {".nc", ".ncdf", ".netcdf"}
_UNITS = {"weights": "1", "u": "kT", "log_q": "1"}  # of what a file has beside frames
FILES = ("topology.pdb", "samples.dcd", WEIGHTS, SAMPLES)


@dataclass(frozen=True)
class Ensemble:
    """Conformations with weights; any average is `weights @ observable`.

    Attributes:
        trajectory: n frames, nm, molecules centred, atom order of the input PDB.
        weights: (n,) float64, sum 1.
        u: (n,) reduced potential, kT; +inf where it overflows.
        log_q: (n,) log-density of the flow at the sample.
        log_w: (n,) unnormalised log-weights -u - log_q.
    """

    trajectory: mdtraj.Trajectory
    weights: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    log_w: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write the frames to one file, in the format of its suffix.

        NetCDF (.nc) in the convention of Amber, and HDF5 (.h5), which needs PyTables, also hold
        `weights`, `u` and `log_q`; TRR, DCD and XTC hold frames alone. XTC rounds, for viewing.

        Raises:
            RunFolderError: mdtraj writes no such format, or PyTables is missing.

        Example:
            >>> import onestep_md
            >>> onestep_md.load_run("runs/alanine").save("alanine.nc")  # doctest: +SKIP
        """
        suffix = Path(path).suffix.lower()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", ".*netCDF4' Python package"
                )  # SciPy does as well
                self.trajectory.save(str(path))
        except (OSError, ImportError) as error:
            hint = "; `pip install tables` brings HDF5" if suffix == ".h5" else ""
            raise RunFolderError(f"cannot write {path}: {error}{hint}.") from error
        if suffix == ".xtc":
            warnings.warn(f"{path}: {ROUNDED}; never reweight these frames.", stacklevel=2)
        if suffix == ".h5":
            import tables

            with tables.open_file(str(path), "a") as file:
                for name in _UNITS:
                    file.create_array("/", name, getattr(self, name))
        if suffix in _NETCDF:
            with netcdf_file(str(path), "a") as file:
                for name, unit in _UNITS.items():
                    variable = file.createVariable(name, "f8", ("frame",))
                    variable[:] = getattr(self, name)
                    variable.units = unit


def write_trajectory(
    folder: Path,
    pdb_text: str,
    x: np.ndarray,
    log_w: np.ndarray,
    u: np.ndarray,
    log_q: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """Write topology.pdb, samples.dcd, weights.npy, samples.npz and resampled.dcd.

    If no sample has any weight, weights.npy is nan and resampled.dcd is not written. A crash
    leaves the old files whole.

    Args:
        folder: run folder, created if missing.
        pdb_text: PDB in the atom order of x.
        x: (n, atoms, 3) nm; written centred.
        log_w: (n,) log-weights, -inf allowed.
        u: (n,) reduced potential, kT.
        log_q: (n,) log-density of the flow.
        generator: draws the frames of equal weight.
    """
    folder.mkdir(parents=True, exist_ok=True)
    centred = x - x.mean(axis=1, keepdims=True)
    with replacing(folder / "topology.pdb") as path:
        path.write_text(pdb_text)
    with replacing(folder / "samples.dcd") as path:
        _write_dcd(path, centred)
    if np.isfinite(log_w).any():  # else there is nothing to draw from
        chosen = generator.permutation(resample(log_w, len(log_w), generator))
        with replacing(folder / "resampled.dcd") as path:
            _write_dcd(path, centred[chosen])
    write_samples(folder, u, log_q, log_w)


def make_trajectory(x: np.ndarray, pdb_text: str) -> mdtraj.Trajectory:
    """Make a trajectory of conformations (n, atoms, 3) in nm, in the atom order of a PDB."""
    return mdtraj.Trajectory(x, read_topology(pdb_text))


def load_run(path: str | Path) -> Ensemble:
    """Read the weighted one-step ensemble of a finished run folder.

    Raises:
        RunFolderError: the folder is missing, unfinished, or its files do not belong together.
    """
    folder = Path(path)
    check_finished(folder, FILES)
    topology = read_topology((folder / "topology.pdb").read_text())
    trajectory = mdtraj.load_dcd(str(folder / "samples.dcd"), top=topology)
    arrays = read_samples(folder)
    weights, u, log_q, log_w = (arrays[name] for name in ("weights", "u", "log_q", "log_w"))
    lengths = {len(trajectory), len(weights), len(u), len(log_q), len(log_w)}
    if len(lengths) > 1:
        raise RunFolderError(
            f"{folder}: samples.dcd has {len(trajectory)} frames, weights.npy {len(weights)} and "
            f"samples.npz {len(u)} entries. They are from different runs; draw again with "
            f"`python -m onestep_md.sample {folder}`."
        )
    return Ensemble(trajectory, weights, u, log_q, log_w)


def check_finished(folder: Path, files: tuple[str, ...]) -> None:
    """Raise RunFolderError, with what to do, unless all files are there."""
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: there is no such folder.")
    missing = [name for name in files if not (folder / name).is_file()]
    if not missing:
        return
    text = f"{folder}: {', '.join(missing)} missing. "
    if (folder / "config.yaml").is_file():
        raise RunFolderError(
            text + "The run is not finished; continue it with "
            f"`python -m onestep_md.run FILE.yaml --out {folder} --resume`."
        )
    raise RunFolderError(text + "This is not a run folder of onestep_md.")


def _write_dcd(path: Path, x: np.ndarray) -> None:
    # non-finite samples have weight zero; viewers choke on NaN, so their atoms sit at the origin
    angstrom = np.nan_to_num(10.0 * x, nan=0.0, posinf=0.0, neginf=0.0)
    with mdtraj.formats.DCDTrajectoryFile(str(path), "w", force_overwrite=True) as dcd:
        dcd.write(angstrom.astype(np.float32))
