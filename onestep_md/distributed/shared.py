"""One pool of evaluators for several molecules, each with a view of it as its own."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from onestep_md.distributed.pool import Evaluators
from onestep_md.distributed.several import mark
from onestep_md.targets.evaluator import Segment, SegmentResult
from onestep_md.targets.gaps import Gaps


class SharedEvaluators:
    """The `Evaluators` protocol for molecule `which` of a pool of `SeveralEvaluator`.

    Workers, their repairs and the time spent waiting are those of the pool.
    """

    def __init__(self, pool: Evaluators, which: int):
        self._pool, self._which = pool, which
        self.platform = pool.platform
        self.evaluations = 0
        self.gaps = Gaps()
        self._waiting: dict[int, np.ndarray] = {}

    @property
    def workers(self) -> int:
        """Number of evaluators of the pool."""
        return self._pool.workers

    @property
    def alive(self) -> int:
        """How many of them can work now."""
        return self._pool.alive

    @property
    def repairs(self) -> int:
        """Jobs of the pool that were done again."""
        return self._pool.repairs

    @property
    def wait_seconds(self) -> float:
        """Time the driver has spent waiting for the pool."""
        return self._pool.wait_seconds

    def submit(self, x: np.ndarray) -> int:
        """As `Evaluators.submit`."""
        ticket = self._pool.submit(mark(np.asarray(x), self._which))
        self._waiting[ticket] = np.array(x)
        return ticket

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Evaluators.collect`."""
        u, grad_u = self._pool.collect(ticket)
        self.evaluations += len(u)
        grad_u = grad_u[:, :-1]
        self.gaps.count(self._waiting.pop(ticket), grad_u)
        return u, grad_u

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Evaluators.evaluate`."""
        return self.collect(self.submit(x))

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """As `Evaluators.map_segments`."""
        own = [dataclasses.replace(segment, target=self._which) for segment in segments]
        results = self._pool.map_segments(own)
        self.evaluations += sum(result.force_evaluations for result in results)
        return results

    def publish(self, values: dict[str, float]) -> None:
        """As `Evaluators.publish`."""
        self._pool.publish(values)

    def close(self) -> None:
        """Leave the pool to the caller that opened it."""
