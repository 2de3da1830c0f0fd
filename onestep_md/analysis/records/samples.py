"""Arrays of a run, each written and read in one place.

samples.npz and weights.npy hold the exported samples, steps.npz those of every K, histograms.npz
what figures show beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.estimators.weights import stored_weights
from onestep_md.files import replacing

SAMPLES, WEIGHTS = "samples.npz", "weights.npy"
STEPS, HISTOGRAMS = "steps.npz", "histograms.npz"


@dataclass(frozen=True)
class WeightedSamples:
    """Samples of one K with log weights log_w (n,)."""

    log_w: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(n,) normalised weights; nan where no sample has any."""
        return stored_weights(self.log_w)

    @property
    def has_weights(self) -> bool:
        """Whether any sample has a weight."""
        return bool(np.isfinite(self.log_w).any())


def write_samples(
    folder: Path,
    u: np.ndarray,
    log_q: np.ndarray,
    log_w: np.ndarray,
    x: np.ndarray | None = None,
) -> None:
    """Write samples.npz and weights.npy, in the order of the samples.

    Args:
        folder: created if missing.
        u: (n,) reduced potential, kT.
        log_q: (n,) log-density of the flow.
        log_w: (n,) log-weights; where none is finite, all weights are nan.
        x: (n, dim) positions, unless a trajectory holds them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    positions = {} if x is None else {"x": x}
    _write(folder / SAMPLES, positions | {"u": u, "log_q": log_q, "log_w": log_w})
    with replacing(folder / WEIGHTS) as aside:
        np.save(aside, stored_weights(log_w))


def read_samples(folder: Path) -> dict[str, np.ndarray]:
    """Read u, log_q, log_w, weights, and x where it was written, by name."""
    return read_arrays(folder / SAMPLES) | {"weights": np.load(folder / WEIGHTS)}


def write_steps(
    folder: Path, steps: Mapping[int, WeightedSamples], extra: Mapping[str, np.ndarray]
) -> None:
    """Write the arrays of every K, as k1_log_w and so on, and `extra` arrays, by name."""
    arrays = {
        f"k{k}_{name}": array
        for k, samples in steps.items()
        for name, array in vars(samples).items()
    }
    _write(folder / STEPS, arrays | dict(extra))


def write_histograms(folder: Path, histograms: Mapping[str, np.ndarray]) -> None:
    """Write histograms for figures; no file if there are none."""
    if histograms:
        _write(folder / HISTOGRAMS, histograms)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file, by name; none if there is no file."""
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return dict(arrays)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as aside:
        np.savez(aside, allow_pickle=False, **arrays)
