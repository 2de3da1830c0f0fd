"""The pool against a stand-in evaluator, with actors killed and frozen on purpose."""

import functools
import os
import signal
import threading
import time

import numpy as np
import pytest

from onestep_md.distributed.jobs import blocks, cut, number_of_jobs
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.errors import PoolError, TargetError
from onestep_md.targets.densities import build_density
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.evaluator import Segment, SegmentResult

ATOMS = 3


class Slow:
    """Closed-form energy u = |x|^2 / 2, a pause per frame; no gradient where a number is 7."""

    def __init__(self, pause=0.0, fail_with=None):
        self.pause, self.fail_with = pause, fail_with

    def evaluate(self, x):
        time.sleep(self.pause * len(x))
        if self.fail_with and (x == 99.0).any():
            raise self.fail_with("x is 99")
        u, grad_u = 0.5 * (x**2).sum((1, 2)), x.copy()
        bad = ~np.isfinite(u)
        u[bad], grad_u[bad] = np.inf, 0.0
        grad_u[(x == 7.0).any((1, 2))] = np.nan
        return u, grad_u

    def run_segment(self, segment):
        noise = np.random.default_rng(segment.seed).normal(size=segment.positions.shape)
        end = segment.positions + noise
        u, grad_u = self.evaluate(end[None])
        return SegmentResult(end, noise, u[0], end[None], u, grad_u, segment.steps + 1, True)


class Refusing:
    def __init__(self):
        raise TargetError("no such platform")


def frames(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, ATOMS, 3))


def segments(n):
    x = frames(n)
    return [Segment(x[i], None, 300.0, 10, 2.0, 1.0, 10, seed=i) for i in range(n)]


@pytest.fixture(scope="module")
def ray_here():
    ray = pytest.importorskip("ray")
    if not ray.is_initialized():
        ray.init(
            address="local",
            num_cpus=3,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
        )
    yield
    ray.shutdown()


@pytest.fixture
def open_pool(ray_here):
    from onestep_md.distributed.ray_pool import RayEvaluators

    opened = []

    def open_(pause=0.0, workers=2, factory=None, fail_with=None, **options):
        factory = factory or functools.partial(Slow, pause, fail_with)
        opened.append(RayEvaluators(factory, "Reference", workers, **options))
        return opened[-1]

    yield open_
    for pool in opened:
        pool.close()


def assert_matches_serial(pool, n=300):
    x = frames(n)
    u, grad_u = pool.evaluate(x)
    expected_u, expected_grad = SerialEvaluators(Slow, "Reference").evaluate(x)
    np.testing.assert_array_equal(u, expected_u)
    np.testing.assert_array_equal(grad_u, expected_grad)


def test_serial_counts_evaluations_and_frames_without_gradient():
    pool = SerialEvaluators(Slow, "Reference")
    x = frames(7)
    x[2, 0, 0], x[4, 0, 0] = np.nan, 7.0
    ticket = pool.submit(x)
    x[:] = 0.0  # the pool must hold its own copy
    u, grad_u = pool.collect(ticket)
    assert np.isposinf(u[2]) and np.isfinite(np.delete(u, 2)).all() and (u[:2] > 0).all()
    assert (grad_u[2] == 0).all()
    pool.map_segments(segments(2))
    assert (pool.evaluations, pool.gaps.gradients) == (7 + 2 * 11, 1)


@pytest.mark.cluster
@pytest.mark.parametrize("workers", [1, 2])
def test_equals_serial_for_any_number_of_workers(open_pool, workers):
    pool, serial = open_pool(workers=workers), SerialEvaluators(Slow, "Reference")
    x = frames(301)
    x[[0, 17, 300], 1] = np.nan
    x[[3, 18], 1] = 7.0
    tickets = [pool.submit(x), pool.submit(x[:1]), pool.submit(x[:0]), pool.submit(x[5:90])]
    parts = [x, x[:1], x[:0], x[5:90]]
    for k in (3, 0, 2, 1):  # collected in another order than submitted
        u, grad_u = pool.collect(tickets[k])
        expected_u, expected_grad = serial.evaluate(parts[k])
        np.testing.assert_array_equal(u, expected_u)
        np.testing.assert_array_equal(grad_u, expected_grad)
    for mine, theirs in zip(
        pool.map_segments(segments(5)), serial.map_segments(segments(5)), strict=True
    ):
        np.testing.assert_array_equal(mine.positions, theirs.positions)
        assert mine.u_end == theirs.u_end
    assert pool.evaluations == serial.evaluations == 301 + 1 + 85 + 5 * 11
    assert pool.gaps.gradients == serial.gaps.gradients == 2 + 1
    assert pool.map_segments([]) == []


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["seeds", "lj13_f1"])
def test_densities_are_equal_to_the_last_bit_for_any_number_of_workers(open_pool, name):
    factory = functools.partial(DensityEvaluator, functools.partial(build_density, name, None))
    serial = SerialEvaluators(factory, "torch")
    dim = factory().density.dim
    sizes = (1000, 700, 64, 2 * 64 + 1, 1)
    batches = [np.random.default_rng(n).normal(size=(n, dim)) for n in sizes]
    batches[0][[5, 70]] = np.nan
    expected = [serial.evaluate(x) for x in batches]
    for workers in (1, 2, 3):
        pool = open_pool(workers=workers, factory=factory)
        for _ in range(2):  # the second time jobs have been timed, and are cut otherwise
            for x, (u, grad_u) in zip(batches, expected, strict=True):
                ours = pool.evaluate(x)
                np.testing.assert_array_equal(ours[0], u)
                np.testing.assert_array_equal(ours[1], grad_u)
        pool.close()


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000, 20_000])
def test_blocks_of_a_density_depend_on_the_batch_alone(n):
    x = np.arange(2 * n).reshape(n, 2)
    expected = blocks(x)
    assert len(expected) <= 32 and all(len(part) >= 64 for part in expected[:-1])
    for jobs in (1, 2, 3, 7, 100):
        payloads = cut(x, jobs)
        assert len(payloads) == min(jobs, len(expected)) and all(payloads)
        found = [part for payload in payloads for part in payload]
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.cluster
def test_work_runs_on_all_actors_after_submit(open_pool):
    pool = open_pool(pause=0.005)
    wait_for_both(pool)
    pool.evaluate(frames(200))  # times the jobs
    waited = pool.wait_seconds
    assert waited > 0.3
    ticket = pool.submit(frames(200, seed=1))
    assert len({flight.worker for flight in pool._flights.values()}) == 2
    time.sleep(1.0)  # the driver computes, and so do two actors, 0.5 s each
    pool.collect(ticket)
    assert pool.wait_seconds - waited < 0.2


