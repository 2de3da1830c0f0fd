"""Statistical inefficiency of correlated series, and how they are thinned and cut into blocks.

The statistical inefficiency g = 1 + 2 sum_t C(t) makes n frames worth n / g independent ones. It
is measured within walkers (trajectories without jumps), around the mean over all walkers, so that
walkers in different basins raise it. Samples of an annealing are such series too: their order
keeps particles of one ancestor together, and walkers are the islands of its population.
"""

import logging
from types import ModuleType

import numpy as np


def import_pymbar() -> ModuleType:
    """Import pymbar on first use, since it takes seconds, and silence its notes."""
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    import pymbar

    return pymbar


def split_by_walker(n: int, walkers: np.ndarray | None) -> list[np.ndarray]:
    """Return the frame indices of every walker in order; None is one walker."""
    if walkers is None:
        return [np.arange(n)]
    walkers = np.asarray(walkers)
    if walkers.shape != (n,):
        raise ValueError(f"walkers must have shape ({n},), not {walkers.shape}")
    order = np.argsort(walkers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(walkers[order])) + 1)


def statistical_inefficiency(series: np.ndarray, walkers: np.ndarray | None = None) -> float:
    """Return g >= 1 of a series of frames.

    Args:
        series: (n,) in time order within a walker; infinite values are set to the largest or
            smallest finite one, because only their rank can be compared.
        walkers: (n,) walker of every frame; None is one walker.
    """
    series = np.asarray(series, dtype=np.float64)
    finite = series[np.isfinite(series)]
    if finite.size == 0 or finite.min() == finite.max():
        return 1.0  # nothing varies, so nothing is correlated
    series = np.clip(series, finite.min(), finite.max())
    parts = [series[index] for index in split_by_walker(series.size, walkers)]
    return float(import_pymbar().timeseries.statistical_inefficiency_multiple(parts))


def thin(n: int, inefficiency: float, walkers: np.ndarray | None = None) -> np.ndarray:
    """Return rising indices that keep every ceil(g)-th frame of every walker."""
    stride = int(np.ceil(inefficiency))
    return np.sort(np.concatenate([part[::stride] for part in split_by_walker(n, walkers)]))


def contiguous_blocks(
    n: int, length: float, walkers: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """Cut every walker into equal blocks of at least `length` frames, or one if it is shorter.

    Returns:
        The block of every frame (n,), numbered from 0, and whether any walker was cut.
    """
    block = np.empty(n, dtype=np.int64)
    parts = split_by_walker(n, walkers)
    count = 0
    for part in parts:
        pieces = max(1, int(part.size / length))
        block[part] = count + np.arange(part.size) * pieces // part.size
        count += pieces
    return block, count > len(parts)
