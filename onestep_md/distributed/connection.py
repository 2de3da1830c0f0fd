"""Joining a Ray cluster that was named, or starting a private Ray; never picking one by chance."""

import logging
import os
import signal
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants

import onestep_md
from onestep_md.errors import PoolError

OBJECT_STORE_BYTES = 500 * 2**20  # jobs are some 100 kB each; Ray's default is 30 % of memory


def connect(address: str | None, workers: int | None) -> bool:
    """Connect to Ray and return whether this call did it, so that the same caller disconnects.

    Args:
        address: "host:port" or "ray://host:port"; None: `RAY_ADDRESS`, else a private Ray.
        workers: number of one-CPU actors that a private Ray must be able to place.
    """
    if ray.is_initialized():
        return False
    with _own_sigterm():
        _start_or_join(address, workers)
    return True


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """`ray.init` takes over SIGTERM, to exit without a word; what handled it before stays."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _start_or_join(address: str | None, workers: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray").setLevel(logging.ERROR)  # some of it logs before init sets this
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a FutureWarning
    address = address or os.environ.get("RAY_ADDRESS")
    if address in (None, "local"):
        with loopback():
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, workers or 1),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
        return
    if address != "auto":
        _require_listener(address)
    try:
        # The other machines get the code that runs here, whatever they have installed.
        ray.init(address=address, runtime_env={"py_modules": [onestep_md]}, **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if "ersion mismatch" in str(error):
            raise PoolError(
                f"the Ray cluster at {address} runs another version of Ray or Python than this "
                f"process.\n{error}\n  Install the same versions on both sides; Python has to "
                "agree to its last digit."
            ) from None
        raise PoolError(_unreachable(address, error)) from None


@contextmanager
def loopback() -> Iterator[None]:
    """A Ray that is started within listens at 127.0.0.1 alone, out of reach of other machines.

    This is the switch of Ray's own for systems where it supports no clusters. Without it every
    process of a private Ray listens at all addresses; `_node_ip_address` does not change that,
    for Ray replaces 127.0.0.1 there by an address that others reach.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def one_ray(address: str | None, workers: int) -> Iterator[None]:
    """One Ray for several pools one after the other; arguments as those of `connect`."""
    owned = connect(address, workers)
    try:
        yield
    finally:
        if owned:
            ray.shutdown()


def _require_listener(address: str) -> None:
    """Fail in seconds with a message; Ray itself would retry for minutes and then exit."""
    parts = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise PoolError(f"Ray address {address!r}: expected HOST:PORT, for instance 10.0.0.5:6379")
    try:
        socket.create_connection((parts.hostname, port), timeout=10.0).close()
    except OSError as error:
        raise PoolError(_unreachable(address, error)) from None


def _unreachable(address: str, error: Exception) -> str:
    return (
        f"no Ray cluster answers at {address} ({error}). Start one with `ray start --head`, "
        "correct --address or RAY_ADDRESS, or leave both out to use this machine alone. If it was "
        "started with a token, have the same ~/.ray/auth_token here and RAY_AUTH_MODE=token."
    )
