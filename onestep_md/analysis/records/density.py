"""A finished run on a density as a frozen dataclass: everything its report shows.

Called by `density_report`; the files are those that `onestep_md.results.density` writes.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.analysis.records.measurements import (
    UNKNOWN,
    Measured,
    Measurements,
    Weighted,
    printable,
    read_cost,
    read_environment,
    read_evidence,
    read_metrics,
    read_pretraining,
    reading,
    run_warnings,
    text_of,
)
from onestep_md.analysis.trajectories import check_finished

FILES = ("results.json", "steps.npz")


@dataclass(frozen=True)
class DensitySamples(Weighted):
    """Samples of one K: log_w (n,), x (n, dim)."""

    x: np.ndarray


@dataclass(frozen=True)
class DensityRecord(Measurements):
    """All that the report of a density needs; the values of `steps` are DensitySamples."""

    dim: int
    log_z: Measured  # the known value, without error; UNKNOWN if nobody knows it
    digest: str
    exact: bool  # target_x are exact samples of the target, not held-out ones of the annealing
    target_x: np.ndarray  # (m, dim)
    modes: int | None  # how many the target has, if that is known
    modes_found: Mapping[int, int | None]  # K -> how many of them have their share
    particles: Mapping[str, Mapping[str, float]]  # kind of samples -> Comparison, or empty
    histograms: Mapping[str, np.ndarray]  # of particles: of distances and energies, or empty


def is_density_run(folder: Path) -> bool:
    """Whether a finished run sampled a density, not a molecule.

    Raises:
        RunFolderError: the folder is missing, unfinished, or its results cannot be read.
    """
    check_finished(folder, ("results.json",))
    with reading(folder):
        return "dim" in json.loads((folder / "results.json").read_text())["fingerprint"]


def read_density_run(folder: Path) -> DensityRecord:
    """Read a finished run folder.

    Raises:
        RunFolderError: the folder is missing, unfinished, or one of its files cannot be read.
    """
    check_finished(folder, FILES)
    with reading(folder):
        return _read(folder)


def _read(folder: Path) -> DensityRecord:
    results = json.loads((folder / "results.json").read_text())
    fingerprint, evidence = results["fingerprint"], read_evidence(results)
    dim, log_z = int(fingerprint["dim"]), fingerprint["log_z"]
    with np.load(folder / "steps.npz") as arrays:
        steps = {
            row.steps: DensitySamples(
                arrays[f"k{row.steps}_log_w"], _points(arrays, f"k{row.steps}_x", dim)
            )
            for row in evidence
        }
        target_x = _points(arrays, "target_x", dim)
    for k, samples in steps.items():
        if len(samples.x) != len(samples.log_w):
            raise ValueError(f"{len(samples.x)} samples but {len(samples.log_w)} weights, K = {k}")
    return DensityRecord(
        name=str(fingerprint["name"]),
        fingerprint=printable(fingerprint),
        evidence=evidence,
        steps=steps,
        metrics=read_metrics(folder),
        pretraining=read_pretraining(folder),
        cost=read_cost(results),
        warnings=run_warnings(results),
        environment=read_environment(folder),
        config=text_of(folder / "config.yaml"),
        dim=dim,
        log_z=UNKNOWN if log_z is None else Measured(float(log_z), 0.0),
        digest=str(fingerprint["digest"]),
        exact=bool(results["exact_samples"]),
        target_x=target_x,
        modes=results["modes"],
        modes_found={int(k): count for k, count in results["modes_found"].items()},
        particles={
            kind: {key: math.nan if value is None else value for key, value in row.items()}
            for kind, row in (results.get("particles") or {}).items()
        },
        histograms=_histograms(folder) if results.get("particles") else {},
    )


def _histograms(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "particles.npz") as arrays:
        return dict(arrays)


def _points(arrays: np.lib.npyio.NpzFile, name: str, dim: int) -> np.ndarray:
    x = arrays[name]
    if x.ndim != 2 or x.shape[1] != dim or not len(x):
        raise ValueError(f"{name} has shape {x.shape}, expected (n, {dim})")
    return x
