"""Signals: a run stops where it can be continued."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from onestep_md.errors import Interrupted


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
