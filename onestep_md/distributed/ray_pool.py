"""Evaluators as Ray actors that may be killed, frozen or lost with their machine at any time.

Ray restarts actors but does not send lost work to somebody else; since every job is a pure
function of its input, the driver does. An actor is in exactly one place: `_ready` (its probe
answered; it gets work), `_probes` (asked whether it lives) or `_resting` (failed, asked again
later). A lost job goes back to the front of the queue, an overdue one gets a second copy that
races the first. The driver only acts inside `submit`, `collect` and `map_segments`, so `submit`
queues several jobs per actor: they keep computing while the learner does.
"""

import itertools
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray import exceptions

from onestep_md.distributed.actor import actor_class
from onestep_md.distributed.connection import connect
from onestep_md.distributed.pool import EvaluatorFactory
from onestep_md.errors import OneStepError, PoolError
from onestep_md.targets.evaluator import Segment, SegmentResult

JOB_SECONDS = 0.05  # aim: short enough to share out evenly, long against ~1 ms of Ray per job
SMALLEST_JOB_SECONDS = 0.004  # a job is not made smaller than this to occupy more workers
QUEUE_DEPTH = 8  # jobs per actor in Ray's hands, so that none is idle while the learner computes
FIRST_JOB = 64  # conformations per job before the first one has been timed
PROBE_REST = (0.2, 5.0)  # s before a failed actor is asked again: at first, at most
STRAGGLERS = 15.0  # s to wait at start for the other actors once the first one is there
LOST = (
    exceptions.RayActorError,
    exceptions.ObjectLostError,
    exceptions.WorkerCrashedError,
    exceptions.OutOfMemoryError,
)


@dataclass(eq=False)
class _Job:
    """A pure piece of work; `result` is set by whichever copy answers first."""

    method: str
    payload: np.ndarray | list[Segment]
    work: int  # force evaluations, the unit in which jobs of all kinds are timed
    result: Any = None


@dataclass(eq=False)
class _Worker:
    handle: Any
    address: tuple[str, int] | None = None  # host, process id
    queued: int = 0  # jobs in Ray's hands
    heard: float = 0.0  # last sign of life
    overdue: bool = False  # gets no new work until it answers something
    rest: float = PROBE_REST[0]


@dataclass(eq=False)
class _Flight:
    worker: _Worker
    job: _Job
    sent: float
    raced: bool = False


@dataclass
class PoolHealth:
    """What went wrong so far and was repaired."""

    lost: int = 0  # jobs sent again because their actor died
    raced: int = 0  # jobs sent a second time because their actor was overdue
    failures: list[str] = field(default_factory=list)  # last words of dead actors, newest last


