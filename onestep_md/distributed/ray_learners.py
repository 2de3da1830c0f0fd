"""Several learners as workers of Ray Train, each with a pool of evaluators of its own.

Ray Train places the learners, connects them by torch.distributed, and starts all of them again
when one is lost; the work itself finds the checkpoint to continue from. Driver and learners pass
messages through a `Board`: progress one way, a request to stop the other, and final errors.
"""

import shutil
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from onestep_md.distributed.group import Group, PeerLost, join, open_store
from onestep_md.distributed.learners import Learners
from onestep_md.distributed.pool import EvaluatorFactory, Evaluators
from onestep_md.distributed.ray_pool import RayEvaluators
from onestep_md.errors import ConfigError, Interrupted, OneStepError, PoolError
from onestep_md.interruption import StopRequest

try:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
    from ray.train.backend import Backend, BackendConfig
    from ray.train.torch import TorchConfig, TorchTrainer
except ImportError as error:
    raise ConfigError(
        "cluster.learners: more than one needs Ray Train, which is not complete here. Install it "
        'with pip install -e ".[cluster]", or use one learner.'
    ) from error

STARTS = 100  # lost learners that are replaced before the run gives up
GOODBYE = 90.0  # s that the learners have to write a checkpoint when the run is asked to stop

Show = Callable[[float, str], None]
Work = Callable[[Learners, Evaluators, Show], None]


class _Gloo(TorchConfig):
    """How Ray Train connects the learners, by a port that is bound as soon as it is chosen."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _GlooBackend


class _GlooBackend(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Connect all workers, at every start of them."""
        world = len(worker_group)
        host = worker_group.execute_single(0, ray.util.get_node_ip_address)
        port = worker_group.execute_single(0, open_store, host, world)
        ray.get(
            [
                worker_group.execute_single_async(rank, join, host, port, rank, world)
                for rank in range(world)
            ]
        )


class Board:
    """Messages between the driver and the first learner; an actor beside the driver."""

    def __init__(self):
        self._progress, self._stop, self._error = (0.0, ""), False, None

    def exchange(self, fraction: float, message: str) -> bool:
        """Take the learners' progress and return whether they shall stop."""
        self._progress = (fraction, message)
        return self._stop

    def stop(self) -> None:
        """Ask the learners to stop."""
        self._stop = True

    def end(self, error: OneStepError) -> None:
        """Remember the first error that ends the run."""
        self._error = self._error or error

    def read(self) -> tuple[tuple[float, str], OneStepError | None]:
        """Progress, and the error that ended the run."""
        return self._progress, self._error


@dataclass(frozen=True)
class Pools:
    """The evaluators of all learners.

    Attributes:
        factory: builds one, where it is called.
        platform: name of its OpenMM platform.
        sizes: number of evaluators of each learner.
        patience: seconds without any living evaluator after which a learner gives up.
    """

    factory: EvaluatorFactory
    platform: str
    sizes: Sequence[int]
    patience: float


