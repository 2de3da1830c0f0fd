"""Training by several learners, `cluster.learners`: the same loop in each, started on Ray."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from onestep_md.config import Cluster, Config, Train
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.learners import Learners
from onestep_md.distributed.pool import EvaluatorFactory, Evaluators
from onestep_md.errors import CheckpointError, ConfigError
from onestep_md.sampling.model import Model
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.training.identity import Identity
from onestep_md.training.state import TrainState
from onestep_md.training.task import Keeper, Task
from onestep_md.training.train import train


@contextmanager
def session(cluster: Cluster, local: bool, address: str | None) -> Iterator[None]:
    """One Ray for the learners and for all pools of a run; nothing where there is one learner.

    Raises:
        ConfigError: several learners without Ray, or without Ray Train.
    """
    if cluster.learners == 1:
        yield
        return
    if local:
        raise ConfigError(
            f"cluster.learners = {cluster.learners} needs Ray: leave out --local, or use one "
            "learner."
        )
    # imported late: one learner must not touch Ray Train
    from onestep_md.distributed import ray_learners  # noqa: F401 - complains if it is incomplete
    from onestep_md.distributed.connection import one_ray

    evaluators, threads = _number(cluster.evaluators), _number(cluster.learner_threads)
    with one_ray(address, cluster.learners * (threads or 1) + (evaluators or cluster.learners)):
        yield


def train_together(
    config: Config,
    model: Model,
    factory: EvaluatorFactory,
    platform: str,
    folder: Path,
    show: Callable[[float, str], None],
) -> None:
    """Train the model on Ray, within a `session` in which no other pool is open.

    Args:
        config: of the run.
        model: trained in the end.
        factory: builds one evaluator.
        platform: name of its OpenMM platform.
        folder: the run folder, on storage that the nodes of all learners see.
        show: called with fraction and status line.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
        PoolError: there is no room for the learners, or all evaluators of one are lost.
        CheckpointError: the learners do not see the same run folder.
    """
    from onestep_md.distributed.ray_learners import (
        Pools,
        divide,
        node_cpus,
        node_gpus,
        run_learners,
    )

    cluster = config.cluster
    gpus = node_gpus(cluster.learners, cluster.device)
    device = torch.device("cuda" if gpus else "cpu")
    counts = _number(cluster.learner_threads), _number(cluster.evaluators)
    threads, sizes = divide(node_cpus(), cluster.learners, *counts)
    pools = Pools(factory, platform, sizes, cluster.patience)
    folder = folder.resolve()
    home = model.state.flow.device
    model.state.to(torch.device("cpu"))  # on its way to the learners
    start = model.state, device, config.train, model.chart, folder, model.identity
    work, scratch = functools.partial(_learn, *start), folder / "ray-train"
    run_learners(work, pools, threads, gpus, scratch, show)
    saved = latest_checkpoint(folder / "checkpoints")
    if saved is None:
        raise CheckpointError(
            f"the learners have finished, but {folder} holds no checkpoint. With learners on "
            "other machines the run folder has to be on storage that all of them see."
        )
    model.state.restore(load_checkpoint(saved, model.identity))
    model.state.to(home)  # for the samples


def _learn(
    state: TrainState,
    device: torch.device,
    settings: Train,
    chart: Chart,
    folder: Path,
    identity: Identity,
    learners: Learners,
    evaluators: Evaluators,
    show: Callable[[float, str], None],
) -> None:
    """The work of one learner, also when all of them start again."""
    state.to(device)
    saved = latest_checkpoint(folder / "checkpoints")
    if saved:
        state.restore(load_checkpoint(saved, identity))
    steps = learners.gather(torch.tensor([state.step]))
    if (steps != steps[0]).any():
        raise CheckpointError(
            f"the learners find checkpoints of the steps {steps.tolist()} in {folder}. Put the "
            "run folder on storage that all their nodes see, and continue with --resume."
        )
    task = Task(
        "", state, chart, torch.empty(0), evaluators, folder
    )  # no frames: these are for pretraining
    keeper = Keeper([task], folder, identity, settings.checkpoint_interval)
    train([task], settings, keeper, show, learners=learners)


def _number(count: int | str) -> int | None:
    return count if isinstance(count, int) else None
