"""The evaluator pool against bare loops, its scaling against a model, and the driver's memory.

Every ratio is taken between measurements
that alternate within this run, so that other work on the machine meets both.
"""

import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from onestep_md.benchmark.large_system import implicit_solvent_seconds
from onestep_md.benchmark.throughput_model import Throughput
from onestep_md.config import load_config
from onestep_md.distributed.connection import one_ray
from onestep_md.distributed.pool import EvaluatorFactory, SerialEvaluators
from onestep_md.distributed.ray_pool import RayEvaluators
from onestep_md.progress import Display
from onestep_md.run_folder import machine, machine_line
from onestep_md.targets.evaluator import Segment
from onestep_md.targets.molecule import Molecule, load_molecule
from onestep_md.targets.platforms import make_evaluator, time_platforms

WORKERS = (1, 2, 4, 8)
PAUSE = 0.02  # s per energy of the slow target
SLOW_FRAMES = 960
STEP_FRAMES = 160  # of the simulated training step
LEARNER = 0.6  # s per simulated training step
ROUNDS = 5  # of every ratio; the median counts
ROUND_SECONDS = 1.0  # of one serial loop
BATCHES = (1_000, 2_500, 5_000, 7_500, 10_000)  # the driver's memory is read after so many
LARGE_ATOMS, NODES, NODE_EVALUATORS = 5_000, (1, 8, 64), 32