class RayEvaluators:
    """The `Evaluators` protocol on Ray actors. See the module docstring for the design."""

    def __init__(
        self,
        factory: EvaluatorFactory,
        platform: str,
        workers: int | None,
        address: str | None = None,
        patience: float = 600.0,
        deadline: float = 30.0,
    ):
        """Start the actors and wait until one of them can work.

        Args:
            factory: builds the evaluator, called in each actor; must pickle
            platform: name of its OpenMM platform; GPUs are hidden unless it is CUDA, OpenCL, HIP
            workers: number of actors; None: one per CPU of the cluster
            address: cluster to join; None: `RAY_ADDRESS`, else a Ray of our own
            patience: seconds without any living actor before `PoolError`
            deadline: shortest time in seconds after which a job counts as overdue
        """
        self._owns_ray = connect(address, workers)
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.platform = platform
        self.evaluations = 0
        self.infinite = 0
        self.wait_seconds = 0.0
        self.health = PoolHealth()
        self._patience = patience
        self._deadline = deadline
        self._actor = actor_class(platform, self.workers)
        self._factory = factory
        self._queue: deque[_Job] = deque()
        self._tickets: dict[int, list[_Job]] = {}
        self._next_ticket = 0
        self._ready: list[_Worker] = []
        self._flights: dict[ray.ObjectRef, _Flight] = {}
        self._probes: dict[ray.ObjectRef, _Worker] = {}
        self._resting: list[tuple[float, _Worker]] = []
        self._alone_since: float | None = None
        self._pace: deque[float] = deque(maxlen=64)  # seconds per force evaluation
        for _ in range(self.workers):
            self._probe(_Worker(self._actor.remote(factory)))
        try:
            self._wait_for_actors()
        except BaseException:  # Ctrl-C too: leave no actor behind
            self.close()
            raise

    # --- the protocol -----------------------------------------------------------------------

    def submit(self, x: np.ndarray) -> int:
        """Send x (batch, atoms, 3) in nm to the actors; returns while they compute."""
        x = np.array(x, dtype=np.float64)  # a copy: the caller may reuse its array
        pieces = np.array_split(x, self._pieces(len(x)))
        jobs = [_Job("evaluate", piece, len(piece)) for piece in pieces]
        self._queue.extend(jobs)
        self._next_ticket += 1
        self._tickets[self._next_ticket] = jobs
        self._pump(timeout=0.0)
        return self._next_ticket

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """Wait for u (batch,) in kT and grad_u (batch, atoms, 3) in kT/nm, in input order."""
        started = time.perf_counter()
        jobs = self._tickets.pop(ticket)
        self._finish(jobs)
        u = np.concatenate([job.result[0] for job in jobs])
        grad_u = np.concatenate([job.result[1] for job in jobs])
        self.evaluations += len(u)
        self.infinite += int(np.isposinf(u).sum())
        self.wait_seconds += time.perf_counter() - started
        return u, grad_u

    @property
    def repairs(self) -> int:
        """Jobs done again because their actor died or was overdue."""
        return self.health.lost + self.health.raced

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and gradients of x (batch, atoms, 3)."""
        return self.collect(self.submit(x))

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """Run the segments in one contiguous group per worker; results in input order."""
        bounds = np.linspace(0, len(segments), min(self.workers, len(segments)) + 1).round()
        cuts = itertools.pairwise(bounds.astype(int))
        groups = [list(segments[start:end]) for start, end in cuts]
        jobs = [_Job("run_segments", group, sum(s.steps for s in group)) for group in groups]
        self._queue.extend(jobs)
        self._finish(jobs)
        results = [result for job in jobs for result in job.result]
        self.evaluations += sum(result.force_evaluations for result in results)
        return results

    def close(self) -> None:
        """Kill the actors, and Ray if it was started here."""
        workers = [*self._ready, *self._probes.values(), *(w for _, w in self._resting)]
        for worker in workers:
            ray.kill(worker.handle)
        self._ready, self._probes, self._resting, self._flights = [], {}, [], {}
        if self._owns_ray:
            ray.shutdown()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and process id of every actor that can work now."""
        return [worker.address for worker in self._ready if worker.address]

    # --- moving work ------------------------------------------------------------------------

    def _pieces(self, frames: int) -> int:
        """Number of jobs for a batch: equal ones, a multiple of the workers where it pays."""
        if not self._pace:
            return max(1, -(-frames // FIRST_JOB))
        seconds = frames * statistics.median(self._pace)
        rounds = max(1, round(seconds / self.workers / JOB_SECONDS))
        return int(max(1, min(rounds * self.workers, seconds // SMALLEST_JOB_SECONDS, frames)))

    def _finish(self, jobs: list[_Job]) -> None:
        while any(job.result is None for job in jobs):
            self._pump(timeout=0.2)

    def _pump(self, timeout: float) -> None:
        """Send queued jobs, take answers (waiting up to `timeout` for one), notice losses."""
        self._probe_rested()
        self._dispatch()
        pending = [*self._flights, *self._probes]
        if pending:
            done, _ = ray.wait(pending, num_returns=1, timeout=timeout)
            more, _ = ray.wait(pending, num_returns=len(pending), timeout=0.0)
            for ref in {*done, *more}:
                if ref in self._probes:
                    self._take_probe(ref)
                else:
                    self._take_answer(ref)
        else:
            time.sleep(timeout)
        self._race_overdue()
        self._check_patience()
        self._dispatch()

    def _dispatch(self) -> None:
        while self._queue:
            free = [w for w in self._ready if not w.overdue and w.queued < QUEUE_DEPTH]
            if not free:
                return
            job = self._queue.popleft()
            if job.result is not None:  # the other copy was faster
                continue
            worker = min(free, key=lambda w: w.queued)
            ref = getattr(worker.handle, job.method).remote(job.payload)
            worker.queued += 1
            self._flights[ref] = _Flight(worker, job, time.monotonic())

    def _take_answer(self, ref: ray.ObjectRef) -> None:
        flight = self._flights.pop(ref)
        worker, job = flight.worker, flight.job
        worker.queued -= 1
        try:
            result, seconds = ray.get(ref)
        except LOST as error:
            self._lose(worker, error)
            if job.result is None:
                self.health.lost += 1
                self._queue.appendleft(job)
            return
        except exceptions.RayTaskError as error:
            raise _user_error(error) from None
        worker.heard, worker.overdue = time.monotonic(), False
        if job.work:
            self._pace.append(seconds / job.work)
        if job.result is None:
            job.result = result

    def _race_overdue(self) -> None:
        """Queue a second copy of every job whose actor has been silent for too long."""
        now = time.monotonic()
        pace = statistics.median(self._pace) if self._pace else 0.0
        for flight in list(self._flights.values()):
            limit = max(self._deadline, 10.0 * pace * flight.job.work)
            if now - max(flight.sent, flight.worker.heard) > limit:
                flight.worker.overdue = True
            if flight.worker.overdue and not flight.raced and flight.job.result is None:
                flight.raced = True
                self.health.raced += 1
                self._queue.appendleft(flight.job)

    # --- life and death of actors -----------------------------------------------------------

    def _probe(self, worker: _Worker) -> None:
        self._probes[worker.handle.ready.remote()] = worker

    def _probe_rested(self) -> None:
        now = time.monotonic()
        for entry in [entry for entry in self._resting if entry[0] <= now]:
            self._resting.remove(entry)
            self._probe(entry[1])

    def _take_probe(self, ref: ray.ObjectRef) -> None:
        worker = self._probes.pop(ref)
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
            raise _user_error(error) from None
        worker.heard, worker.overdue, worker.rest = time.monotonic(), False, PROBE_REST[0]
        self._ready.append(worker)

    def _lose(self, worker: _Worker, error: Exception) -> None:
        self.health.failures = [*self.health.failures, str(error)][-10:]
        if worker in self._ready:  # its other jobs report the same death
            self._ready.remove(worker)
            self._rest(worker)

    def _rest(self, worker: _Worker) -> None:
        self._resting.append((time.monotonic() + worker.rest, worker))
        worker.rest = min(2 * worker.rest, PROBE_REST[1])

    def _wait_for_actors(self) -> None:
        """Until all actors are there, or one is and the others are late."""
        started = time.monotonic()
        while len(self._ready) < self.workers:
            self._pump(timeout=0.2)
            if self._ready and time.monotonic() - started > STRAGGLERS:
                return

    def _check_patience(self) -> None:
        if any(not worker.overdue for worker in self._ready):
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > self._patience:
            free = ray.available_resources().get("CPU", 0)
            last = f"none has started; each needs a CPU and Ray has {free:.0f} free"
            last = self.health.failures[-1] if self.health.failures else last
            raise PoolError(
                f"none of the {self.workers} evaluators has answered for {self._patience:.0f} s "
                "(cluster.patience). Look at the cluster with `ray status`; a run that wrote a "
                f"checkpoint continues with --resume. Last message: {last}"
            )


def _user_error(error: exceptions.RayTaskError) -> OneStepError:
    """What the actor's code raised on purpose, else a PoolError with the actor's traceback."""
    if isinstance(error.cause, OneStepError):
        return error.cause
    return PoolError(f"an evaluator failed:\n{error}")
