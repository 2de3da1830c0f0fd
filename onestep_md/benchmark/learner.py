"""Training steps per second of CPU time, beside what their matrix products alone would take.

Energies are free, and one thread computes. CPU time of one thread, so that other work on the
machine counts little; the best of some rounds.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from onestep_md.benchmark.gpu_models import FreeEvaluators
from onestep_md.benchmark.gpu_speed import prepare_model, training_step
from onestep_md.config import load_config
from onestep_md.flow.base import Flow
from onestep_md.run_folder import machine, machine_line
from onestep_md.training import train
from onestep_md.training.gradients import gradients_of
from onestep_md.training.schedule import STEP_COUNTS

_ROUNDS, _CALLS = 3, 3  # the best of some rounds of some steps each
_SIDE = 256  # of the matrices by which the machine is rated
_PRODUCTS = 50  # of these


def measure_learner(files: Sequence[Path]) -> list[str]:
    """Time the steps of these systems for every K, and format a table in Markdown.

    Args:
        files: YAML files of systems with `train.method: buffer`.
    """
    torch.set_num_threads(1)
    rate = multiply_adds_per_second()
    lines = [
        machine_line(machine()),
        f"{rate / 1e9:.1f} billion multiply-adds a second in float32 products of matrices",
        "",
        "| system | degrees of freedom | K | samples/s | if there were products only | calls |",
        "|---|---|---|---|---|---|",
    ]
    for file in files:
        config = load_config(file)
        settings = config.buffer_training
        model = prepare_model(config, "cpu")
        for count in STEP_COUNTS:
            step = training_step(model, settings, count, FreeEvaluators())
            products, calls = count_work(step)
            seconds = _cpu_seconds(step)
            lines.append(
                f"| {file.stem} | {model.state.flow.dim} | {count} "
                f"| {settings.batch / seconds:,.0f} "
                f"| {settings.batch * rate / products:,.0f} | {calls:,} |"
            )
    return lines


def count_work(work: Callable[[], object]) -> tuple[int, int]:
    """Count multiply-adds of matrix products, and calls of torch."""
    # a counter sees its own thread only
    with patch.object(train, "start_gradients", gradients_at_once), _Counter() as counter:
        work()
    return counter.operations // 2, counter.calls


def gradients_at_once(loss: Tensor, flow: Flow) -> "Future[list[Tensor]]":
    """Compute in this thread what `start_gradients` starts in another."""
    gradients: Future[list[Tensor]] = Future()
    gradients.set_result(gradients_of(loss, flow))
    return gradients


def multiply_adds_per_second() -> float:
    """Rate this machine by products of square float32 matrices on one thread."""
    matrix = torch.ones(_SIDE, _SIDE)

    def multiply() -> None:
        for _ in range(_PRODUCTS):
            matrix @ matrix

    return _PRODUCTS * _SIDE**3 / _cpu_seconds(multiply)


class _Counter(TorchDispatchMode):
    """Counts what reaches the kernels of torch: calls, and operations of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls += 1
        count = flop_registry.get(func._overloadpacket)
        if count:
            self.operations += count(*args, **kwargs, out_val=out)
        return out


def _cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call in seconds, without the first one."""
    work()
    rounds = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for _ in range(_CALLS):
            work()
        rounds.append((time.process_time() - started) / _CALLS)
    return min(rounds)