class SleepingEvaluator:
    """u = |x|^2 / 2 after a pause per conformation: a slow target that needs no processor."""

    def __init__(self, pause: float):
        self.pause = pause

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (batch,) and gradients of x (batch, atoms, 3)."""
        if self.pause:
            time.sleep(self.pause * len(x))
        return 0.5 * (x**2).sum((1, 2)), x


def measure_throughput(system: Path) -> list[str]:
    """Measure, and format the results, the table of the model and its prediction in Markdown."""
    display = Display()
    config = load_config(system)
    molecule = load_molecule(config.molecule, config.folder, config.molecule.trust)
    platform = time_platforms(molecule).name
    factory = functools.partial(make_evaluator, molecule, platform)
    display.start("throughput")
    with one_ray("local", max(WORKERS)):
        rows = _time_bare_loops(molecule, factory, platform, display)
        display.advance(0.3, "equal results")
        rows += _compare_results(molecule, factory, platform)
        display.advance(0.4, "costs of a job")
        costs = _measure_job_costs()
        display.advance(0.5, "slow target")
        scaling, ratio = slow_target_table(costs, display)
        display.advance(0.8, "memory of the driver")
        rows += [
            f"| slow target ({1000 * PAUSE:.0f} ms), {WORKERS[-1]} evaluators / "
            f"{WORKERS[0]} | {ratio:.2f} |"
        ]
        rows += _measure_driver_memory(display)
    display.advance(0.98, f"an energy of {LARGE_ATOMS} atoms")
    prediction = _predict(costs)
    display.stop()
    head = [machine_line(machine()), "", "| quantity | measured |", "|---|---|"]
    return [*head, *rows, "", *scaling, "", *prediction]


def _draw_frames(molecule: Molecule, count: int) -> np.ndarray:
    """Draw conformations (count, atoms, 3) in nm around the input geometry."""
    generator = np.random.default_rng(0)
    return molecule.positions + generator.normal(0.0, 0.003, (count, *molecule.positions.shape))


# --- bare loops -----------------------------------------------------------------------------

_loop: Callable[[], object]  # of a process of bare loops


def _prepare_loop(factory: EvaluatorFactory, x: np.ndarray) -> None:
    global _loop
    _loop = functools.partial(factory().evaluate, x)
    _loop()


def _run_loop() -> None:
    _loop()


def _time_bare_loops(
    molecule: Molecule, factory: EvaluatorFactory, platform: str, display: Display
) -> list[str]:
    """Time pool, as many bare loops and one serial loop in turns on the same conformations."""
    count = os.cpu_count() or 1
    serial = factory()
    pace = _seconds(lambda: serial.evaluate(_draw_frames(molecule, 500))) / 500
    x = _draw_frames(molecule, count * round(ROUND_SECONDS / pace))
    share = len(x) // count
    context = multiprocessing.get_context("spawn")
    prepare = (factory, x[:share])
    executor = ProcessPoolExecutor(count, context, _prepare_loop, prepare)
    pool = RayEvaluators(factory, platform, count)
    rates = []
    with executor:
        _run_together(executor, count)  # builds every process's evaluator
        _complete(pool, x)
        for done in range(ROUNDS):
            display.advance(0.02 + 0.25 * done / ROUNDS, f"{count} bare loops and the pool")
            rates.append(
                (
                    len(x) / _seconds(lambda: pool.evaluate(x)),
                    count * share / _seconds(lambda: _run_together(executor, count)),
                    share / _seconds(lambda: serial.evaluate(x[:share])),
                )
            )
    pool.close()
    pooled, bare, alone = (statistics.median(column) for column in zip(*rates, strict=True))
    over_bare = statistics.median(p / b for p, b, _ in rates)
    over_serial = statistics.median(p / s for p, _, s in rates)
    bare_over_serial = statistics.median(b / s for _, b, s in rates)
    return [
        f"| one serial loop, {len(molecule.elements)} atoms, {platform} | {alone:,.0f} / s |",
        f"| {count} bare loops | {bare:,.0f} / s |",
        f"| pool of {count} evaluators | {pooled:,.0f} / s |",
        f"| pool / bare loops | {over_bare:.3f} |",
        f"| pool / serial loop | {over_serial:.2f} (bare loops: {bare_over_serial:.2f}) |",
    ]


def _run_together(executor: ProcessPoolExecutor, count: int) -> None:
    for future in [executor.submit(_run_loop) for _ in range(count)]:
        future.result()


# --- equal results --------------------------------------------------------------------------


def _compare_results(molecule: Molecule, factory: EvaluatorFactory, platform: str) -> list[str]:
    """Compare energies, gradients and dynamics bit for bit for several numbers of evaluators."""
    x = _draw_frames(molecule, 1500)
    segments = [
        Segment(molecule.positions, None, 300.0, 200, 1.0, 1.0, 50, seed) for seed in range(6)
    ]

    def results(evaluators) -> list[np.ndarray]:
        parts = [*evaluators.evaluate(x)]
        for result in evaluators.map_segments(segments):
            parts += [result.positions, result.velocities, result.frames, result.u]
        return parts

    expected = results(SerialEvaluators(factory, platform))
    verdicts = []
    for workers in (1, 2, 4):
        pool = RayEvaluators(factory, platform, workers)
        found = results(pool)
        pool.close()
        same = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        verdicts.append(f"{workers}: {'identical' if same else 'DIFFERENT'}")
    return [f"| results against in-process, by evaluators | {', '.join(verdicts)} |"]


# --- scaling --------------------------------------------------------------------------------


def _measure_job_costs() -> Throughput:
    """Measure the costs of the slow target, from jobs without energies and from one loop."""
    frame = _seconds(lambda: SleepingEvaluator(PAUSE).evaluate(np.zeros((50, 1, 3)))) / 50
    pool = RayEvaluators(functools.partial(SleepingEvaluator, 0.0), "none", 2)
    small, large = np.zeros((1, 1, 3)), np.zeros((8, LARGE_ATOMS, 3))

    def stream_seconds(x: np.ndarray, jobs: int) -> float:
        started = time.perf_counter()
        for ticket in [pool.submit(x) for _ in range(jobs)]:
            pool.collect(ticket)
        return (time.perf_counter() - started) / jobs

    _complete(pool, small)
    stream_seconds(small, 100)
    job = stream_seconds(small, 1000)
    per_large = stream_seconds(large, 200)
    latency = statistics.median(_seconds(lambda: pool.evaluate(small)) for _ in range(200))
    pool.close()
    byte = max(0.0, per_large - job) / (2 * large.nbytes)
    return Throughput(frame, job, byte, latency, atoms=1)


def slow_target_table(costs: Throughput, display: Display) -> tuple[list[str], float]:
    """Lines of the slow target's table, and the ratio of most evaluators to one.

    Args:
        costs: of the slow target, what the predictions are made with
        display: for the progress
    """
    lines = [
        f"Slow target, {1000 * PAUSE:.0f} ms per energy; {SLOW_FRAMES} energies in a batch, and "
        f"training steps of {STEP_FRAMES} energies beside a learner that takes {LEARNER} s.",
        f"Costs measured: {1000 * costs.frame:.2f} ms per energy, {1000 * costs.job:.2f} ms per "
        f"job, {1e9 * costs.byte:.2f} ns per byte, latency {1000 * costs.latency:.1f} ms.",
        "",
        "| evaluators | batch, predicted | measured | step, predicted | measured |",
        "|---|---|---|---|---|",
    ]
    measured = {}
    for i, workers in enumerate(WORKERS):
        display.advance(0.5 + 0.07 * i, f"slow target, {workers} evaluators")
        pool = RayEvaluators(functools.partial(SleepingEvaluator, PAUSE), "none", workers)
        _complete(pool, np.zeros((8 * workers, 1, 3)))
        x = np.zeros((SLOW_FRAMES, 1, 3))
        measured[workers] = _seconds(functools.partial(pool.evaluate, x))
        for repeat in range(4):
            if repeat == 1:  # the pool has seen how long the learner is away
                started = time.perf_counter()
            ticket = pool.submit(x[:STEP_FRAMES])
            time.sleep(LEARNER)
            pool.collect(ticket)
        step = (time.perf_counter() - started) / 3
        pool.close()
        lines.append(
            f"| {workers} | {costs.batch_seconds(SLOW_FRAMES, workers):.3f} s | "
            f"{measured[workers]:.3f} s | {costs.step_seconds(STEP_FRAMES, workers, LEARNER):.3f} "
            f"s | {step:.3f} s |"
        )
    return lines, measured[WORKERS[0]] / measured[WORKERS[-1]]


def _predict(costs: Throughput) -> list[str]:
    """Apply the model to a large molecule on many nodes, whose energy is timed here."""
    frame = implicit_solvent_seconds(LARGE_ATOMS)
    large = Throughput(frame, costs.job, costs.byte, costs.latency, LARGE_ATOMS)
    lines = [
        f"Prediction: {LARGE_ATOMS} atoms in implicit solvent without cutoff, {1000 * frame:.0f} "
        f"ms per energy on one core of this machine, {large.frame_bytes / 1000:.0f} kB to and "
        f"fro; {NODE_EVALUATORS} evaluators per node, 4 energies per evaluator in a batch.",
        "",
        "| nodes | evaluators | batch | energies/s | of ideal | driver busy | limited by |",
        "|---|---|---|---|---|---|---|",
    ]
    for nodes in NODES:
        workers = nodes * NODE_EVALUATORS
        frames = 4 * workers
        seconds = large.batch_seconds(frames, workers)
        driver = large.driver_seconds(frames, workers)
        ideal = frames * frame / workers
        limit = "driver" if driver >= seconds - large.latency else "evaluators"
        lines.append(
            f"| {nodes} | {workers} | {seconds:.2f} s | {frames / seconds:,.0f} | "
            f"{100 * ideal / seconds:.0f} % | {100 * driver / seconds:.0f} % | {limit} |"
        )
    workers = NODES[-1] * NODE_EVALUATORS
    most = large.driver_limit(4 * workers, workers)
    return [*lines, "", f"One driver keeps {most:,.0f} such evaluators busy."]


# --- memory ---------------------------------------------------------------------------------


def _measure_driver_memory(display: Display) -> list[str]:
    """Read the resident memory of this process after some numbers of small batches."""
    pool = RayEvaluators(functools.partial(SleepingEvaluator, 0.0), "none", 2)
    x = np.zeros((8, 22, 3))
    megabytes, done = [], 0
    for count in BATCHES:
        display.advance(0.8 + 0.15 * done / BATCHES[-1], f"{done} small batches")
        while done < count:
            pool.evaluate(x)
            done += 1
        megabytes.append(_resident_megabytes())
    pool.close()
    growth = megabytes[-1] - megabytes[0]
    readings = ", ".join(f"{m:.1f}" for m in megabytes)
    return [
        f"| driver's memory after {', '.join(map(str, BATCHES))} batches | {readings} MB |",
        f"| its growth per 1,000 batches | {growth / (BATCHES[-1] - BATCHES[0]) * 1000:+.2f} MB |",
    ]


def _resident_megabytes() -> float:
    return psutil.Process().memory_info().rss / 1e6


def _complete(pool: RayEvaluators, x: np.ndarray) -> None:
    """Evaluate x until jobs have been timed and the last evaluator has started."""
    pool.evaluate(x)
    while pool.alive < pool.workers:
        pool.evaluate(x)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
