"""Explorations and trainings that end in time, in ordinary run folders.

An exploration is shrunk to what its time allows, or its frames are those of a finished model of
the same target. A training is planned by timed steps, stopped by a signal where the plan was too
bold, and leaves its model. `python -m onestep_md.run FOLDER/config.yaml --out FOLDER --resume`
makes the usual results and report of it.
"""

import copy
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.records.folder import write_evidence
from onestep_md.benchmark.gpu_speed import likelihood_seconds, step_seconds
from onestep_md.benchmark.jobs import Row, Send
from onestep_md.config import Config, load_config
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import Interrupted, RunFolderError
from onestep_md.estimators.weights import ess, resample
from onestep_md.exploration.explored import EXPLORATION_FILE, Exploration
from onestep_md.interruption import interruptible
from onestep_md.kinds import load_target
from onestep_md.progress import Display
from onestep_md.results.evidence import measure
from onestep_md.run_folder import keep_origin, load_run_config
from onestep_md.sampling.draw import Samples, draw_samples
from onestep_md.sampling.model import Model, build_model, exploration_key
from onestep_md.sampling.sampler import load_sampler, sampler_of, save_sampler
from onestep_md.sampling.target import Target
from onestep_md.stages import explore_or_load, open_pool
from onestep_md.training import hardware
from onestep_md.training.likelihood import pretrain
from onestep_md.training.schedule import STEP_COUNTS
from onestep_md.training.task import Keeper
from onestep_md.training.train import train

EXPLORATION, TRAINING = "explored", "training"
_FEWEST = 200  # particles
_COSTS = {"molecule": 60, "density": 150}  # energies per particle and move
_SPARE = 0.7  # fraction of the time for annealing, and for training before its samples are drawn
_AT_ONCE = 2000
_DRAWN = 60_000  # samples of a finished model, before they are resampled
_PLANNING = 0.3  # largest fraction of the time of training for timing steps
_SURE = 0.85  # fraction of the remaining time that is planned for
_ENERGIES = 0.3  # largest fraction of the time for steps with energies, beside pretraining


@dataclass(frozen=True)
class Training:
    """A system to train.

    Attributes:
        system: name of the YAML file and of the run folder.
        share: time relative to the other trainings.
        overrides: keys that are replaced on every machine.
        on_gpu: keys that are replaced on a GPU as well.
        frames_of: folder beside the YAML files of a finished model of the same target, whose
            samples take the place of an exploration.
    """

    system: str
    share: float
    overrides: tuple[str, ...] = ()
    on_gpu: tuple[str, ...] = ()
    frames_of: str | None = None


_BRIEF = ("train.checkpoint_interval=15", "sample.steps=[0,1]")
TRAININGS = (
    Training(
        "alanine-gaussian",
        0.4,
        (*_BRIEF, "exploration.method=annealing", "sample.n=4000"),
        ("flow.width=64", "train.batch=512", "train.regression_batch=512"),
        "models/alanine-cartesian",
    ),
    Training("trialanine", 0.3, _BRIEF),
    Training(
        "lj55_f1",
        0.3,
        (*_BRIEF, "exploration.moves=16", "sample.n=2000"),
        ("train.batch=256", "train.regression_batch=256"),
    ),
)


def configure(training: Training, systems: Path, device: str, evaluators: int | None) -> Config:
    """Load the configuration; the numbers of particles and steps follow later."""
    overrides = [*training.overrides, f"cluster.device={device}"]
    if device == "cuda":
        overrides += training.on_gpu
    if evaluators:
        overrides.append(f"cluster.evaluators={evaluators}")
    return load_config(systems / f"{training.system}.yaml", overrides)


# --- exploration ----------------------------------------------------------------------------


