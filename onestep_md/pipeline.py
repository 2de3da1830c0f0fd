"""The stages of a run in order: target, evaluators, exploration, chart, training, results.

Called by the command line once the configuration is known to be valid. Every stage leaves its
result in the run folder, so that `--resume` repeats nothing that is done.
"""

from pathlib import Path

import numpy as np

from onestep_md.analysis.report.page import write_report
from onestep_md.analysis.trajectories import write_trajectory
from onestep_md.config import Config
from onestep_md.distributed.pool import Evaluators, present
from onestep_md.errors import RunFolderError, TargetError
from onestep_md.files import write_json
from onestep_md.interruption import interruptible
from onestep_md.progress import Display
from onestep_md.results.density import write_density_results, write_samples
from onestep_md.results.evidence import evidence_table, measure
from onestep_md.results.molecule import write_results
from onestep_md.run_folder import check_folder, keep_origin, load_run_config, recorded_platform
from onestep_md.sampling.model import Model, Target, build_model, exploration_key, load_trained
from onestep_md.sampling.sampler import load_sampler, save_sampler
from onestep_md.stages import (
    describe,
    explored,
    factory_of,
    load_target,
    open_pool,
)
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.evaluator import PotentialEvaluator, time_platforms
from onestep_md.targets.molecule import Molecule
from onestep_md.train import OUTSIDE, train
from onestep_md.train_on_ray import session, train_together
from onestep_md.training import hardware
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.training.likelihood import pretrain

# torch takes 32 bits of a seed: those of `sample` are the upper half, those of runs the lower one
_MORE = 2**31


def check(config: Config, local: bool) -> None:
    """Validate everything short of computing: print the target, one energy and the plan."""
    display = Display()
    target = load_target(config)
    for line in describe(target):
        display.say(line)
    if isinstance(target, Molecule):
        choice = time_platforms(target)
        platform = choice.name if config.cluster.platform == "auto" else config.cluster.platform
        u, grad_u = PotentialEvaluator(target, platform).evaluate(target.positions[None])
        display.say(f"energy of the input geometry: u = {u[0]:.3f} kT on {platform}")
        display.say(f"largest force: {np.abs(grad_u).max():.1f} kT/nm")
        display.say(f"platform: {choice}")
    else:
        u, _ = DensityEvaluator(target.build).evaluate(np.zeros((1, target.density.dim)))
        display.say(f"energy of the origin: u = {u[0]:.6g}")
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
        f"      {explored}{training:.2g} energy "
        f"evaluations in training, {sampling:.2g} for the results"
    )


def run(config: Config, folder: Path, resume: bool, local: bool, address: str | None) -> None:
    """All stages; everything that is already in the folder is reused."""
    check_folder(folder, resume)
    hardware.prepare(config.cluster, local)
    target = load_target(config)
    message = (
        f"stopped; what is finished is saved in {folder}, the rest begins again.\n"
        "  Continue with --resume."
    )
    with interruptible(message), session(config.cluster, local, address):
        _run_stages(config, target, folder, local, address)


def _run_stages(
    config: Config, target: Target, folder: Path, local: bool, address: str | None
) -> None:
    evaluators = open_pool(config, target, local, address, recorded_platform(folder))
    resources = hardware.resources(config.cluster, evaluators)
    resumed = (folder / "config.yaml").exists()
    if not resumed:  # only now: an error before this point leaves no half-made run folder behind
        keep_origin(folder, config, target, resources)
    display = Display(folder / "log.txt")
    try:
        for line in describe(target):
            display.say(line)
        display.say(
            f"evaluators: {present(evaluators)} on {evaluators.platform}; "
            f"{hardware.describe(config.cluster, local)}, float32, weights in float64"
        )
        pretrained = _pretrained(config, target)
        if pretrained is not None:  # one chart for both
            exploration, seconds = pretrained.exploration, 0.0
            exploration.save(folder / "exploration.npz", exploration_key(config, target))
        else:
            exploration, seconds = explored(config, target, evaluators, folder, display)
        model = build_model(config, target, exploration)
        model.state.to(hardware.device(config.cluster))
        if config.train.method != "buffer" and model.chart.n_circular:
            raise TargetError(
                f"train.method: {config.train.method} simulates paths on R^n, and this target has "
                f"{model.chart.n_circular} rotatable torsions. Use train.method: buffer."
            )
        saved = latest_checkpoint(folder / "checkpoints")
        if saved:
            model.state.restore(load_checkpoint(saved, model.identity))
            display.say(f"continuing from {saved.name}")
        if resumed:  # only now: a run of something else stays as it is
            keep_origin(folder, config, target, resources)
        if model.state.step < config.train.steps:
            _trained(config, target, model, pretrained, evaluators, folder, display)
            if config.cluster.learners > 1:  # evaluators had to leave their CPUs to the learners
                evaluators = open_pool(config, target, local, address, evaluators.platform)
        save_sampler(folder, model)

        display.say()
        write = write_results if isinstance(target, Molecule) else write_density_results
        write(config, target, model, evaluators, folder, display, seconds)
        if evaluators.repairs:
            display.say(
                f"evaluators: {evaluators.repairs} jobs were lost with an evaluator, or overdue, "
                "and done again; no result is missing"
            )
    finally:
        evaluators.close()
        display.stop()
    display.say(f"report: {write_report(folder)}")
    display.close()


