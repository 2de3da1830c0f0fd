"""The interface of learners that train one flow together, and a single learner.

Every learner holds the whole state and draws the random numbers of the whole batch from equal
generators, but computes only its rows: results depend on the number of learners by the order of
summation alone. `Alone` is a single learner, `group.Group` several on torch.distributed.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from onestep_md.interruption import StopRequest


class Learners(Protocol):
    """One learner's view of all; all of them must call the methods that are collective.

    A context manager around the training loop.

    Attributes:
        rank: number of this learner; 0 writes files.
        world: number of learners.
    """

    rank: int
    world: int

    def take_rows(self, rows: Tensor) -> Tensor:
        """Take the rows of this learner from (n, ...), n a multiple of `world`."""

    def gather(self, rows: Tensor) -> Tensor:
        """Join the rows (n / world, ...) of all learners in order, (n, ...); collective."""

    def sum_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Add up the gradients of all learners in place; collective."""

    def stop_requested(self) -> bool:
        """Whether the run was asked to stop, the same answer everywhere; collective."""

    def __enter__(self) -> "Learners": ...

    def __exit__(self, *exc: object) -> None: ...


class Alone:
    """The only learner; signals ask it to stop."""

    rank, world = 0, 1

    def __init__(self):
        self._stop = StopRequest()

    def take_rows(self, rows: Tensor) -> Tensor:
        """Take all rows."""
        return rows

    def gather(self, rows: Tensor) -> Tensor:
        """All rows."""
        return rows

    def sum_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Leave them: they are complete."""

    def stop_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._stop.requested

    def __enter__(self) -> "Alone":
        self._stop.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.__exit__(*exc)
