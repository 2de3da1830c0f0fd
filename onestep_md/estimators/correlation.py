"""Correlated series: how many independent samples dynamics frames are worth, and how to cut them.

The statistical inefficiency g = 1 + 2 sum_t C(t) makes n frames worth n / g independent ones. It
is measured within walkers (trajectories without jumps), around the mean over all walkers, so that
walkers that are stuck in different basins count as what they are. Samples of an annealing, whose
order keeps relatives side by side, are such series too: walkers are the islands of its population
and g is what families of particles cost. Also the one door to pymbar.
"""

import logging
from types import ModuleType

import numpy as np


def import_pymbar() -> ModuleType:
    """Imports pymbar on first use (it takes seconds), with its banner and notes kept silent."""
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    import pymbar

    return pymbar


def split_by_walker(n: int, walkers: np.ndarray | None) -> list[np.ndarray]:
    """Returns the frame indices of every walker, in their order; one walker if None."""
    if walkers is None:
        return [np.arange(n)]
    walkers = np.asarray(walkers)
    if walkers.shape != (n,):
        raise ValueError(f"walkers must have shape ({n},), not {walkers.shape}")
    order = np.argsort(walkers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(walkers[order])) + 1)


def statistical_inefficiency(series: np.ndarray, walkers: np.ndarray | None = None) -> float:
    """Returns g >= 1 of a series of frames.

    Args:
        series: (n,) in time order within a walker; values that are not finite are set to the
            largest or smallest finite one, because only their rank can be compared.
        walkers: (n,) walker id of every frame; one walker if not given.
    """
    series = np.asarray(series, dtype=np.float64)
    finite = series[np.isfinite(series)]
    if finite.size == 0 or finite.min() == finite.max():
        return 1.0  # nothing varies, so nothing is correlated
    series = np.clip(series, finite.min(), finite.max())
    parts = [series[index] for index in split_by_walker(series.size, walkers)]
    return float(import_pymbar().timeseries.statistical_inefficiency_multiple(parts))


def decorrelated(n: int, inefficiency: float, walkers: np.ndarray | None = None) -> np.ndarray:
    """Returns rising indices that keep every ceil(g)-th frame of every walker."""
    stride = int(np.ceil(inefficiency))
    return np.sort(np.concatenate([part[::stride] for part in split_by_walker(n, walkers)]))


def contiguous_blocks(
    n: int, length: float, walkers: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """Cuts every walker into equal blocks of at least `length` frames, or one if it is shorter.

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
