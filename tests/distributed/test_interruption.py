"""SIGTERM and Ctrl-C outside of training: one exception, whatever was going on."""

import os
import signal
import time

import pytest

from onestep_md.distributed.connection import _own_sigterm
from onestep_md.errors import Interrupted
from onestep_md.interruption import StopRequest, interruptible


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(1.0)  # the handler runs before this ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts(number):
    before = signal.getsignal(number)
    with (
        pytest.raises(Interrupted, match="saved in here") as caught,
        interruptible("saved in here"),
    ):
        send(number)
    assert caught.value.exit_code == 75
    assert signal.getsignal(number) is before


def test_what_others_make_of_the_interruption_does_not_count():
    """Ray's compiled code raises SystemError when a handler raised."""
    with pytest.raises(Interrupted), interruptible("stopped"):
        try:
            send(signal.SIGTERM)
        except Interrupted as error:
            raise SystemError("a result with an exception set") from error


def test_other_errors_pass_and_training_takes_its_own_signals():
    with pytest.raises(ValueError, match="of its own"), interruptible("stopped"):
        raise ValueError("of its own")
    with interruptible("stopped"):
        with StopRequest() as stop:
            send(signal.SIGTERM)
        assert stop.requested
        with pytest.raises(Interrupted):  # and before and after it they interrupt
            send(signal.SIGTERM)


def test_ray_does_not_keep_the_signal():
    before = signal.getsignal(signal.SIGTERM)
    with _own_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before