def explore_system(
    training: Training,
    systems: Path,
    out: Path,
    device: str,
    evaluators: int,
    local: bool,
    send: Send,
    deadline: float,
) -> None:
    """Explore a system; its run folder keeps the exploration."""
    config = configure(training, systems, device, evaluators)
    hardware.prepare(config.cluster, local)
    target, folder, started = load_target(config), out / training.system, time.time()
    pool = open_pool(config, [target], local, None)
    try:
        if training.frames_of is None:
            budget = _SPARE * (deadline - started)
            particles = min(
                config.annealing.particles, _count_affordable(config, target, pool, budget)
            )
            changed = config.exploration.model_copy(update={"particles": particles})
            config = config.model_copy(update={"exploration": changed})
        keep_origin(folder, config, target, hardware.resources(config.cluster, pool))
        if training.frames_of is None:
            found, _ = explore_or_load(config, target, pool, folder, Display(folder / "log.txt"))
            origin = f"annealing of {particles} particles"
        else:
            found = _draw_frames(systems / training.frames_of, target, pool, deadline)
            found.save(folder / EXPLORATION_FILE, exploration_key(config, target))
            origin = f"samples of {training.frames_of}, resampled by their weights"
    finally:
        pool.close()
    taken = time.time() - started
    text = f"{len(found.u)} frames in {taken:.0f} s, {origin}"
    send(Row(EXPLORATION, training.system, text, values={"seconds": taken}))


def _count_affordable(config: Config, target: Target, pool: Evaluators, budget: float) -> int:
    """Return how many particles can be annealed in about `budget` seconds, by timed energies."""
    n = 1000
    x = target.rough_samples(n, seed=0)  # the target may build a chart first
    for _ in range(2):  # the first time evaluators may have to start
        started = time.perf_counter()
        pool.evaluate(x)
        each = (time.perf_counter() - started) / n
    return max(_FEWEST, int(budget / (each * config.annealing.moves * _COSTS[config.target.kind])))


def _draw_frames(folder: Path, target: Target, pool: Evaluators, deadline: float) -> Exploration:
    """Draw frames of the target: one-step samples of a finished model, resampled."""
    theirs = load_run_config(folder)
    source = load_target(theirs)
    if source.fingerprint.identity != target.fingerprint.identity:
        raise RunFolderError(
            f"{folder} samples {source.fingerprint.identity}, and its frames are wanted for "
            f"{target.fingerprint.identity}"
        )
    sampler = load_sampler(theirs, source, folder)
    sampler.flow.to(hardware.device(theirs.cluster))
    generator, drawn, started = torch.Generator().manual_seed(0), 0, time.time()
    parts: list[Samples] = []
    while not parts or (drawn < _DRAWN and time.time() < started + 0.3 * (deadline - started)):
        parts.append(draw_samples(sampler.flow, sampler.chart, pool, _AT_ONCE, 1, generator))
        drawn += len(parts[-1].u)
    log_w = np.concatenate([part.log_w for part in parts])
    n = max(_FEWEST, int(ess(log_w) * len(log_w)))
    chosen = resample(log_w, n, np.random.default_rng(0))
    x = np.concatenate([part.x for part in parts])[chosen]
    u, grad_u = pool.evaluate(x)
    return Exploration(
        frames=x,
        u=u,
        grad_u=grad_u,
        replica=np.arange(n),
        temperatures=np.ones(1),
        exchange_acceptance=np.zeros(0),
        evaluations=drawn + n,
        restarts=0,
    )


# --- training -------------------------------------------------------------------------------


