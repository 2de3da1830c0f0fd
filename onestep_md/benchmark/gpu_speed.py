"""Speed of the learner on two devices, and of the evaluators that feed it.

A step is one of training, `train.train_step`, for one K, or of pretraining on the likelihood of
explored samples. Energies are free, or come from evaluators that are timed alone and in use.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.benchmark.gpu_models import FreeEvaluators, build_rough_model, serial_evaluators
from onestep_md.benchmark.jobs import Row, Send, failure
from onestep_md.config import BufferTraining, Config, load_config
from onestep_md.distributed.learners import Alone
from onestep_md.distributed.pool import Evaluators
from onestep_md.kinds import load_target
from onestep_md.kinds.molecule import MoleculeTarget, load_molecule_target
from onestep_md.sampling.model import Model
from onestep_md.stages import open_pool
from onestep_md.training.likelihood import Likelihood
from onestep_md.training.schedule import only_map
from onestep_md.training.train import train_step

SPEED, FEED = "speed", "evaluators"
_FRAMES = 1024
_SECONDS = 1.0  # time over which steps repeat, at least once
_LONG = 4.0  # s; a longer first step is not repeated
_RATED = 2000  # energies by which evaluators are timed


@dataclass(frozen=True)
class Steps:
    """Steps to time: the name of a YAML file, numbers K, and overrides of its keys.

    Attributes:
        pretraining: whether steps of pretraining are timed as well.
    """

    system: str
    counts: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    pretraining: bool = False

    @property
    def name(self) -> str:
        """Name in the table."""
        return " ".join([self.system, *(text.split(".")[1] for text in self.overrides)])


SPEEDS = (
    Steps("trialanine", (1, 2, 4, 8)),
    Steps("alanine-gaussian", (1,), pretraining=True),
    Steps("alanine-gaussian", (1,), ("train.batch=1024", "train.regression_batch=1024"), True),
    Steps("lj55_f1", (1,), ("train.batch=16", "train.regression_batch=16"), True),
    Steps("lj13_f1", (1,), pretraining=True),
    Steps("alanine-cartesian", (1, 2, 4), pretraining=True),
    Steps("alanine-cartesian", (1,), ("flow.network=e3nn",)),
    Steps("gmm9", (1, 8)),
)


def time_learner(
    timed: tuple[Steps, ...], systems: Path, device: str, send: Send, deadline: float
) -> None:
    """Send one row for each system and K, with the rates of the device and of all CPUs."""
    torch.set_num_threads(os.cpu_count() or 1)
    devices = dict.fromkeys((device, "cpu"))
    for steps in timed:
        try:
            config = load_config(systems / f"{steps.system}.yaml", list(steps.overrides))
            models = {name: prepare_model(config, name) for name in devices}
        except Exception as error:
            send(failure(SPEED, steps.name, error))
            continue
        for count in (*([None] if steps.pretraining else []), *steps.counts):
            if time.time() > deadline:
                return
            name = f"{steps.name}, " + (f"K = {count}" if count else "likelihood")
            try:
                rates = {
                    place: _rate(model, config.buffer_training, count)
                    for place, model in models.items()
                }
            except Exception as error:
                send(failure(SPEED, name, error))
                continue
            text = ", ".join(f"{rate:,.0f} samples/s on {place}" for place, rate in rates.items())
            send(Row(SPEED, name, text, values=rates))


def prepare_model(config: Config, device: str) -> Model:
    """Build a model on a device from a rough exploration."""
    model = build_rough_model(config, load_target(config), _FRAMES)
    model.state.to(torch.device(device))
    return model


def _rate(model: Model, settings: BufferTraining, count: int | None) -> float:
    """Samples per second of training one map of K = `count` steps, or of pretraining."""
    if count is None:
        return settings.regression_batch / likelihood_seconds(model, settings)
    return settings.batch / step_seconds(model, settings, count, FreeEvaluators())


def step_seconds(
    model: Model, settings: BufferTraining, count: int, evaluators: Evaluators
) -> float:
    """Time a training step for K = `count`, in seconds."""
    return time_call(training_step(model, settings, count, evaluators))


def training_step(
    model: Model, settings: BufferTraining, count: int, evaluators: Evaluators
) -> Callable[[], object]:
    """Return a function that takes a training step for K = `count`."""
    settings = only_map(settings, count)
    return lambda: train_step(model.state, settings, model.chart, evaluators, Alone())


def likelihood_seconds(model: Model, settings: BufferTraining) -> float:
    """Time a step of pretraining, in seconds."""
    settings = settings.model_copy(update={"pretraining": settings.pretraining or 1000})
    with tempfile.TemporaryDirectory() as folder:
        task = model.task("", FreeEvaluators(), Path(folder))
        return time_call(Likelihood(task, settings).step)


def time_call(work: Callable[[], object]) -> float:
    """Time one call in seconds, without the first one unless that takes long."""
    started = time.perf_counter()
    work()
    _wait()
    first = time.perf_counter() - started
    if first > _LONG:
        return first
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - started < _SECONDS:
        work()
        _wait()
        calls += 1
    return (time.perf_counter() - started) / calls


def _wait() -> None:
    """Wait for the GPU, which goes on working after a call has returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- evaluators -----------------------------------------------------------------------------


