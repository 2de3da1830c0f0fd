"""Pieces of work and how large to make them, independent of Ray.

Matrix products of another number of rows have other last bits. So the rows of a density are
evaluated in blocks that the batch alone decides, never the number of evaluators; a job is some
blocks that follow each other. OpenMM computes one conformation at a time.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from onestep_md.targets.evaluator import Segment

JOB_SECONDS = 0.05  # aim: short enough to share out evenly, long against ~1 ms of Ray per job
SMALLEST_JOB_SECONDS = 0.004  # a job is not made smaller than this to occupy more workers
DRIVER_JOB_SECONDS = 0.001  # what a job costs the driver; it must not take longer than the batch
FIRST_JOB = 64  # conformations per job before the first one has been timed
_MOST_BLOCKS = 32  # of a batch of a density
_FEWEST_ROWS = 64  # of a block, except the last: a call of torch costs as much as some ten rows


@dataclass(eq=False)
class Job:
    """A pure piece of work; `result` is set by whichever copy answers first."""

    method: str
    payload: list[np.ndarray] | list[Segment]
    work: int  # force evaluations, the unit in which jobs of all kinds are timed
    result: Any = None


def number_of_jobs(frames: int, workers: int, pace: float | None) -> int:
    """Number of equal jobs of a batch: a multiple of the workers where it pays.

    Args:
        frames: conformations in the batch.
        workers: evaluators that can work now.
        pace: seconds per conformation; None before anything has been timed.
    """
    if pace is None:
        return max(1, -(-frames // FIRST_JOB))
    seconds = frames * pace
    rounds = round(seconds / workers / JOB_SECONDS)
    bearable = int(seconds / workers / DRIVER_JOB_SECONDS / workers)
    rounds = max(1, min(rounds, bearable))
    return int(max(1, min(rounds * workers, seconds // SMALLEST_JOB_SECONDS, frames)))


def blocks(x: np.ndarray) -> list[np.ndarray]:
    """Cut the batch of a density (batch, dim) into the rows that are evaluated together.

    Conformations (batch, atoms, 3) do not depend on each other, and stay in one piece.
    """
    if x.ndim != 2:
        return [x]
    rows = max(_FEWEST_ROWS, -(-len(x) // _MOST_BLOCKS))
    return [x[start : start + rows] for start in range(0, max(1, len(x)), rows)]


def cut(x: np.ndarray, jobs: int) -> list[list[np.ndarray]]:
    """Cut a batch into the payloads of that many jobs, or of as many as there are blocks."""
    if x.ndim != 2:
        return [[piece] for piece in np.array_split(x, jobs)]
    parts = blocks(x)
    bounds = np.linspace(0, len(parts), min(jobs, len(parts)) + 1).round().astype(int)
    return [parts[start:end] for start, end in itertools.pairwise(bounds)]
