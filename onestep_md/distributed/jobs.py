"""Pieces of work and how large to make them; knows nothing of Ray.

`ray_pool` cuts batches by this rule, and the throughput model predicts with it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from onestep_md.targets.evaluator import Segment

JOB_SECONDS = 0.05  # aim: short enough to share out evenly, long against ~1 ms of Ray per job
SMALLEST_JOB_SECONDS = 0.004  # a job is not made smaller than this to occupy more workers
DRIVER_JOB_SECONDS = 0.001  # what a job costs the driver; it must not take longer than the batch
FIRST_JOB = 64  # conformations per job before the first one has been timed


@dataclass(eq=False)
class Job:
    """A pure piece of work; `result` is set by whichever copy answers first."""

    method: str
    payload: np.ndarray | list[Segment]
    work: int  # force evaluations, the unit in which jobs of all kinds are timed
    result: Any = None


def number_of_jobs(frames: int, workers: int, pace: float | None) -> int:
    """Into how many equal jobs a batch is cut: a multiple of the workers where it pays.

    Args:
        frames: conformations in the batch
        workers: evaluators that can work now
        pace: seconds per conformation; None before anything has been timed
    """
    if pace is None:
        return max(1, -(-frames // FIRST_JOB))
    seconds = frames * pace
    rounds = round(seconds / workers / JOB_SECONDS)
    bearable = int(seconds / workers / DRIVER_JOB_SECONDS / workers)
    rounds = max(1, min(rounds, bearable))
    return int(max(1, min(rounds * workers, seconds // SMALLEST_JOB_SECONDS, frames)))