def time_evaluators(
    names: tuple[str, ...], systems: Path, device: str, local: bool, send: Send, deadline: float
) -> None:
    """Send one row for each molecule and kind of evaluators, alone and feeding a learner."""
    for name in names:
        config = load_config(systems / f"{name}.yaml")
        molecule = load_molecule_target(config)
        model = prepare_model(config, device)
        free = step_seconds(model, config.buffer_training, 1, FreeEvaluators())
        with _shared_ray(local):
            for kind, opened in _kinds(config, molecule, local).items():
                if time.time() > deadline:
                    return
                where = f"{name}, {kind}"
                try:
                    evaluators = opened()
                    try:
                        send(_time_fed(where, model, config, molecule, evaluators, free))
                    finally:
                        evaluators.close()
                except Exception as error:
                    send(failure(FEED, where, error))


def _shared_ray(local: bool):
    if local:
        return nullcontext()
    from onestep_md.distributed.connection import one_ray

    return one_ray("local", os.cpu_count() or 1)


def _kinds(
    config: Config, molecule: MoleculeTarget, local: bool
) -> dict[str, Callable[[], Evaluators]]:
    """Functions that open evaluators, by their names in the table."""

    def alone(platform: str) -> Callable[[], Evaluators]:
        return lambda: serial_evaluators(molecule, platform)

    def pool(platform: str, workers: int) -> Callable[[], Evaluators]:
        asked = {"cluster": config.cluster.model_copy(update={"evaluators": workers})}
        return lambda: open_pool(
            config.model_copy(update=asked), [molecule], False, None, platform
        )

    kinds = {
        f"1 x {name}": alone(name) for name in ("Reference", "CPU", "CUDA", "torch", "torch-CUDA")
    }
    if not local:
        workers = max(1, (os.cpu_count() or 1) - 2)
        kinds |= {f"{n} x {name}": pool(name, n) for n, name in ((workers, "CPU"), (4, "CUDA"))}
    return kinds


def _time_fed(
    where: str,
    model: Model,
    config: Config,
    molecule: MoleculeTarget,
    evaluators: Evaluators,
    free: float,
) -> Row:
    """Measure evaluations per second alone and in training, and how long the learner waits."""
    positions = molecule.molecule.positions
    noise = np.random.default_rng(0).normal(0.0, 0.003, (_RATED, *positions.shape))
    x = positions + noise
    evaluators.evaluate(x[: _RATED // 10])
    alone = _RATED / time_call(lambda: evaluators.evaluate(x))
    before, waited, started = evaluators.evaluations, evaluators.wait_seconds, time.perf_counter()
    step = step_seconds(model, config.buffer_training, 1, evaluators)
    elapsed = time.perf_counter() - started
    used = (evaluators.evaluations - before) / elapsed
    idle = (evaluators.wait_seconds - waited) / elapsed
    batch = config.buffer_training.batch
    rate = batch / step
    text = (
        f"{alone:,.0f} evaluations/s alone, {used:,.0f}/s in training at K = 1: {rate:,.0f} "
        f"samples/s ({batch / free:,.0f} if energies were free), learner waits "
        f"{100 * idle:.0f} %"
    )
    values = {"alone": alone, "in_training": used, "samples": rate, "idle": idle}
    return Row(FEED, where, text, values=values)
