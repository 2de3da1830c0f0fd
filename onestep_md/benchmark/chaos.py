"""Small runs whose evaluators, nodes and driver are killed, against one that is left alone.

All runs start from the same exploration and are
real command lines in processes of their own; a run passes if it completes and ends with the
network parameters, and the buffer, of the undisturbed one, bit for bit.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from onestep_md.benchmark.local_cluster import LocalCluster
from onestep_md.errors import PoolError
from onestep_md.progress import Display
from onestep_md.run_folder import machine, machine_line
from onestep_md.training.checkpoint import latest_checkpoint

SETTINGS = (
    "exploration.method=dynamics",
    "exploration.duration=12",
    "exploration.equilibration=2",
    "train.batch=256",
    "train.regression_batch=128",
    "train.buffer=500",
    "train.checkpoint_interval=2",
    "sample.n=200",
    "sample.steps=[0, 1]",
)
KILL_EVERY = 5.0  # s
WITHOUT_NODE = 10.0  # s from the loss of a node to the arrival of another
TIMEOUT = 900.0  # s; a run that takes longer has hung
ACTOR = "ray::EvaluatorActor"


@dataclass(frozen=True)
class Trial:
    """One disturbed run, or several of one kind."""

    name: str
    completed: int
    identical: int
    runs: int
    seconds: float  # of wall-clock time, mean over the runs
    note: str = ""

    def row(self, undisturbed: float) -> str:
        """Line of the table."""
        return (
            f"| {self.name} | {self.completed}/{self.runs} | {self.identical}/{self.runs} | "
            f"{self.seconds:.0f} s | {self.seconds / undisturbed:.2f} | {self.note} |"
        )


class Chaos:
    """Runs of one command on copies of one folder."""

    def __init__(self, system: Path, work: Path, steps: int):
        """Make the exploration and the undisturbed run."""
        self.system, self.work = system, work
        self.settings = [*SETTINGS, f"train.steps={steps}"]
        self.reference = work / "reference"
        process = self._start(self.reference, fresh=True)
        if not self._wait_for(process, lambda: None):
            raise PoolError(f"the undisturbed run failed; see {self._log(self.reference)}")

    def _log(self, folder: Path) -> Path:
        return folder.with_suffix(".log")

    def _start(
        self, folder: Path, fresh: bool = False, address: str | None = None
    ) -> subprocess.Popen:
        """Start or resume the run in `folder`; its output is appended to a log beside it."""
        evaluators = "auto" if address else 2
        settings = [*self.settings, f"cluster.evaluators={evaluators}"]
        command = [sys.executable, "-m", "onestep_md.run", self.system, "--out", folder]
        command += [part for setting in settings for part in ("--set", setting)]
        command += [] if fresh else ["--resume"]
        command += ["--address", address] if address else []
        with self._log(folder).open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=subprocess.STDOUT
            )

    def _wait_for(self, process: subprocess.Popen, disturb: Callable[[], None]) -> bool:
        """Call `disturb` until the process ends; return whether it succeeded."""
        deadline = time.monotonic() + TIMEOUT
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                return False
            disturb()
            time.sleep(0.1)
        return process.returncode == 0

    def copy_explored(self, name: str) -> Path:
        """Copy the exploration into a new folder."""
        folder = self.work / name
        folder.mkdir()
        for file in ("config.yaml", "exploration.npz", "exploration.json"):
            shutil.copy(self.reference / file, folder)
        return folder

    def trial(
        self,
        name: str,
        disturbance: Callable[[Path], "Disturbance"] | None = None,
        address: str | None = None,
    ) -> Trial:
        """Run once with a disturbance."""
        folder = self.copy_explored(name.replace(" ", "-").replace(",", ""))
        disturb = disturbance(folder) if disturbance else None
        started = time.monotonic()
        process = self._start(folder, address=address)
        completed = self._wait_for(process, disturb.act if disturb else lambda: None)
        seconds = time.monotonic() - started
        note = disturb.note() if disturb else ""
        identical = same_training(folder, self.reference)
        return Trial(name, int(completed), int(identical), 1, seconds, note)

    def kill_drivers(self, count: int, within: float, seed: int, display: Display) -> Trial:
        """Kill runs once, at a random moment of `within` seconds, and resume them."""
        moments = random.Random(seed)
        completed = identical = late = 0
        started = time.monotonic()
        for i in range(count):
            folder = self.copy_explored(f"driver-{i:02d}")
            process = self._start(folder)
            try:
                process.wait(moments.uniform(0.0, within))
                late += 1  # it was faster than the undisturbed one
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            completed += self._wait_for(self._start(folder), lambda: None)
            identical += same_training(folder, self.reference)
            display.advance(0.3 + 0.7 * i / count, f"driver killed and resumed: {identical} equal")
        seconds = (time.monotonic() - started) / max(1, count)
        note = f"{late} of them had ended before their moment" if late else ""
        return Trial("driver killed, resumed", completed, identical, count, seconds, note)


class Disturbance:
    """A disturbance of a training run; `act` is called every tenth of a second."""

    def __init__(self, folder: Path):
        self.metrics = folder / "metrics.jsonl"

    def act(self) -> None:
        """Disturb the run if it is time."""

    def note(self) -> str:
        """Return the note for the table."""
        return ""


class KillEvaluators(Disturbance):
    """Kills one evaluator after another."""

    killed, last = 0, 0.0

    def act(self) -> None:
        """Kill an evaluator if it is time."""
        evaluators = evaluator_processes()
        if evaluators and time.monotonic() - self.last > KILL_EVERY:
            self.last = time.monotonic()
            os.kill(evaluators[self.killed % len(evaluators)], signal.SIGKILL)
            self.killed += 1

    def note(self) -> str:
        """Return the note for the table."""
        return f"{self.killed} killed"


class FreezeEvaluator(Disturbance):
    """Stops one evaluator with SIGSTOP once the training has begun."""

    frozen: int | None = None

    def act(self) -> None:
        """Stop an evaluator if none is stopped yet."""
        if self.frozen is None and self.metrics.exists():
            self.frozen = evaluator_processes()[0]
            os.kill(self.frozen, signal.SIGSTOP)

    def note(self) -> str:
        """Kill the stopped evaluator; return the note for the table."""
        if self.frozen in evaluator_processes():
            os.kill(self.frozen, signal.SIGKILL)
        return "never thawed" if self.frozen else "too late"


class ChangeNodes(Disturbance):
    """Removes a node during the training and adds another one later."""

    def __init__(self, folder: Path, cluster: LocalCluster):
        super().__init__(folder)
        self.cluster = cluster
        self.removed = self.added = 0.0
        self.fewest, self.most = 99, 0

    def act(self) -> None:
        """Remove or add a node if it is time."""
        now = time.monotonic()
        if not self.removed and self.metrics.exists():
            self.cluster.remove_node(self.cluster.nodes[0])
            self.removed = now
        elif self.removed and not self.added:
            self.fewest = min(self.fewest, len(evaluator_processes()))
            if now - self.removed > WITHOUT_NODE:
                self.cluster.add_node()
                self.added = now
        elif self.added:
            self.most = max(self.most, len(evaluator_processes()))

    def note(self) -> str:
        """Return the note for the table."""
        return f"2 evaluators, then {self.fewest}, then {self.most}"


def measure_chaos(system: Path, drivers: int, steps: int, seed: int) -> list[str]:
    """Measure all disturbances; return lines of Markdown.

    Args:
        system: YAML file of a molecule.
        drivers: number of runs that lose their driver.
        steps: number of training steps of every run.
        seed: seed of the moments at which drivers are killed.

    Raises:
        PoolError: after the table, if a run did not complete or differs.
    """
    display = Display()
    display.start("chaos")
    trials: list[Trial] = []

    def ended(trial: Trial) -> None:
        trials.append(trial)
        display.say(trial.row(trials[0].seconds))

    with tempfile.TemporaryDirectory(prefix="onestep-chaos-") as work:
        display.advance(0.0, "exploration and reference")
        chaos = Chaos(system, Path(work), steps)
        display.advance(0.06, "undisturbed")
        ended(chaos.trial("undisturbed"))
        display.advance(0.1, "evaluators killed")
        ended(chaos.trial(f"evaluator killed every {KILL_EVERY:.0f} s", KillEvaluators))
        display.advance(0.16, "evaluator frozen")
        ended(chaos.trial("evaluator frozen", FreezeEvaluator))
        display.advance(0.22, "nodes")
        with LocalCluster(2) as cluster:
            ended(
                chaos.trial(
                    "node removed, another added",
                    lambda folder: ChangeNodes(folder, cluster),
                    cluster.address,
                )
            )
        if drivers:
            ended(chaos.kill_drivers(drivers, trials[0].seconds, seed, display))
    display.stop()
    lines = [
        machine_line(machine()),
        "",
        f"{system.stem}, {steps} steps, 2 evaluators; times are those of the whole command.",
        "",
        "| run | completed | identical | time | slowdown | |",
        "|---|---|---|---|---|---|",
        *(trial.row(trials[0].seconds) for trial in trials),
    ]
    if any(min(trial.completed, trial.identical) < trial.runs for trial in trials):
        print("\n".join(lines))
        raise PoolError("a disturbed run did not complete, or differs from the undisturbed one")
    return lines


def evaluator_processes() -> list[int]:
    """Return the ids of the evaluators that descend from this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            name = (process.cmdline() or [""])[0]
            if name.startswith(ACTOR) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
    return sorted(found)


def same_training(folder: Path, reference: Path) -> bool:
    """Whether a run finished, and with the parameters and buffer of the reference."""
    if not (folder / "report.html").exists():
        return False
    found, expected = _parameters(folder), _parameters(reference)
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in found
    )


def _parameters(folder: Path) -> dict[str, torch.Tensor]:
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    saved = torch.load(newest, weights_only=True)["state"]
    parts = {"buffer": saved["buffer"]["s"]}
    for network in ("flow", "teacher"):
        parts |= {f"{network}.{name}": value for name, value in saved[network].items()}
    return parts
