"""Evaluators of energies: one interface, in this process or in Ray actors.

The energy of a conformation and the end of a seeded piece of dynamics are pure functions of
their input, so it makes no difference where they are computed: `SerialEvaluators` here and
`RayEvaluators` in `ray_pool` return equal results for any number of workers.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from onestep_md.distributed.jobs import blocks
from onestep_md.targets.evaluator import Segment, SegmentResult
from onestep_md.targets.gaps import Gaps


class Evaluator(Protocol):
    """Computes the energies of one worker."""

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (batch,) in kT and gradients of the shape of x."""
        ...


@runtime_checkable
class DynamicsEvaluator(Evaluator, Protocol):
    """An evaluator of molecules."""

    def run_segment(self, segment: Segment) -> SegmentResult:
        """Run a piece of dynamics."""
        ...


EvaluatorFactory = Callable[[], Evaluator]


class Energies(Protocol):
    """Reduced energies and gradients of configurations."""

    def submit(self, x: np.ndarray) -> int:
        """Start on x, (batch, atoms, 3) in nm or (batch, dim), and return a ticket at once."""

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """Wait for u (batch,) in kT and grad_u of the shape of x, in input order.

        See `targets.gaps` for +inf and NaN among them.
        """

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`collect(submit(x))`."""


class Evaluators(Energies, Protocol):
    """Reduced energies, gradients and dynamics from one or many workers.

    Attributes:
        workers: number of evaluators, alive or not; with "auto" it grows with the cluster.
        alive: how many of them can work now.
        platform: name of the OpenMM platform.
        evaluations: force evaluations that entered a result so far, dynamics included.
        gaps: conformations so far that have an energy and no gradient.
        wait_seconds: time the driver has spent waiting in `collect` so far.
        repairs: jobs so far that were done again because their worker died or was overdue.
    """

    @property
    def workers(self) -> int: ...

    @property
    def alive(self) -> int: ...

    @property
    def platform(self) -> str: ...

    @property
    def evaluations(self) -> int: ...

    @property
    def gaps(self) -> Gaps: ...

    @property
    def wait_seconds(self) -> float: ...

    @property
    def repairs(self) -> int: ...

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """Run independent pieces of dynamics; results in input order."""

    def publish(self, values: dict[str, float]) -> None:
        """Show numbers of the run where the workers are monitored."""

    def close(self) -> None:
        """End the workers."""


class SerialEvaluators:
    """One evaluator in this process: tests, debugging, and the reference for `RayEvaluators`."""

    workers = alive = 1
    repairs = 0

    def __init__(self, factory: EvaluatorFactory, platform: str):
        """Build the evaluator here. `factory` takes no argument; `platform` is its name."""
        self.platform = platform
        self.evaluations = 0
        self.gaps = Gaps()
        self.wait_seconds = 0.0
        self._evaluator = factory()
        self._waiting: dict[int, np.ndarray] = {}
        self._tickets = 0

    def submit(self, x: np.ndarray) -> int:
        """Remember a copy of x; the work is done in `collect`."""
        self._tickets += 1
        self._waiting[self._tickets] = np.array(x, dtype=np.float64)
        return self._tickets

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate what `submit` remembered."""
        started = time.perf_counter()
        x = self._waiting.pop(ticket)
        u, grad_u = evaluate_blocks(self._evaluator, blocks(x))
        self.evaluations += len(x)
        self.gaps.count(x, grad_u)
        self.wait_seconds += time.perf_counter() - started
        return u, grad_u

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and gradients of x (batch, atoms, 3)."""
        return self.collect(self.submit(x))

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """Run the segments one after the other."""
        results = run_segments(self._evaluator, segments)
        self.evaluations += sum(result.force_evaluations for result in results)
        return results

    def publish(self, values: dict[str, float]) -> None:
        """Nobody monitors a single process."""

    def close(self) -> None:
        """Nothing to end."""


def evaluate_blocks(
    evaluator: Evaluator, parts: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Energies and gradients of the rows of all parts, each part by itself."""
    u, grad_u = zip(*(evaluator.evaluate(part) for part in parts), strict=True)
    return np.concatenate(u), np.concatenate(grad_u)


def run_segments(evaluator: Evaluator, segments: Sequence[Segment]) -> list[SegmentResult]:
    """Run pieces of dynamics, one after the other."""
    assert isinstance(evaluator, DynamicsEvaluator)
    return [evaluator.run_segment(segment) for segment in segments]


def present(evaluators: Evaluators) -> str:
    """Number of evaluators for printing, and the fate of the missing ones."""
    if evaluators.alive >= evaluators.workers:
        return str(evaluators.workers)
    return (
        f"{evaluators.alive} of {evaluators.workers} (Ray has no CPU for the others yet, or they "
        "are late; each joins when it can)"
    )


def open_evaluators(
    factory: EvaluatorFactory,
    platform: str,
    workers: int | None,
    local: bool,
    address: str | None,
    patience: float,
) -> Evaluators:
    """Open evaluators of one target, in this process or on Ray.

    Args:
        factory: makes an evaluator, in the process where it is called.
        platform: name of what the evaluators compute with.
        workers: number of Ray actors; None: one per CPU that Ray has, also of machines that join.
        local: keeps everything in this process.
        address: Ray cluster to join; None: `RAY_ADDRESS`, else a private Ray on this machine.
        patience: seconds without any living evaluator after which the run stops.
    """
    if local:
        return SerialEvaluators(factory, platform)
    # Imported late: --local must work, and start at once, without touching Ray.
    from onestep_md.distributed.ray_pool import RayEvaluators

    return RayEvaluators(factory, platform, workers, address=address, patience=patience)
