"""A finished run on a density as a frozen dataclass: everything its report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onestep_md.analysis.records.measurements import (
    Measurements,
    Weighted,
    nulls_as_nan,
    read_measurements,
)
from onestep_md.estimators.distances import ParticleComparison

FILES = ("results.json", "steps.npz")


@dataclass(frozen=True)
class DensitySamples(Weighted):
    """Samples of one K: log_w (n,), x (n, dim)."""

    x: np.ndarray


@dataclass(frozen=True)
class DensityRecord(Measurements[DensitySamples]):
    """All that the report of a density needs."""

    kind: ClassVar[str] = "density"
    dim: int
    digest: str
    exact: bool  # target_x are exact samples of the target, not held-out ones of the annealing
    target_x: np.ndarray  # (m, dim)
    modes: int | None  # how many the target has, if that is known
    modes_found: Mapping[int, int | None]  # K -> how many of them have their share
    particles: Mapping[str, ParticleComparison]  # by kind of samples; empty where there are none
    histograms: Mapping[str, np.ndarray]  # of particles: of distances and energies, or empty

    @property
    def target_source(self) -> str:
        """Where the samples of the target that BAR takes are from."""
        return "exact samples" if self.exact else "annealing"

    @property
    def target_samples(self) -> str:
        """The same in words."""
        return "exact samples of the target" if self.exact else "held-out samples of the annealing"


def read_density(folder: Path, results: dict) -> DensityRecord:
    """Read a finished run folder whose results.json holds `results`."""
    fingerprint, particles = results["fingerprint"], results.get("particles") or {}
    dim = int(fingerprint["dim"])

    def samples(arrays: np.lib.npyio.NpzFile, k: int) -> DensitySamples:
        log_w, x = arrays[f"k{k}_log_w"], _points(arrays, f"k{k}_x", dim)
        if len(x) != len(log_w):
            raise ValueError(f"{len(x)} samples but {len(log_w)} weights, K = {k}")
        return DensitySamples(log_w, x)

    shared = read_measurements(folder, results, str(fingerprint["name"]), samples)
    with np.load(folder / "steps.npz") as arrays:
        target_x = _points(arrays, "target_x", dim)
    return DensityRecord(
        **vars(shared),
        dim=dim,
        digest=str(fingerprint["digest"]),
        exact=bool(results["exact_samples"]),
        target_x=target_x,
        modes=results["modes"],
        modes_found={int(k): count for k, count in results["modes_found"].items()},
        particles={
            kind: ParticleComparison(**nulls_as_nan(row)) for kind, row in particles.items()
        },
        histograms=_histograms(folder) if particles else {},
    )


def _histograms(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "particles.npz") as arrays:
        return dict(arrays)


def _points(arrays: np.lib.npyio.NpzFile, name: str, dim: int) -> np.ndarray:
    x = arrays[name]
    if x.ndim != 2 or x.shape[1] != dim or not len(x):
        raise ValueError(f"{name} has shape {x.shape}, expected (n, {dim})")
    return x
