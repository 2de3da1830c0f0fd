"""Evaluators as Ray actors that may be killed, frozen or lost with their machine at any time.

Ray restarts actors but does not send lost work to somebody else; since every job is a pure
function of its input, the driver does. A lost job goes back to the front of the queue, an overdue
one gets a second copy that races the first. The driver only acts inside `submit`, `collect` and
`map_segments`, so `submit` queues jobs for as long as the learner was away last time: the actors
compute while it does. Which of them can work is the business of `roster`.
"""

import itertools
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ray
from ray import exceptions

from onestep_md.distributed.connection import connect
from onestep_md.distributed.jobs import SMALLEST_JOB_SECONDS, Job, cut, number_of_jobs
from onestep_md.distributed.metrics import RunMetrics
from onestep_md.distributed.pool import EvaluatorFactory
from onestep_md.distributed.roster import LOST, Roster, Worker, cluster_cpus, user_error
from onestep_md.targets.evaluator import Segment, SegmentResult
from onestep_md.targets.gaps import Gaps

QUEUE_DEPTH = 8  # jobs per actor in Ray's hands, at least
LONGEST_QUEUE = 64  # jobs per actor in Ray's hands when the driver goes away to compute
STRAGGLERS = 15.0  # s to wait at start for the other actors once the first one is there


@dataclass(eq=False)
class _Flight:
    worker: Worker
    job: Job
    sent: float
    raced: bool = False


