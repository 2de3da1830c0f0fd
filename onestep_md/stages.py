"""The first stages of a run: evaluators for its target, and what is explored of it."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from onestep_md.config import Config
from onestep_md.distributed.pool import Evaluators, open_evaluators
from onestep_md.distributed.several import several_factories
from onestep_md.errors import TargetError
from onestep_md.exploration.explored import EXPLORATION_FILE, Exploration
from onestep_md.files import replacing, write_json
from onestep_md.kinds import load_target
from onestep_md.progress import Display
from onestep_md.run_folder import load_run_config
from onestep_md.sampling.model import exploration_key
from onestep_md.sampling.sampler import NAME, Sampler, load_start
from onestep_md.sampling.start import explore_from
from onestep_md.sampling.target import Target

_START = "start.pt"  # in the folder of a run that starts from another one


def open_pool(
    config: Config,
    targets: Sequence[Target],
    local: bool,
    address: str | None,
    platform: str | None = None,
) -> Evaluators:
    """Open evaluators as the configuration asks for them.

    `distributed.shared` divides those of several targets. `platform` is the one that `auto` chose
    before: timed again it might choose another, whose energies have other last digits.
    """
    platform = platform or choose_platform(config, targets[0])
    return open_pool_on(config, targets, [platform] * len(targets), local, address)


def choose_platform(config: Config, target: Target) -> str:
    """The platform of the configuration, or the fastest one for a target."""
    if config.cluster.platform != "auto" and config.target.kind == "molecule":
        return config.cluster.platform
    return target.fastest_platform()


def open_pool_on(
    config: Config,
    targets: Sequence[Target],
    platforms: Sequence[str],
    local: bool,
    address: str | None,
) -> Evaluators:
    """Open evaluators of several targets, each on a platform of its own."""
    workers = None if config.cluster.evaluators == "auto" else config.cluster.evaluators
    factories = [t.factory(name) for t, name in zip(targets, platforms, strict=True)]
    factory = several_factories(factories)
    if not local:  # takes some seconds, on a busy machine more
        print(f"starting evaluators on Ray{f' at {address}' if address else ''}", flush=True)
    return open_evaluators(factory, platforms[0], workers, local, address, config.cluster.patience)


def may_run_code(config: Config) -> bool:
    """Whether code in the folders that a configuration names may run."""
    return config.target.kind != "density" and config.target.trust


def read_start(config: Config, target: Target, folder: Path | None) -> Sampler | None:
    """Read the flow that a run starts from, kept in its folder or still in that of another run.

    Args:
        config, target: of the run.
        folder: of the run; None before it has any.

    Returns:
        None where the configuration names no other run.

    Raises:
        TargetError: the other run has other configurations, or a flow of another architecture.
        RunFolderError: it holds no finished run, or its code may not run.
    """
    if config.exploration.method != "run":
        return None
    source = config.from_run.folder
    if folder and (folder / _START).exists():
        return load_start(config, target, folder / _START)
    other = load_target(load_run_config(source, may_run_code(config)))
    try:
        other.check_same_configurations(target)
    except TargetError as error:
        raise TargetError(
            f"exploration.from: this target does not have the configurations of {source}: {error}"
        ) from error
    return load_start(config, target, source / NAME)


def keep_start(config: Config, folder: Path) -> None:
    """Copy the flow that a run starts from into its folder, which then needs no other."""
    if config.exploration.method == "run" and not (folder / _START).exists():
        with replacing(folder / _START) as aside:
            shutil.copyfile(config.from_run.folder / NAME, aside)


def explore_or_load(
    config: Config,
    target: Target,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
    start: Sampler | None = None,
) -> tuple[Exploration, float]:
    """Explore the target, or read the exploration of an earlier time; also return its seconds.

    `start` is the flow to explore from, where the run starts from another one.
    """
    cache, key = folder / EXPLORATION_FILE, exploration_key(config, target)
    clock = folder / "exploration.json"
    if cache.exists():
        display.say(f"exploration: reusing {cache.name}")
        seconds = json.loads(clock.read_text())["seconds"] if clock.exists() else 0.0
        return Exploration.load(cache, key), seconds
    began = time.monotonic()
    display.start("exploration")
    if start:
        exploration = explore_from(start, config, target, evaluators, folder, display)
    else:
        exploration = target.explore(config, evaluators, display)
    display.stop()
    seconds = time.monotonic() - began
    exploration.save(cache, key)
    write_json(clock, {"seconds": seconds})
    for text in evaluators.gaps.warnings():
        display.say(f"WARNING {text}")
    display.say(
        f"exploration: {len(exploration.frames)} frames, {exploration.evaluations:.3g} energy "
        f"evaluations in {seconds:.0f} s"
    )
    if config.exploration.method == "dynamics":
        accepted = " ".join(f"{100 * rate:.0f} %" for rate in exploration.exchange_acceptance)
        display.say(f"exchanges accepted: {accepted}")
    for text in target.exploration_warnings(config, exploration):
        display.say(f"WARNING {text}")
    return exploration, seconds
