"""Arrays of a run: the samples of every K in steps.npz, and histograms.npz for its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.estimators.weights import stored_weights
from onestep_md.files import replacing

STEPS, HISTOGRAMS = "steps.npz", "histograms.npz"


@dataclass(frozen=True)
class Weighted:
    """Samples of one K with log weights log_w (n,)."""

    log_w: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(n,) normalised weights; nan where no sample has any."""
        return stored_weights(self.log_w)

    @property
    def weighted(self) -> bool:
        """Whether any sample has a weight."""
        return bool(np.isfinite(self.log_w).any())


def write_steps(
    folder: Path, steps: Mapping[int, Weighted], beside: Mapping[str, np.ndarray]
) -> None:
    """Write the arrays of every K, as k1_log_w and so on, and those `beside` them, by name."""
    arrays = {
        f"k{k}_{name}": array
        for k, samples in steps.items()
        for name, array in vars(samples).items()
    }
    _write(folder / STEPS, arrays | dict(beside))


def write_histograms(folder: Path, histograms: Mapping[str, np.ndarray]) -> None:
    """Write the histograms that figures of the report show; nothing if there are none."""
    if histograms:
        _write(folder / HISTOGRAMS, histograms)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, by name; none if the file is not there."""
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return dict(arrays)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as aside:
        np.savez(aside, allow_pickle=False, **arrays)
