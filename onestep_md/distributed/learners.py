"""Learners that train one flow together, as the training loop sees them; one of them here.

Every learner holds the whole state and draws the random numbers of the whole batch from equal
generators, but computes only its rows: results depend on the number of learners by the order of
summation alone. `Alone` is a single learner, `group.Group` several on torch.distributed.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor, nn

from onestep_md.errors import Interrupted


class Learners(Protocol):
    """One learner's view of all; what is said to be collective must be called by all of them.

    A context manager around the training loop.

    Attributes:
        rank: number of this learner; 0 is the one that writes.
        world: how many there are.
    """

    rank: int
    world: int

    def share(self, rows: Tensor) -> Tensor:
        """The rows of this learner of (n, ...), n a multiple of `world`."""

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (n / world, ...) of all learners in order, (n, ...); collective."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all learners in place; collective."""

    def stop_requested(self) -> bool:
        """Whether the run was asked to stop, the same answer everywhere; collective."""

    def __enter__(self) -> "Learners": ...

    def __exit__(self, *exc: object) -> None: ...


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a flag for the duration of a `with` block."""

    def __init__(self):
        self.requested = False

    def _handle(self, signum, frame) -> None:
        self.requested = True

    def __enter__(self) -> "StopRequest":
        self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """SIGTERM and Ctrl-C raise Interrupted with this message, wherever the main thread is.

    The second one does what it did before: cleaning up may take a while. `StopRequest` is for
    what must come to an end of its own.
    """
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    stopped = False

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(signum, frame) -> None:
        nonlocal stopped
        stopped = True
        restore()
        raise Interrupted(message)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except BaseException as error:
        # compiled code on the way, as that of Ray, may have made another exception of it
        if stopped and not isinstance(error, Interrupted):
            raise Interrupted(message) from None
        raise
    finally:
        restore()


class Alone:
    """The only learner; signals ask it to stop."""

    rank, world = 0, 1

    def __init__(self):
        self._stop = StopRequest()

    def share(self, rows: Tensor) -> Tensor:
        """All rows."""
        return rows

    def gather(self, rows: Tensor) -> Tensor:
        """All rows."""
        return rows

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """They are complete."""

    def stop_requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._stop.requested

    def __enter__(self) -> "Alone":
        self._stop.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.__exit__(*exc)