def draw_more(
    run_folder: Path,
    n: int,
    steps: int,
    out: Path,
    seed: int,
    local: bool,
    address: str | None,
    trust: bool = False,
) -> None:
    """Draw n K-step samples from a finished run into the folder `out`.

    `trust` tells whether code that the run folder holds may run.
    """
    if out.exists() and any(out.iterdir()):
        raise RunFolderError(f"{out} is not empty; choose another folder with --out")
    config = load_run_config(run_folder, trust)
    display = Display()
    target = load_target(config)
    sampler = load_sampler(config, target, run_folder)
    sampler.flow.to(hardware.device(config.cluster))
    hardware.prepare(config.cluster, local)
    evaluators = open_pool(config, target, local, address)
    try:
        samples, evidence = measure(
            sampler, evaluators, n, steps, _MORE + seed, config.sample.auxiliaries
        )
    finally:
        evaluators.close()
    if isinstance(target, Molecule):
        generator = np.random.default_rng(seed)
        write_trajectory(
            out, target.pdb_text, samples.x, samples.log_w, samples.u, samples.log_q, generator
        )
    else:
        write_samples(out, samples)
    write_json(out / "evidence.json", evidence.as_dict())
    for line in (*evidence_table([evidence]), *evidence.warnings()):
        display.say(line)
    display.say(f"{n} samples in {samples.seconds:.1f} s: {out}")


def _pretrained(config: Config, target: Target) -> Model | None:
    """The sampler that train.teacher names, checked to be of the same target."""
    if config.train.method != "cdds":
        return None
    folder = Path(config.train.teacher)
    trust = config.target.kind != "density" and config.target.trust
    theirs = load_run_config(folder, trust)
    source = load_target(theirs)
    if source.fingerprint.identity != target.fingerprint.identity:
        raise TargetError(
            f"train.teacher: {folder} samples {source.fingerprint.identity}, this run "
            f"{target.fingerprint.identity}. Distil a run of the same target."
        )
    if theirs.train.method != "buffer" and theirs.train.grid != config.train.grid:
        raise TargetError(
            f"train.teacher: {folder} learned its small steps at the times of train.grid: "
            f"{theirs.train.grid}, and this run has {config.train.grid}. Make them the same."
        )
    return load_trained(theirs, source, folder)


def _trained(
    config: Config,
    target: Target,
    model: Model,
    pretrained: Model | None,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
) -> None:
    state, chart, show = model.state, model.chart, display.advance
    size = sum(p.numel() for p in state.flow.parameters())
    display.say(f"chart: {chart}\nflow: {size:,} parameters")
    display.start("training")
    if config.train.method == "buffer":
        frames = model.training_frames
        pretrain(state, config.train, chart, frames, folder, model.identity, show)
    if config.cluster.learners > 1:
        evaluators.close()  # learners are placed first, and open their own
        factory = factory_of(target, evaluators.platform)
        train_together(config, model, factory, evaluators.platform, folder, show)
    else:
        if pretrained:
            pretrained.state.to(state.flow.device)
        teacher = pretrained.state.teacher if pretrained else None
        train(state, config.train, chart, evaluators, folder, model.identity, show, teacher)
    display.stop()
    display.say(
        f"training: {state.step} steps, {state.evaluations:.3g} energy evaluations in "
        f"{state.seconds:.0f} s"
    )
    if state.walled:
        display.say(
            f"bounded support: in {state.walled} of these steps more than "
            f"{100 * OUTSIDE:.0f} % of the samples lay outside; they taught the likelihood alone"
        )
    for text in evaluators.gaps.warnings():
        display.say(f"WARNING {text}")


def _dynamics_evaluations(config: Config) -> float:
    run = config.dynamics
    return run.duration * 1000.0 / run.timestep * len(run.temperatures)