def train_system(training: Training, out: Path, local: bool, send: Send, deadline: float) -> None:
    """Train on the exploration of `explore_system`, write the model, and send its evidence."""
    started, folder = time.time(), out / training.system
    config = load_run_config(folder)
    config = config.model_copy(
        update={"cluster": config.cluster.model_copy(update={"evaluators": "auto"})}
    )
    hardware.prepare(config.cluster, local)
    target = load_target(config)
    found = Exploration.load(folder / EXPLORATION_FILE, exploration_key(config, target))
    pool = open_pool(config, [target], local, None)
    try:
        resources = hardware.resources(config.cluster, pool)
        display = Display(folder / "log.txt")
        stop_at = started + _SPARE * (deadline - started)
        model, config = _train_model(config, target, found, pool, folder, display, stop_at)
        save_sampler(folder, model)
        state = model.state
        taken = f"{state.pretrained} steps of likelihood, {state.step} with energies"
        send(Row(TRAINING, training.system, f"{taken} in {state.seconds:.0f} s; model.pt"))
        keep_origin(folder, config, target, resources)
        sampler = sampler_of(model)
        for steps in (1, 0):
            sample = config.sample
            samples, evidence = measure(
                sampler, pool, sample.n, steps, config.seed, sample.auxiliaries
            )
            write_evidence(folder / f"evidence_{steps}.json", evidence)
            values = {"ess": evidence.ess, "log_z": evidence.log_z.value}
            text = (
                f"ESS {100 * evidence.ess:.1f} +- {100 * evidence.ess_error:.1f} %, log Z "
                f"{evidence.log_z.format('')}, BAR {evidence.bar.format('')}, EUBO "
                f"{evidence.eubo.format('')}, {samples.seconds:.1f} s for {sample.n} samples"
            )
            send(Row(TRAINING, f"{training.system}, K = {steps}", text, values=values))
    finally:
        pool.close()


def _train_model(
    config: Config,
    target: Target,
    found: Exploration,
    pool: Evaluators,
    folder: Path,
    display: Display,
    stop_at: float,
) -> tuple[Model, Config]:
    """Train a model until about `stop_at`; also return the configuration with its step counts."""
    device, now = hardware.device(config.cluster), time.time()
    model = build_model(config, target, found)
    model.state.to(device)
    counts = plan_steps(copy.deepcopy(model), config, pool, stop_at - time.time())
    display.say(f"plan: {counts}")
    config = _set_counts(config, counts)
    try:
        with interruptible("its time is up"), stop_after(stop_at - time.time()):
            display.start("training")
            tasks = [model.task(folder.name, pool, folder)]
            keeper = Keeper(tasks, folder, model.identity, config.train.checkpoint_interval)
            pretrain(tasks, config.buffer_training, keeper, display.advance)
            train(tasks, config.train, keeper, display.advance)
    except Interrupted as stopped:
        display.say(f"{stopped}")
    display.say(f"{time.time() - now:.0f} s in all")
    state = model.state
    reached = {"pretraining": state.pretrained, "steps": max(1, state.step)}
    return model, _set_counts(config, reached)


def _set_counts(config: Config, counts: dict[str, int]) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=counts)})


def plan_steps(model: Model, config: Config, pool: Evaluators, budget: float) -> dict[str, int]:
    """Plan the numbers of steps for `budget` seconds; the timed steps change the model.

    Pretraining gets the time that the file's steps with energies leave; without it these get all.
    Where steps are too long to be timed, the numbers are those of the file, to be cut.
    """
    settings, started = config.buffer_training, time.time()
    try:
        with interruptible("steps are long"), stop_after(_PLANNING * budget):
            cheap = likelihood_seconds(model, settings) if settings.pretraining else 0.0
            each, total = 0.0, sum(settings.step_shares)
            for count, share in zip(STEP_COUNTS, settings.step_shares, strict=True):
                if share:
                    each += share / total * step_seconds(model, settings, count, pool)
    except Interrupted:
        return {"pretraining": settings.pretraining, "steps": settings.steps}
    left = _SURE * (budget - (time.time() - started))
    if not settings.pretraining:
        return {"pretraining": 0, "steps": max(1, int(left / each))}
    steps = max(1, min(settings.steps, int(_ENERGIES * left / each)))
    return {"pretraining": max(1, int((left - steps * each) / cheap)), "steps": steps}


@contextmanager
def stop_after(seconds: float) -> Iterator[None]:
    """Send SIGTERM to this process after some time, unless the block has ended."""
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
