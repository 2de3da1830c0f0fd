"""Several molecules, one network: explored one by one, trained in turn, sampled one by one.

The networks of `flow.molecular` belong to no molecule, so the flows of all molecules share them;
charts, buffers and random numbers are each one's own. Called by the command line where `target` is
a list. Every molecule has a run folder of its own in that of the run.
"""

import json
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from onestep_md.analysis.report.page import write_report
from onestep_md.config import BufferTraining, Cluster, Config, several_text
from onestep_md.distributed.learners import Alone
from onestep_md.distributed.pool import Evaluators, present
from onestep_md.distributed.shared import SharedEvaluators
from onestep_md.errors import Interrupted, PoolError
from onestep_md.estimators.estimate import stored_ess
from onestep_md.files import write_text
from onestep_md.interruption import interruptible
from onestep_md.progress import Display
from onestep_md.results.molecule import write_results
from onestep_md.run_folder import check_folder, keep_origin, recorded_platform
from onestep_md.sampling.model import Model, build_model
from onestep_md.sampling.sampler import save_sampler
from onestep_md.stages import describe, explored, load_target, open_pool
from onestep_md.targets.molecule import Molecule
from onestep_md.train import train_step
from onestep_md.training import hardware
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from onestep_md.training.identity import Identity
from onestep_md.training.likelihood import METRICS, Likelihood
from onestep_md.training.monitor import Monitor
from onestep_md.training.schedule import learning_rate
from onestep_md.training.state import TrainState


def run(
    configs: dict[str, Config], folder: Path, resume: bool, local: bool, address: str | None
) -> None:
    """All stages for all molecules; what is already in the folder is reused.

    Args:
        configs: of every molecule, by its name; they differ in the target alone.
    """
    check_folder(folder, resume)
    config = next(iter(configs.values()))
    hardware.prepare(config.cluster, local)
    targets = {name: load_target(c) for name, c in configs.items()}
    message = (
        f"stopped; what is finished is saved in {folder}, the rest begins again.\n"
        "  Continue with --resume."
    )
    with interruptible(message), _one_ray(config.cluster, local, address):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", several_text(list(configs.values())))
        display = Display(folder / "log.txt")
        try:
            models, seconds = {}, {}
            for name, target in targets.items():
                models[name], seconds[name] = _begun(
                    configs[name], target, folder / name, local, address, display
                )
            _share(list(models.values()))
            _trained(config, targets, models, folder, local, address, display)
            for name, model in models.items():
                _finished(
                    configs[name], targets[name], model, folder / name, local, address, display,
                    seconds[name],
                )  # fmt: skip
        finally:
            display.stop()
    for line in summary(folder, list(configs)):
        display.say(line)
    display.close()


def _one_ray(cluster: Cluster, local: bool, address: str | None) -> AbstractContextManager[None]:
    """One Ray for all the pools, which come one after the other."""
    if local:
        return nullcontext()
    # imported late: --local must not touch Ray
    from onestep_md.distributed.connection import one_ray

    return one_ray(address, 1 if cluster.evaluators == "auto" else cluster.evaluators)


def _begun(
    config: Config,
    target: Molecule,
    folder: Path,
    local: bool,
    address: str | None,
    display: Display,
) -> tuple[Model, float]:
    """One molecule up to its untrained model, and the seconds that its exploration took."""
    evaluators = open_pool(config, target, local, address, recorded_platform(folder))
    try:
        keep_origin(folder, config, target, hardware.resources(config.cluster, evaluators))
        for line in describe(target):
            display.say(line)
        exploration, seconds = explored(config, target, evaluators, folder, display)
    finally:
        evaluators.close()
    model = build_model(config, target, exploration)
    model.state.to(hardware.device(config.cluster))
    display.say(f"chart: {model.chart}")
    return model, seconds


def _share(models: list[Model]) -> None:
    """One set of networks, one average of them and one optimizer for all models."""
    first = models[0].state
    for model in models[1:]:
        model.state.flow.share(first.flow)
        model.state.teacher.share(first.teacher)
        model.state.optimizer = first.optimizer


def _trained(
    config: Config,
    targets: dict[str, Molecule],
    models: dict[str, Model],
    folder: Path,
    local: bool,
    address: str | None,
    display: Display,
) -> None:
    """Pretraining and training of all molecules, or what is left of them."""
    settings, states = config.train, {name: model.state for name, model in models.items()}
    identity = {"molecules": [model.identity for model in models.values()]}
    keeper = _Keeper(states, folder, identity, settings.checkpoint_interval, display)
    keeper.restore()
    if all(state.step >= settings.steps for state in states.values()):
        return
    size = sum(p.numel() for p in next(iter(states.values())).flow.parameters())
    display.say(f"flow: {size:,} parameters, shared by {', '.join(states)}")
    platform = recorded_platform(folder / next(iter(targets)))
    pool = open_pool(config, tuple(targets.values()), local, address, platform)
    display.say(
        f"evaluators: {present(pool)} on {pool.platform}, for all molecules; "
        f"{hardware.describe(config.cluster, local)}, float32, weights in float64"
    )
    display.start("training")
    try:
        with keeper.learners:
            _pretrain_in_turn(models, config.buffer_training, folder, keeper)
            _train_in_turn(models, config.buffer_training, pool, folder, keeper)
    finally:
        pool.close()
    display.stop()
    for name, state in states.items():
        display.say(
            f"training of {name}: {state.step} steps, {state.evaluations:.3g} energy evaluations "
            f"in {state.seconds:.0f} s"
        )


