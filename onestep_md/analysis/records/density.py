"""The record of a finished run on a density: results, samples, and arrays for figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from onestep_md.analysis.records.record import Record, read_history
from onestep_md.analysis.records.refined import REFINED, read_refined
from onestep_md.analysis.records.results import Results
from onestep_md.analysis.records.samples import (
    HISTOGRAMS,
    STEPS,
    WeightedSamples,
    read_arrays,
    write_histograms,
    write_steps,
)
from onestep_md.estimators.distances import ParticleComparison

FILES = (STEPS,)


class DensityResults(Results):
    """Results of a run on a density."""

    kind: Literal["density"] = "density"
    exact_samples: bool  # whether samples of the target are exact, else held-out annealing
    modes: int | None  # number of modes of the target, if it is known
    modes_found: Mapping[int, int | None]  # K -> number of modes with enough samples
    particles: Mapping[str, ParticleComparison]  # by kind of samples; empty where there are none

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.fingerprint["dim"])

    @property
    def target_source(self) -> str:
        """Source of the samples of the target that BAR uses."""
        return "exact samples" if self.exact_samples else "annealing"

    @property
    def target_samples(self) -> str:
        """The same in a sentence."""
        if self.exact_samples:
            return "exact samples of the target"
        return "held-out samples of the annealing"


@dataclass(frozen=True)
class DensitySamples(WeightedSamples):
    """Samples of one K: log_w (n,), x (n, dim)."""

    x: np.ndarray


@dataclass(frozen=True)
class DensityRecord(Record[DensityResults, DensitySamples]):
    """Record of a run on a density."""

    target_x: np.ndarray  # (m, dim)


def write_density_arrays(
    folder: Path,
    steps: Mapping[int, DensitySamples],
    target_x: np.ndarray,
    histograms: Mapping[str, np.ndarray],
) -> None:
    """Write the samples of every K, those of the target, and histograms of particles."""
    write_steps(folder, steps, {"target_x": target_x})
    write_histograms(folder, histograms)


def read_density(folder: Path, results: DensityResults) -> DensityRecord:
    """Read a finished run folder whose results.json holds `results`."""
    arrays = read_arrays(folder / STEPS)
    steps = {row.steps: _get_samples(arrays, row.steps, results.dim) for row in results.evidence}
    older = read_arrays(folder / "particles.npz")
    return DensityRecord(
        name=str(results.fingerprint["name"]),
        results=results,
        steps=steps,
        histograms=read_arrays(folder / HISTOGRAMS) or older,
        history=read_history(folder),
        refined=read_refined(folder / REFINED),
        target_x=_get_points(arrays, "target_x", results.dim),
    )


def _get_samples(arrays: Mapping[str, np.ndarray], k: int, dim: int) -> DensitySamples:
    log_w, x = arrays[f"k{k}_log_w"], _get_points(arrays, f"k{k}_x", dim)
    if len(x) != len(log_w):
        raise ValueError(f"{len(x)} samples but {len(log_w)} weights, K = {k}")
    return DensitySamples(log_w, x)


def _get_points(arrays: Mapping[str, np.ndarray], name: str, dim: int) -> np.ndarray:
    x = arrays[name]
    if x.ndim != 2 or x.shape[1] != dim or not len(x):
        raise ValueError(f"{name} has shape {x.shape}, expected (n, {dim})")
    return x
