"""Measurements that need a GPU, in some minutes and by one command.

In this order: numbers of every kind of flow on the
GPU against those on the CPU, the speed of the learner on both, evaluators that feed it, the tests
marked gpu, and trainings for the time that is left. Their explorations run on the CPUs as soon as
nothing is timed there.

Every part is cut at its fraction of the time, and a failure is a row of the table. Nothing is
installed or downloaded. Without a GPU the same runs on the CPU.
"""

import functools
import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from onestep_md.benchmark.gpu_numbers import KINDS, PART, Kind, compare_kinds
from onestep_md.benchmark.gpu_speed import (
    FEED,
    SPEED,
    SPEEDS,
    Steps,
    time_evaluators,
    time_learner,
)
from onestep_md.benchmark.gpu_training import (
    EXPLORATION,
    TRAINING,
    TRAININGS,
    Training,
    explore_system,
    train_system,
)
from onestep_md.benchmark.jobs import Job, Row, Table, Work
from onestep_md.errors import OneStepError, RunFolderError
from onestep_md.interruption import interruptible
from onestep_md.run_folder import machine, machine_line

TESTS = "tests"
# largest fractions of the time; the trainings get what a part leaves
_SHARES = {PART: 0.35, SPEED: 0.15, FEED: 0.1, TESTS: 0.1}
_LAST = 0.9  # fraction of a part's time after which nothing new begins
_PAUSE = 0.2  # s between looks at the explorations


@dataclass(frozen=True)
class Plan:
    """The parts of the benchmark.

    Attributes:
        kinds: kinds of flows whose numbers are compared.
        samples: number of samples of each kind.
        speeds: steps that are timed.
        fed: names of the YAML files of molecules whose evaluators are timed.
        tests: folder of the tests; None for no tests.
        trainings: trainings in the order in which they begin once all explorations have ended.
    """

    kinds: tuple[Kind, ...] = KINDS
    samples: int = 200
    speeds: tuple[Steps, ...] = SPEEDS
    fed: tuple[str, ...] = ("alanine", "trialanine")
    tests: Path | None = Path(__file__).parents[1] / "tests"
    trainings: tuple[Training, ...] = TRAININGS