def divide(
    cpus: Sequence[int], learners: int, threads: int | None, evaluators: int | None
) -> tuple[int, list[int]]:
    """Threads of every learner and sizes of their pools; learners are placed first.

    Args:
        cpus: CPUs of every node.
        learners: how many.
        threads: of each; None: half of the CPUs that fall to a learner, on one node.
        evaluators: in all; None: one per CPU that the learners leave.

    Raises:
        PoolError: there is no room for the learners, or none for their evaluators.
    """
    if threads is None:
        threads = max(1, min(max(cpus), sum(cpus) // learners) // 2)
    if sum(n // threads for n in cpus) < learners:
        raise PoolError(
            f"there is no room for {learners} learners (cluster.learners) with {threads} CPUs "
            f"each (cluster.learner_threads): the CPUs of the nodes in Ray are {list(cpus)}."
        )
    left = sum(cpus) - learners * threads
    if evaluators is None and left < learners:
        raise PoolError(
            f"{learners} learners (cluster.learners) with {threads} CPUs each leave {left} of "
            f"Ray's {sum(cpus)} CPUs, and every learner needs at least one evaluator."
        )
    size, more = divmod(left if evaluators is None else evaluators, learners)
    return threads, [size + (rank < more) for rank in range(learners)]


def node_cpus() -> list[int]:
    """CPUs of every node with CPUs."""
    counts = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return [int(count) for count in counts if count >= 1]


def node_gpus(learners: int, device: str) -> bool:
    """Whether every learner gets a GPU of Ray's; device is auto, cpu or cuda.

    Raises:
        PoolError: they are asked for, and there are too few.
    """
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if device == "cuda" and gpus < learners:
        raise PoolError(
            f"cluster.device: cuda needs a GPU for each of {learners} learners, and Ray has "
            f"{gpus}. Use fewer learners, or cluster.device: cpu."
        )
    return device != "cpu" and gpus >= learners


def run_learners(
    work: Work, pools: Pools, threads: int, gpus: bool, scratch: Path, show: Show
) -> None:
    """Do the work in as many learners as there are pools, until all have returned.

    When a learner is lost all of them start again; the work begins with the newest checkpoint.

    Args:
        work: called in every learner; the first may show its progress. Must pickle.
        pools: the evaluators of the learners.
        threads: CPU threads of a learner, reserved in Ray.
        gpus: whether each of them gets a GPU.
        scratch: for Ray Train's own files, on storage that all nodes see; removed in the end.
        show: called here with the progress.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived.
        OneStepError: any that a learner raises; it is not tried again.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    trainer = TorchTrainer(
        lambda: _learn(work, pools, threads, board),
        torch_config=_Gloo(),
        scaling_config=ScalingConfig(
            num_workers=len(pools.sizes),
            use_gpu=gpus,
            resources_per_worker={"CPU": threads} | ({"GPU": 1} if gpus else {}),
        ),
        run_config=RunConfig(
            name="learners",
            storage_path=str(scratch.resolve()),
            failure_config=FailureConfig(max_failures=STARTS),
        ),
    )
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # Ray Train wraps what the workers raised
            failed.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    try:
        with StopRequest() as stop:
            thread.start()
            _watch(thread, stop, board, show)
        _, error = ray.get(board.read.remote())
    finally:
        ray.kill(board)
        shutil.rmtree(scratch, ignore_errors=True)
    if error:
        raise error
    if failed:
        raise PoolError(f"the learners failed for good:\n{failed[0]}") from failed[0]


def _watch(thread: threading.Thread, stop: StopRequest, board: Any, show: Show) -> None:
    """Pass on progress and the request to stop until the thread ends."""
    asked = None
    while thread.is_alive():
        thread.join(0.2)
        if stop.requested and asked is None:
            asked = time.monotonic()
            ray.get(board.stop.remote())
        if asked is not None and time.monotonic() - asked > GOODBYE:
            raise Interrupted(
                f"stopped; the learners did not answer within {GOODBYE:.0f} s, so that the steps "
                "since the last checkpoint are lost.\n  Continue with --resume."
            )
        (fraction, message), _ = ray.get(board.read.remote())
        if message:  # training has started
            show(fraction, message)


def _learn(work: Work, pools: Pools, threads: int, board: Any) -> None:
    """Work as one worker of Ray Train."""
    if ray.get(board.read.remote())[1]:
        return  # the run has ended with an error; the driver raises it
    rank = get_context().get_world_rank()
    torch.set_num_threads(threads)
    stopping = False

    def show(fraction: float, message: str) -> None:
        nonlocal stopping
        stopping = ray.get(board.exchange.remote(fraction, message))

    try:
        evaluators = RayEvaluators(
            pools.factory,
            pools.platform,
            pools.sizes[rank],
            patience=pools.patience,
            pools=len(pools.sizes),
        )
        try:
            work(Group(lambda: stopping), evaluators, show)
        finally:
            evaluators.close()
    except PeerLost:
        raise  # Ray Train starts all learners again
    except Interrupted as error:
        ray.get(board.end.remote(error))
    except OneStepError as error:
        ray.get(board.end.remote(error))
        raise
    except Exception as error:
        where = f"learner {rank} on {socket.gethostname()}"
        text = f"{where} failed:\n{''.join(traceback.format_exception(error))}"
        ray.get(board.end.remote(PoolError(text)))
        raise
