"""The stages of a run in order: targets, evaluators, exploration, charts, training, results.

One target is a list of one. Several molecules share one network: they are explored one by one,
trained in turn, and sampled one by one, each in a run folder of its own. Every stage leaves its
result in the run folder, so that `--resume` repeats nothing that is done.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.report.page import write_report
from onestep_md.budget import Budget, check_budget
from onestep_md.config import Config, several_text
from onestep_md.distributed.pool import Evaluators, present
from onestep_md.distributed.shared import SharedEvaluators
from onestep_md.errors import TargetError
from onestep_md.estimators.estimate import percent_text
from onestep_md.exploration.explored import EXPLORATION_FILE
from onestep_md.files import write_text
from onestep_md.flow.molecular import MolecularFlow
from onestep_md.interruption import interruptible
from onestep_md.kinds import load_target
from onestep_md.progress import Display
from onestep_md.results.refined import refine_run
from onestep_md.run_folder import check_folder, keep_origin, load_run_config, recorded_platform
from onestep_md.sampling.model import Model, build_model, exploration_key, load_trained
from onestep_md.sampling.sampler import Sampler, sampler_of, save_sampler
from onestep_md.sampling.target import Target
from onestep_md.stages import (
    explore_or_load,
    keep_start,
    may_run_code,
    open_pool,
    read_start,
)
from onestep_md.train_on_ray import session, train_together
from onestep_md.training import hardware
from onestep_md.training.identity import Identity
from onestep_md.training.likelihood import pretrain
from onestep_md.training.task import Keeper, Task
from onestep_md.training.train import OUTSIDE, train


@dataclass(frozen=True)
class Job:
    """One target of a run with its configuration and run folder."""

    name: str
    config: Config
    target: Target
    folder: Path


def check(configs: dict[str, Config], local: bool, minutes: float | None) -> None:
    """Validate everything short of computing: print targets, one energy of each, and the plan."""
    display = Display()
    if minutes is not None:
        check_budget(minutes, list(configs.values()))
    for config in configs.values():
        target = load_target(config)
        asked = config.cluster.platform
        for line in target.describe():
            display.say(line)
        start = read_start(config, target, folder=None)
        if start:
            display.say(f"start: {config.from_run.folder}, {start.chart}")
        for line in target.check_energy(None if asked == "auto" else asked):
            display.say(line)
        wanted = config.cluster.evaluators
        count = "one per CPU that Ray has" if wanted == "auto" else str(wanted)
        where = "this process" if local else f"Ray evaluators ({count})"
        display.say(f"plan: energies in {where}, {hardware.describe(config.cluster, local)}")
        training = config.train.steps * config.train.batch
        sampling = sum(config.sample.count(steps) for steps in config.sample.steps)
        explored = ""
        if config.exploration.method == "dynamics":
            explored = f"{_dynamics_evaluations(config):.2g} energy evaluations of dynamics, "
        display.say(
            f"      {explored}{training:.2g} energy evaluations in training, "
            f"{sampling:.2g} for the results"
        )
        if minutes:
            display.say(f"      --minutes {minutes:g} changes the first two, by a measurement")


def run(
    configs: dict[str, Config],
    folder: Path,
    resume: bool,
    local: bool,
    address: str | None,
    minutes: float | None = None,
) -> None:
    """Run all stages; everything that is already in the folder is reused.

    Args:
        configs: of every target, by its name; they differ in the target alone.
        folder: of the run; several targets have folders of their own in it.
        resume: continue what is there.
        local: compute energies in this process.
        address: of a Ray cluster, see `open_evaluators`.
        minutes: of a new run; how long it explores and trains is chosen by them.
    """
    check_folder(folder, resume)
    budget = Budget.open(folder, minutes, resume)
    if budget:
        check_budget(budget.minutes, list(configs.values()))
        configs = {name: budget.apply(config) for name, config in configs.items()}
    config = next(iter(configs.values()))
    hardware.prepare(config.cluster, local)
    jobs = [
        Job(name, each, load_target(each), folder if len(configs) == 1 else folder / name)
        for name, each in configs.items()
    ]
    message = (
        f"stopped; what is finished is saved in {folder}, the rest begins again.\n"
        "  Continue with --resume."
    )
    with interruptible(message), session(config.cluster, local, address):
        _run_stages(config, jobs, folder, local, address, budget)


def _run_stages(
    config: Config,
    jobs: list[Job],
    folder: Path,
    local: bool,
    address: str | None,
    budget: Budget | None,
) -> None:
    targets = [job.target for job in jobs]
    start = read_start(config, targets[0], folder)
    with ExitStack() as stack:
        pool = open_pool(config, targets, local, address, recorded_platform(jobs[0].folder))
        stack.callback(lambda: pool.close())  # the last one, if there are several
        resources = hardware.resources(config.cluster, pool)
        resumed = (folder / "config.yaml").exists()
        explored = (folder / EXPLORATION_FILE).exists()
        # only now: an error before this point leaves no half-made run folder behind
        if not resumed:
            if budget:
                budget = budget.plan_exploration(config, targets[0], pool)
                config, jobs = _within(budget, jobs)
            _keep_origins(jobs, folder, resources, budget)
        display = Display(folder / "log.txt")
        stack.callback(display.stop)
        for line in (line for target in targets for line in target.describe()):
            display.say(line)
        display.say(
            f"evaluators: {present(pool)} on {pool.platform}; "
            f"{hardware.describe(config.cluster, local)}, float32, weights in float64"
        )
        if budget:
            display.say(str(budget))
        keep_start(config, folder)
        teacher = _load_teacher(config, targets[0])
        evaluators, models, seconds = _divide_pool(pool, jobs), {}, {}
        for job, energies in zip(jobs, evaluators, strict=True):
            models[job.name], seconds[job.name] = _prepare(job, teacher, start, energies, display)
        _share_networks(list(models.values()))
        tasks = [
            models[job.name].task(job.name, energies, job.folder)
            for job, energies in zip(jobs, evaluators, strict=True)
        ]
        identities = [model.identity for model in models.values()]
        identity: Identity = identities[0] if len(jobs) == 1 else {"molecules": identities}
        keeper = Keeper(tasks, folder, identity, config.train.checkpoint_interval)
        saved = keeper.restore()
        if saved:
            display.say(f"continuing from {saved}")
        if budget and "train" not in budget.chosen:
            before = seconds[jobs[0].name] if explored else 0.0
            budget = budget.plan_training(config, tasks[0], before)
            config, jobs = _within(budget, jobs)
            display.say(str(budget))
        if resumed or budget:  # only after the checkpoint matched: another run is left untouched
            _keep_origins(jobs, folder, resources, budget)
        if any(task.state.step < config.train.steps for task in tasks):
            _train(config, jobs, models, tasks, keeper, teacher, pool, display)
            if config.cluster.learners > 1:  # the pool had to leave its CPUs to the learners
                pool = open_pool(config, targets, local, address, pool.platform)
                evaluators = [pool]
        for job, energies in zip(jobs, evaluators, strict=True):
            display.say(f"\n{job.name}" if len(jobs) > 1 else "")
            _write_results(job, models[job.name], energies, seconds[job.name], display)
        if pool.repairs:
            display.say(
                f"evaluators: {pool.repairs} jobs were lost with an evaluator, or overdue, "
                "and done again; no result is missing"
            )
    for job in jobs:
        display.say(f"report: {write_report(job.folder)}")
    if len(jobs) > 1:
        for line in summary(folder, [job.name for job in jobs]):
            display.say(line)
    display.close()


def _within(budget: Budget, jobs: list[Job]) -> tuple[Config, list[Job]]:
    """The configuration and the only job of a run with what its budget has chosen."""
    (job,) = jobs
    config = budget.apply(job.config)
    return config, [dataclasses.replace(job, config=config)]


def _keep_origins(
    jobs: Sequence[Job], folder: Path, resources: dict, budget: Budget | None
) -> None:
    """Keep what the run is made from, and the list of targets where there are several."""
    for job in jobs:
        keep_origin(job.folder, job.config, job.target, resources)
    if len(jobs) > 1:
        write_text(folder / "config.yaml", several_text([job.config for job in jobs]))
    if budget:
        budget.keep(folder)


def _divide_pool(pool: Evaluators, jobs: Sequence[Job]) -> list[Evaluators]:
    """Give every target evaluators of its own, which may be the same pool."""
    if len(jobs) == 1:
        return [pool]
    return [SharedEvaluators(pool, which) for which in range(len(jobs))]


def _prepare(
    job: Job,
    teacher: Model | None,
    start: Sampler | None,
    evaluators: Evaluators,
    display: Display,
) -> tuple[Model, float]:
    """Take one target up to its untrained model; also return the seconds of its exploration."""
    config = job.config
    if teacher is not None:  # one chart for both
        exploration, seconds = teacher.exploration, 0.0
        exploration.save(job.folder / EXPLORATION_FILE, exploration_key(config, job.target))
    else:
        exploration, seconds = explore_or_load(
            config, job.target, evaluators, job.folder, display, start
        )
    model = build_model(config, job.target, exploration, start)
    model.state.to(hardware.device(config.cluster))
    display.say(f"chart: {model.chart}")
    if config.train.method != "buffer" and model.chart.n_circular:
        raise TargetError(
            f"train.method: {config.train.method} simulates paths on R^n, and this target has "
            f"{model.chart.n_circular} rotatable torsions. Use train.method: buffer."
        )
    return model, seconds


def _share_networks(models: Sequence[Model]) -> None:
    """Give all models one set of networks, one average of them and one optimizer."""
    first = models[0].state
    for model in models[1:]:
        for own, shared in (
            (model.state.flow, first.flow),
            (model.state.teacher, first.teacher),
        ):
            assert isinstance(own, MolecularFlow) and isinstance(shared, MolecularFlow)
            own.use_networks_of(shared)
        model.state.optimizer = first.optimizer


def _train(
    config: Config,
    jobs: Sequence[Job],
    models: dict[str, Model],
    tasks: Sequence[Task],
    keeper: Keeper,
    teacher: Model | None,
    pool: Evaluators,
    display: Display,
) -> None:
    """Take what is left of pretraining and training; several learners end the pool."""
    size = sum(p.numel() for p in tasks[0].state.flow.parameters())
    shared = f", shared by {', '.join(task.name for task in tasks)}" if len(tasks) > 1 else ""
    display.say(f"flow: {size:,} parameters{shared}")
    display.start("training")
    if config.train.method == "buffer":
        pretrain(tasks, config.buffer_training, keeper, display.advance)
    if config.cluster.learners > 1:
        pool.close()  # learners are placed first, and open their own
        (job,) = jobs
        factory, model = job.target.factory(pool.platform), models[job.name]
        train_together(config, model, factory, pool.platform, job.folder, display.advance)
    else:
        flow = None
        if teacher is not None:
            teacher.state.to(tasks[0].state.flow.device)
            flow = teacher.state.teacher
        train(tasks, config.train, keeper, display.advance, flow)
    display.stop()
    for task in tasks:
        _report_training(task, len(tasks) > 1, display)


def _report_training(task: Task, several: bool, display: Display) -> None:
    state, name = task.state, f" of {task.name}" if several else ""
    display.say(
        f"training{name}: {state.step} steps, {state.evaluations:.3g} energy evaluations in "
        f"{state.seconds:.0f} s"
    )
    if state.walled:
        display.say(
            f"bounded support: in {state.walled} of these steps more than "
            f"{100 * OUTSIDE:.0f} % of the samples lay outside; they taught the likelihood alone"
        )
    for text in task.evaluators.gaps.warnings():
        display.say(f"WARNING {text}")


def _write_results(
    job: Job, model: Model, evaluators: Evaluators, seconds: float, display: Display
) -> None:
    """Keep the sampler and write what its samples tell; the exploration took so many seconds."""
    save_sampler(job.folder, model)
    job.target.write_results(job.config, model, evaluators, job.folder, display, seconds)
    if job.config.sample.refine:
        refine_run(job.config, job.target, sampler_of(model), evaluators, job.folder, display)


def summary(folder: Path, names: list[str]) -> list[str]:
    """One line per molecule and number of steps."""
    lines = ["", f"{'molecule':<20} {'K':>3}  ESS"]
    for name in names:
        for row in read_results(folder / name).evidence:
            ess = percent_text(row.reverse_ess, row.ess_error_known)
            lines.append(f"{name:<20} {row.steps:>3}  {ess}")
    return lines


def _load_teacher(config: Config, target: Target) -> Model | None:
    """Load the sampler that train.teacher names, checked to be of the same target."""
    if config.train.method != "cdds":
        return None
    folder = Path(config.train.teacher)
    origin = load_run_config(folder, may_run_code(config))
    source = load_target(origin)
    if source.fingerprint.identity != target.fingerprint.identity:
        raise TargetError(
            f"train.teacher: {folder} samples {source.fingerprint.identity}, this run "
            f"{target.fingerprint.identity}. Distil a run of the same target."
        )
    if origin.train.method != "buffer" and origin.train.grid != config.train.grid:
        raise TargetError(
            f"train.teacher: {folder} learned its small steps at the times of train.grid: "
            f"{origin.train.grid}, and this run has {config.train.grid}. Make them the same."
        )
    return load_trained(origin, source, folder, read_start(origin, source, folder))


def _dynamics_evaluations(config: Config) -> float:
    run = config.dynamics
    return run.duration * 1000.0 / run.timestep * len(run.temperatures)