class _Keeper:
    """Keeps the states of all molecules in one checkpoint: they share what they have learned."""

    def __init__(
        self,
        states: dict[str, TrainState],
        folder: Path,
        identity: Identity,
        interval: float,
        display: Display,
    ):
        self.states, self.folder, self.identity = states, folder, identity
        self.interval, self.display = interval, display
        self.learners = Alone()
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        saved = latest_checkpoint(self.folder / "checkpoints")
        if saved:
            for name, dump in load_checkpoint(saved, self.identity).items():
                self.states[name].restore(dump)
            self.display.say(f"continuing from {saved.name}")

    def save(self) -> None:
        dumps = {name: state.dump() for name, state in self.states.items()}
        step = max(state.step for state in self.states.values())
        save_checkpoint(self.folder / "checkpoints", step, dumps, self.identity)
        self._saved_at = time.monotonic()

    def after_step(self, fraction: float, line: str) -> None:
        """Show it; save now and then, and where the run is asked to stop."""
        self.display.advance(fraction, line)
        stop = self.learners.stop_requested()
        if stop or time.monotonic() - self._saved_at > self.interval:
            self.save()
        if stop:
            raise Interrupted(
                f"stopped; everything is saved in {self.folder}.\n  Continue with --resume."
            )


def _pretrain_in_turn(
    models: dict[str, Model], settings: BufferTraining, folder: Path, keeper: _Keeper
) -> None:
    """Always a step of the molecule that has had the fewest."""
    states, steps = keeper.states, settings.pretraining
    if not steps or any(state.step > 0 for state in states.values()):
        return
    likelihoods = {
        name: Likelihood(
            model.state, settings, model.chart, model.training_frames, folder / name / METRICS
        )
        for name, model in models.items()
    }
    while min(state.pretrained for state in states.values()) < steps:
        name = min(states, key=lambda each: states[each].pretrained)
        loss, done = likelihoods[name].step(), states[name].pretrained
        line = f"{name}: pretraining {done}/{steps}  -log likelihood {loss:.2f}"
        keeper.after_step(done / steps, line)
    for state in states.values():
        state.teacher.load_state_dict(state.flow.state_dict())
    keeper.save()


def _train_in_turn(
    models: dict[str, Model],
    settings: BufferTraining,
    pool: Evaluators,
    folder: Path,
    keeper: _Keeper,
) -> None:
    """Always a step of the molecule that has had the fewest."""
    states, steps = keeper.states, settings.steps
    shared = {name: SharedEvaluators(pool, i) for i, name in enumerate(models)}
    monitors = {
        name: Monitor(state, shared[name], folder / name / "metrics.jsonl", steps)
        for name, state in states.items()
    }
    while min(state.step for state in states.values()) < steps:
        name = min(states, key=lambda each: states[each].step)
        state, chart = states[name], models[name].chart
        state.optimizer.rate = learning_rate(state.peak_rate, state.step, steps)
        draws = state.generator.get_state()
        monitors[name].start()
        try:
            info = train_step(state, settings, chart, shared[name], keeper.learners)
        except PoolError:
            # of what a checkpoint holds, the broken step has changed the generator alone
            state.generator.set_state(draws)
            keeper.save()
            raise
        keeper.after_step(state.step / steps, f"{name}: {monitors[name].record(info)}")
    keeper.save()


def _finished(
    config: Config,
    target: Molecule,
    model: Model,
    folder: Path,
    local: bool,
    address: str | None,
    display: Display,
    seconds: float,
) -> None:
    """Sampler, results and report of one molecule."""
    save_sampler(folder, model)
    display.say(f"\n{folder.name}")
    evaluators = open_pool(config, target, local, address, recorded_platform(folder))
    try:
        write_results(config, target, model, evaluators, folder, display, seconds)
    finally:
        evaluators.close()
    display.say(f"report: {write_report(folder)}")


def summary(folder: Path, names: list[str]) -> list[str]:
    """One line per molecule and number of steps."""
    lines = ["", f"{'molecule':<20} {'K':>3}  ESS"]
    for name in names:
        results = json.loads((folder / name / "results.json").read_text())
        for row in results["evidence"]:
            lines.append(f"{name:<20} {row['steps']:>3}  {stored_ess(row)}")
    return lines