@pytest.mark.cluster
def test_queues_last_for_as_long_as_the_driver_is_away(open_pool):
    pool = open_pool(pause=0.02)
    wait_for_both(pool)
    pool.evaluate(frames(40))  # times the jobs

    def step():  # 1.6 s for each of two actors, in jobs of 40 to 60 ms
        ticket = pool.submit(frames(160))
        time.sleep(1.5)
        started = time.monotonic()
        pool.collect(ticket)
        return time.monotonic() - started

    assert step() > 0.8  # 8 jobs each last for 0.4 s, then the actors are idle
    assert step() < 0.6


def wait_for_both(pool):
    """Until two actors answer; on a busy machine one may be late."""
    deadline = time.monotonic() + 60.0
    while len(pool.addresses) < 2 and time.monotonic() < deadline:
        assert_matches_serial(pool, 10)


@pytest.mark.cluster
def test_killed_evaluator_mid_batch_loses_nothing(open_pool):
    pool = open_pool(pause=0.002)
    victim = pool.addresses[0][1]
    timer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    timer.start()
    assert_matches_serial(pool, 600)
    assert pool.repairs >= pool.health.lost >= 1
    assert pool.evaluations == 600
    wait_for_both(pool)  # the actor comes back in a new process
    assert len(pool.addresses) == 2 and victim not in [pid for _, pid in pool.addresses]


@pytest.mark.cluster
def test_last_job_lost_while_the_other_actor_is_idle(open_pool):
    pool = open_pool(pause=0.6)
    for _ in range(2):
        ticket = pool.submit(frames(1))  # one job, on one of the two
        working = next(f.worker.address[1] for f in pool._flights.values())
        os.kill(working, signal.SIGKILL)
        u, _ = pool.collect(ticket)
        np.testing.assert_array_equal(u, Slow().evaluate(frames(1))[0])
    assert pool.health.lost == 2


@pytest.mark.cluster
def test_frozen_actor_is_overtaken_and_returns(open_pool):
    pool = open_pool(pause=0.001, deadline=1.5)
    frozen = pool.addresses[0][1]
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert_matches_serial(pool, 200)
        assert pool.health.raced >= 1
        counted = pool.evaluations
    finally:
        os.kill(frozen, signal.SIGCONT)
    time.sleep(1.0)
    assert_matches_serial(pool, 50)  # late answers of the thawed actor are ignored
    assert pool.evaluations == counted + 50
    assert not any(worker.overdue for worker in pool._roster.ready)


@pytest.mark.cluster
def test_all_evaluators_lost_is_a_pool_error_after_the_patience(open_pool):
    pool = open_pool(pause=0.001, deadline=0.5)
    wait_for_both(pool)
    pool._roster.patience = 1.0  # only now: the actors took longer to start
    pids = [pid for _, pid in pool.addresses]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(PoolError, match="none of the 2 evaluators .* --resume"):
        pool.evaluate(frames(50))
    assert time.monotonic() - started < 5.0
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.cluster
def test_errors_in_the_actors_code_stop_with_their_own_message(open_pool):
    x = np.full((1, ATOMS, 3), 99.0)
    with pytest.raises(PoolError, match="ValueError: x is 99"):
        open_pool(workers=1, fail_with=ValueError).evaluate(x)
    with pytest.raises(TargetError, match="^x is 99$"):
        open_pool(workers=1, fail_with=TargetError).evaluate(x)
    with pytest.raises(TargetError, match="no such platform\n.*evaluator on "):
        open_pool(workers=1, factory=Refusing)


@pytest.mark.cluster
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "10.0.0.5"])
def test_unreachable_address_is_a_pool_error_within_seconds(monkeypatch, address):
    import ray

    from onestep_md.distributed.connection import connect

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(PoolError, match=address):
        connect(address, 1)


def test_job_sizes_follow_the_pace_and_the_number_of_workers():
    assert number_of_jobs(1024, 2, 4e-5) == 2  # 41 ms of work: one job each
    assert number_of_jobs(1024, 2, 4e-4) == 8  # 410 ms: four jobs of 51 ms each
    assert number_of_jobs(1024, 64, 4e-5) == 10  # jobs of 4 ms; 64 would be mostly overhead
    assert number_of_jobs(1, 2, 4e-5) == 1
    assert number_of_jobs(3, 2, 10.0) == 3  # never an empty job
    # 2048 workers, 4 conformations of 0.6 s each: 8192 jobs would keep the driver busy for 8 s
    assert number_of_jobs(8192, 2048, 0.6) == 2048
    assert number_of_jobs(1024, 2, None) == 16  # nothing has been timed
