"""Life and death of the actors: which can work, which are probed, and which rest.

Ray restarts an actor wherever there is room; until it answers a probe it gets no work. An actor
is in exactly one place: `ready` (its probe answered), `probes` (asked) or `resting` (failed,
asked again later). Nobody waits for an actor that is lost with its machine: it rests and is
probed for ever, and takes the first CPU that comes back. With no number asked for, one actor per
CPU is kept up as machines join.
"""

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions

from onestep_md.distributed.actor import actor_class
from onestep_md.distributed.pool import EvaluatorFactory
from onestep_md.errors import OneStepError, PoolError

PROBE_REST = (0.2, 5.0)  # s before a failed actor is asked again: at first, at most
CENSUS = 20.0  # s between looks for machines that have joined; Ray misses a lost one after 13
LOST = (
    exceptions.RayActorError,
    exceptions.ObjectLostError,
    exceptions.WorkerCrashedError,
    exceptions.OutOfMemoryError,
)


@dataclass(eq=False)
class Worker:
    """One actor as the driver sees it."""

    handle: Any
    address: tuple[str, int] | None = None  # host, process id
    queued: int = 0  # jobs in Ray's hands
    last_sign: float = 0.0  # when it last answered
    overdue: bool = False  # gets no new work until it answers something
    rest: float = PROBE_REST[0]


class Roster:
    """All actors of one pool.

    Attributes:
        wanted: number of actors, alive or not.
        ready: those that can work now.
        probes: those that have been asked whether they live.
        failures: last messages of dead actors, newest last.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        platform: str,
        workers: int | None,
        patience: float,
        pools: int = 1,
    ):
        """Create the actors. Arguments as those of `RayEvaluators`."""
        self.wanted = 0
        self.ready: list[Worker] = []
        self.probes: dict[ray.ObjectRef, Worker] = {}
        self.failures: list[str] = []
        self.patience = patience
        self._resting: list[tuple[float, Worker]] = []
        self._alone_since: float | None = None
        self._factory = factory
        self._follows_cluster = workers is None
        self._counted, self._cpus = time.monotonic(), cluster_cpus()
        count = workers or max(1, self._cpus)
        self._actor = actor_class(platform, count * pools)
        self._add(count)

    @property
    def alive(self) -> int:
        """Actors that can work now and are not overdue."""
        return sum(not worker.overdue for worker in self.ready)

    def _add(self, count: int) -> None:
        for _ in range(count):
            self._probe(Worker(self._actor.remote(self._factory)))
        self.wanted += count

    def tend(self) -> None:
        """Probe the rested actors again, and count the CPUs now and then."""
        now = time.monotonic()
        for entry in [entry for entry in self._resting if entry[0] <= now]:
            self._resting.remove(entry)
            self._probe(entry[1])
        if self._follows_cluster and now - self._counted > CENSUS:
            # An actor whose machine is gone moves to a new one by itself and counts already. Ray
            # goes on counting a lost machine for a while: a CPU counts once it was there twice.
            before, self._cpus, self._counted = self._cpus, cluster_cpus(), now
            self._add(max(0, min(before, self._cpus) - self.wanted))

    def take_probe(self, ref: ray.ObjectRef) -> None:
        """Take the answer of a probed actor, or its death.

        Raises:
            OneStepError: it lives but its evaluator cannot be built.
        """
        worker = self.probes.pop(ref)
        try:
            worker.address = ray.get(ref)
        except LOST as error:
            if getattr(error, "actor_init_failed", False):
                raise PoolError(f"an evaluator cannot be built:\n{error}") from None
            if isinstance(error, exceptions.ActorDiedError):  # Ray has given it up for good
                worker.handle = self._actor.remote(self._factory)
            self._rest(worker)
            return
        except exceptions.RayTaskError as error:
            raise user_error(error) from None
        worker.last_sign, worker.overdue, worker.rest = time.monotonic(), False, PROBE_REST[0]
        self.ready.append(worker)

    def lose(self, worker: Worker, error: Exception) -> None:
        """Take note that a job of this actor was lost."""
        self.failures = [*self.failures, str(error)][-10:]
        if worker in self.ready:  # its other jobs report the same death
            self.ready.remove(worker)
            self._rest(worker)

    def check_patience(self) -> None:
        """Raise PoolError when no actor has been able to work for too long."""
        if self.alive:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > self.patience:
            free = ray.available_resources().get("CPU", 0)
            last = f"none has started; each needs a CPU and Ray has {free:.0f} free"
            last = self.failures[-1] if self.failures else last
            raise PoolError(
                f"none of the {self.wanted} evaluators has answered for {self.patience:.0f} s "
                "(cluster.patience). Look at the cluster with `ray status`; a run that wrote a "
                f"checkpoint continues with --resume. Last message: {last}"
            )

    def close(self) -> None:
        """Kill the actors."""
        for worker in [*self.ready, *self.probes.values(), *(w for _, w in self._resting)]:
            ray.kill(worker.handle)
        self.ready, self.probes, self._resting = [], {}, []

    def _probe(self, worker: Worker) -> None:
        self.probes[worker.handle.ready.remote()] = worker

    def _rest(self, worker: Worker) -> None:
        self._resting.append((time.monotonic() + worker.rest, worker))
        worker.rest = min(2 * worker.rest, PROBE_REST[1])


def cluster_cpus() -> int:
    """CPUs of all machines that Ray believes alive, in use or not."""
    return int(ray.cluster_resources().get("CPU", 0))


def user_error(error: exceptions.RayTaskError) -> OneStepError:
    """The deliberate error of the actor's code, else a PoolError with the actor's traceback."""
    if isinstance(error.cause, OneStepError):
        return error.cause
    return PoolError(f"an evaluator failed:\n{error}")