@dataclass
class PoolHealth:
    """Repairs so far."""

    lost: int = 0  # jobs sent again because their actor died
    raced: int = 0  # jobs sent a second time because their actor was overdue


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
        pools: int = 1,
    ):
        """Start the actors and wait until those that the cluster has CPUs for can work.

        Args:
            factory: builds the evaluator, called in each actor; must pickle.
            platform: its name; GPUs are hidden unless it is one of `actor.GPU_PLATFORMS`.
            workers: number of actors; more than there are CPUs wait for CPUs to come. None: one
                per CPU of the cluster, and more when machines join.
            address: cluster to join; None: `RAY_ADDRESS`, else a private Ray.
            patience: seconds without any living actor before `PoolError`.
            deadline: shortest time in seconds after which a job counts as overdue.
            pools: number of pools of about this size that divide the GPUs of the cluster.
        """
        self._owns_ray = connect(address, workers)
        self.platform = platform
        self.evaluations = 0
        self.gaps = Gaps()
        self.wait_seconds = 0.0
        self.health = PoolHealth()
        self._deadline = deadline
        self._queue: deque[Job] = deque()
        self._tickets: dict[int, list[Job]] = {}
        self._next_ticket = 0
        self._flights: dict[ray.ObjectRef, _Flight] = {}
        self._pace: deque[float] = deque(maxlen=64)  # seconds per force evaluation
        self._job_seconds: deque[float] = deque(maxlen=64)
        self._left = self._away = 0.0  # when the driver last went away, and for how long
        self._metrics = RunMetrics()
        self._roster = Roster(factory, platform, workers, patience, pools)
        try:
            self._wait_for_actors()
        except BaseException:  # Ctrl-C too: leave no actor behind
            self.close()
            raise

    # --- the protocol -----------------------------------------------------------------------

    def submit(self, x: np.ndarray) -> int:
        """Send x (batch, atoms, 3) in nm to the actors; returns while they compute."""
        x = np.array(x, dtype=np.float64)  # a copy: the caller may reuse its array
        pace = statistics.median(self._pace) if self._pace else None
        payloads = cut(x, number_of_jobs(len(x), max(1, self.alive), pace))
        jobs = [Job("evaluate", parts, sum(map(len, parts))) for parts in payloads]
        self._queue.extend(jobs)
        self._next_ticket += 1
        self._tickets[self._next_ticket] = jobs
        self._pump(timeout=0.0)
        self._dispatch(self._queue_until_back())
        self._left = time.monotonic()
        return self._next_ticket

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """Wait for u (batch,) in kT and grad_u (batch, atoms, 3) in kT/nm, in input order."""
        started = time.perf_counter()
        self._away = time.monotonic() - self._left
        jobs = self._tickets.pop(ticket)
        self._finish(jobs)
        u = np.concatenate([job.result[0] for job in jobs])
        grad_u = np.concatenate([job.result[1] for job in jobs])
        self.evaluations += len(u)
        self.gaps.count(np.concatenate([part for job in jobs for part in job.payload]), grad_u)
        self.wait_seconds += time.perf_counter() - started
        return u, grad_u

    @property
    def workers(self) -> int:
        """Number of actors, alive or not."""
        return self._roster.wanted

    @property
    def alive(self) -> int:
        """Actors that can work now."""
        return self._roster.alive

    @property
    def repairs(self) -> int:
        """Jobs done again because their actor died or was overdue."""
        return self.health.lost + self.health.raced

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and gradients of x (batch, atoms, 3)."""
        return self.collect(self.submit(x))

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """Run the segments in one contiguous group per worker; results in input order."""
        count = min(max(1, self.alive), len(segments))
        bounds = np.linspace(0, len(segments), count + 1).round()
        cuts = itertools.pairwise(bounds.astype(int))
        groups = [list(segments[start:end]) for start, end in cuts]
        jobs = [Job("run_segments", group, sum(s.steps for s in group)) for group in groups]
        self._queue.extend(jobs)
        self._finish(jobs)
        results = [result for job in jobs for result in job.result]
        self.evaluations += sum(result.force_evaluations for result in results)
        return results

    def publish(self, values: dict[str, float]) -> None:
        """Export these and the pool's own numbers; see `metrics`."""
        own = {
            "evaluations": self.evaluations,
            "evaluators_alive": self.alive,
            "jobs_redispatched": self.repairs,
        }
        self._metrics.publish(values | own)

    def close(self) -> None:
        """Kill the actors, and Ray if it was started here."""
        self._roster.close()
        self._flights = {}
        if self._owns_ray:
            ray.shutdown()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and process id of every actor that can work now."""
        return [worker.address for worker in self._roster.ready if worker.address]

    # --- moving work ------------------------------------------------------------------------

    def _finish(self, jobs: list[Job]) -> None:
        while any(job.result is None for job in jobs):
            self._pump(timeout=0.2)

    def _pump(self, timeout: float) -> None:
        """Send queued jobs, take answers (waiting up to `timeout` for one), notice losses."""
        self._roster.tend()
        self._dispatch()
        pending = [*self._flights, *self._roster.probes]
        if pending:
            done, _ = ray.wait(pending, num_returns=1, timeout=timeout)
            more, _ = ray.wait(pending, num_returns=len(pending), timeout=0.0)
            for ref in {*done, *more}:
                if ref in self._roster.probes:
                    self._roster.take_probe(ref)
                else:
                    self._take_answer(ref)
        else:
            time.sleep(timeout)
        self._race_overdue()
        self._roster.check_patience()
        self._dispatch()

    def _queue_until_back(self) -> int:
        """Jobs per actor that last for as long as the driver was away last time."""
        if not self._job_seconds:
            return QUEUE_DEPTH
        job = max(statistics.median(self._job_seconds), SMALLEST_JOB_SECONDS)
        return min(QUEUE_DEPTH + round(self._away / job), LONGEST_QUEUE)

    def _dispatch(self, depth: int = QUEUE_DEPTH) -> None:
        while self._queue:
            free = [w for w in self._roster.ready if not w.overdue and w.queued < depth]
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
            self._roster.lose(worker, error)
            if job.result is None:
                self.health.lost += 1
                self._queue.appendleft(job)
            return
        except exceptions.RayTaskError as error:
            raise user_error(error) from None
        worker.last_sign, worker.overdue = time.monotonic(), False
        self._job_seconds.append(seconds)
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
            if now - max(flight.sent, flight.worker.last_sign) > limit:
                flight.worker.overdue = True
            if flight.worker.overdue and not flight.raced and flight.job.result is None:
                flight.raced = True
                self.health.raced += 1
                self._queue.appendleft(flight.job)

    def _wait_for_actors(self) -> None:
        """Wait until all actors that have a CPU can work, or one can and the others are late."""
        started = time.monotonic()
        while self.alive < max(1, min(self.workers, cluster_cpus())):
            self._pump(timeout=0.2)
            if self.alive and time.monotonic() - started > STRAGGLERS:
                return