def measure_gpu(
    minutes: float, out: Path, systems: Path, local: bool, plan: Plan, started: float
) -> None:
    """Run as much of the plan as fits into the time; write tables, logs and models to `out`.

    The minutes count from `started`, a `time.time`.

    Raises:
        RunFolderError: `out` is not empty.
        OneStepError: numbers of the GPU differ from those of the CPU, or nothing ran.
    """
    if out.exists() and any(out.iterdir()):
        raise RunFolderError(f"{out} is not empty; choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    local = local or importlib.util.find_spec("ray") is None
    message = f"stopped; what was found is in {out}"
    with interruptible(message):
        bench = _Benchmark(minutes, out, systems, local, plan, started)
        try:
            bench.run()
        finally:
            bench.end()
    judge(bench.table.rows, bench.where, out)


def judge(rows: list[Row], where: str, out: Path) -> None:
    """Raise an error if numbers are wrong or nothing ran; `where` is the device."""
    wrong = [row.name for row in rows if row.verdict == "wrong"]
    if wrong:
        raise OneStepError(
            f"numbers on {where} differ from those on the CPU: {', '.join(wrong)}. See "
            f"{out / 'table.txt'}; do not use this device."
        )
    if not any(row.verdict == "ok" for row in rows):
        raise OneStepError(f"nothing ran to its end; see {out / 'table.txt'} and the logs there")


class _Benchmark:
    """The parts in order, and their processes, which end with it."""

    def __init__(
        self, minutes: float, out: Path, systems: Path, local: bool, plan: Plan, started: float
    ):
        self.seconds = 60.0 * minutes
        self.end_time = started + 0.98 * self.seconds
        self.out, self.systems, self.local, self.plan = out, systems, local, plan
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.where = torch.cuda.get_device_name() if self.device == "cuda" else "the CPU"
        self.jobs: list[Job] = []
        self.table = Table(out, self._heading())

    def _heading(self) -> list[str]:
        beside = "no GPU is seen: the CPU is compared with itself"
        energies = "energies in each process, without Ray" if self.local else "energies on Ray"
        return [
            machine_line(machine()),
            f"GPU: {self.where}" if self.device == "cuda" else beside,
            f"{self.seconds / 60:g} minutes, {energies}",
        ]

    def run(self) -> None:
        """Run all parts."""
        plan, systems, device = self.plan, self.systems, self.device
        self._part(PART, functools.partial(
            compare_kinds, plan.kinds, systems, device, plan.samples
        ))  # fmt: skip
        self._part(SPEED, functools.partial(time_learner, plan.speeds, systems, device))
        self._part(FEED, functools.partial(
            time_evaluators, plan.fed, systems, device, self.local
        ))  # fmt: skip
        explorations = self._explorations()
        if plan.tests is not None:
            self.table.add(gpu_tests(plan.tests, self._deadline(TESTS) - time.time()))
        self._trainings(explorations)

    def end(self) -> None:
        """End all processes."""
        for job in self.jobs:
            if not job.ended:
                job.kill()

    def _deadline(self, part: str) -> float:
        return min(self.end_time, time.time() + _SHARES[part] * self.seconds)

    def _part(self, part: str, work: Work) -> None:
        deadline = self._deadline(part)
        soft = time.time() + _LAST * (deadline - time.time())
        for row in self._job(part, "", work, soft, deadline).rows():
            self.table.add(row)

    def _job(self, part: str, name: str, work: Work, soft: float, deadline: float) -> Job:
        log = self.out / f"{'-'.join(filter(None, (part, name)))}.log"
        job = Job(part, name, functools.partial(_until, work, soft), deadline, log)
        self.jobs.append(job)
        return job

    def _explorations(self) -> dict[Training, Job]:
        """Start all explorations; they divide the CPUs, except two for the GPU's process."""
        trainings = self.plan.trainings
        each = max(1, ((os.cpu_count() or 1) - 2) // max(1, len(trainings)))
        # the first one must leave time for its training, the last one may take longest
        left, jobs = self.end_time - time.time(), {}
        for k, training in enumerate(trainings, start=1):
            deadline = time.time() + left * (0.15 + 0.45 * k / len(trainings))
            work = functools.partial(
                explore_system, training, self.systems, self.out, self.device, each, self.local
            )
            jobs[training] = self._job(EXPLORATION, training.system, work, deadline, deadline)
        return jobs

    def _trainings(self, explorations: dict[Training, Job]) -> None:
        """Train one system after another as the explorations end, each for part of the time."""
        waiting = dict(explorations)
        while waiting:
            ready = []
            for training, job in list(waiting.items()):
                rows = list(job.poll())
                for row in rows:
                    self.table.add(row)
                if any(row.verdict == "failed" for row in rows):
                    del waiting[training]
                elif job.ended:
                    ready.append(training)
            if not ready:
                time.sleep(_PAUSE)
                continue
            chosen = ready[0]
            share = chosen.share / sum(training.share for training in waiting)
            del waiting[chosen]
            deadline = time.time() + share * max(0.0, self.end_time - time.time())
            work = functools.partial(train_system, chosen, self.out, self.local)
            for row in self._job(TRAINING, chosen.system, work, deadline, deadline).rows():
                self.table.add(row)


def _until(work: Work, soft: float, send, deadline: float) -> None:
    """Run `work` with an earlier end than the deadline at which it is killed."""
    work(send, min(soft, deadline))


def gpu_tests(folder: Path, seconds: float) -> Row:
    """Run the tests marked gpu in a process of their own."""
    files = [str(p) for p in sorted(folder.rglob("test_*.py")) if "mark.gpu" in p.read_text()]
    if not files:
        return Row(TESTS, "marked gpu", f"there are none in {folder}", "failed")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(
            command, cwd=folder.parent, capture_output=True, text=True, timeout=max(1.0, seconds)
        )
    except subprocess.TimeoutExpired:
        return Row(TESTS, "marked gpu", "cut, their time was up", "failed")
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    text = "; ".join([*(lines[-1:] or ["no output"]), *failed])[:500]
    return Row(TESTS, "marked gpu", text, "ok" if done.returncode == 0 else "failed")
