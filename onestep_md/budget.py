"""A budget in minutes, divided once between exploration, training and results.

The program times dynamics and steps of training on this machine, chooses exploration.duration and
train.steps by that, and keeps both in the run folder. They decide what the run does, so it
stays the same run with `--resume`, and elsewhere with the numbers that are kept.
"""

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from onestep_md.config import Config
from onestep_md.distributed.learners import Alone
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import ConfigError
from onestep_md.files import write_json
from onestep_md.progress import Display
from onestep_md.sampling.target import Target
from onestep_md.training.likelihood import Likelihood
from onestep_md.training.schedule import STEP_COUNTS, only_map
from onestep_md.training.state import TrainState, start_state
from onestep_md.training.task import Task
from onestep_md.training.train import train_step

_FILE = "budget.json"  # in a run folder
_DYNAMICS = 0.25  # of the budget; the rest teaches and draws samples
_LEAST = 100.0  # ps of dynamics after equilibration, below which nothing can be fitted
_FEWEST = 100  # steps of training
_TIMED = 2.0  # seconds of each thing that is timed
_MOST = 8  # times; pretraining writes its metrics after ten steps
_FIRST = 5  # rounds of replica exchange, half of those that are timed first
_SETTLED = 1.1  # times the rate of dynamics before
_SLOWER = 1.07  # steps of the run than those that are timed: checkpoints, metrics, hot processors
_DRAWING = 0.5  # of the time of a step of training, for as many samples of the results
_REPORT = 30.0  # seconds for the figures and the report


@dataclass(frozen=True)
class Budget:
    """The time of a run, and the keys that are chosen by it.

    Attributes:
        minutes: from start to report.
        began: when this process began, by `time.monotonic`.
        chosen: values of keys so far, by the sections of the configuration.
        late: whether less than the fewest steps of training were left.
    """

    minutes: float
    began: float
    chosen: dict[str, dict[str, float]] = field(default_factory=dict)
    late: bool = False

    @classmethod
    def open(cls, folder: Path, minutes: float | None, resumed: bool) -> "Budget | None":
        """Begin a budget, or go on with that of the run folder; None where there is none.

        Raises:
            ConfigError: a resumed run gets another one.
        """
        path, began = folder / _FILE, time.monotonic()
        if not resumed:
            return None if minutes is None else cls(minutes, began)
        stored = json.loads(path.read_text()) if path.exists() else None
        if minutes is not None and (stored is None or stored["minutes"] != minutes):
            given = f"--minutes {stored['minutes']:g}" if stored else "no --minutes"
            raise ConfigError(
                f"--minutes {minutes:g}: {folder} was begun with {given}, and a budget is divided "
                "at the start. Leave it out with --resume, or begin another run with --out."
            )
        return cls(stored["minutes"], began, stored["chosen"]) if stored else None

    def keep(self, folder: Path) -> None:
        """Write it into the run folder."""
        write_json(folder / _FILE, {"minutes": self.minutes, "chosen": self.chosen})

    def apply(self, config: Config) -> Config:
        """Give the chosen keys their values."""
        for section, keys in self.chosen.items():
            config = config.changed(section, **keys)
        return config

    def plan_exploration(self, config: Config, target: Target, evaluators: Evaluators) -> "Budget":
        """Choose the duration of dynamics; other explorations take what they take.

        Raises:
            ConfigError: too little time is left.
        """
        if config.exploration.method != "dynamics":
            return self
        rate = _picoseconds_per_second(config, target, evaluators)
        startup, least = time.monotonic() - self.began, config.dynamics.equilibration + _LEAST
        duration = float(round(_DYNAMICS * (60.0 * self.minutes - startup) * rate))
        if duration < least:
            needed = (startup + least / rate / _DYNAMICS) / 60.0
            raise ConfigError(
                f"--minutes {self.minutes:g}: here this is {max(duration, 0):.0f} ps of dynamics, "
                f"and the least is {least:.0f} ps. Give --minutes {math.ceil(needed)}."
            )
        return self._with("exploration", duration=duration)

    def plan_training(self, config: Config, task: Task, before: float) -> "Budget":
        """Choose the steps of training; an earlier process has used so many seconds `before`."""
        settings, sample = config.buffer_training, config.sample
        trial = dataclasses.replace(task, state=_fresh(task.state, config.seed))
        _train_once(trial, config, 1)  # the first takes longer
        shares = dict(zip(STEP_COUNTS, settings.step_shares, strict=True))
        seconds = {
            steps: _seconds(partial(_train_once, trial, config, steps))
            for steps, share in shares.items()
            if share or steps == 1
        }
        step = sum(shares[k] * t for k, t in seconds.items()) / sum(shares.values())
        whole = settings.steps * step
        if settings.pretraining:
            whole += settings.pretraining * _seconds(Likelihood(trial, settings).step)
        drawing = sum(sample.count(k) * seconds.get(k, k * seconds[1]) for k in sample.steps if k)
        results = _DRAWING * drawing / settings.batch + _REPORT
        spent = time.monotonic() - self.began + before
        part = (60.0 * self.minutes - spent - results) / (_SLOWER * whole)
        steps = round(part * settings.steps)
        keys = {"steps": max(_FEWEST, steps)}
        if settings.pretraining:
            keys["pretraining"] = max(0, round(part * settings.pretraining))
        return dataclasses.replace(self._with("train", **keys), late=steps < _FEWEST)

    def __str__(self) -> str:
        """The choices, as they are printed."""
        if not self.chosen:
            return f"budget: {self.minutes:g} minutes; training has what the exploration leaves"
        keys = (f"{s}.{k}: {v:g}" for s, part in self.chosen.items() for k, v in part.items())
        late = "; the exploration has left too little time, so it will take longer"
        return f"budget: {self.minutes:g} minutes, so {', '.join(keys)}{late * self.late}"

    def _with(self, section: str, **keys: float) -> "Budget":
        return dataclasses.replace(self, chosen=self.chosen | {section: keys})


def check_budget(minutes: float, configs: Sequence[Config]) -> None:
    """Refuse what is no time, and a run whose time cannot be divided.

    Raises:
        ConfigError: there are several targets or learners, or no buffer to learn from.
    """
    if not 1.0 <= minutes < math.inf:
        raise ConfigError(f"--minutes {minutes:g}: give a number of minutes, 1 or more.")
    cluster, train = configs[0].cluster, configs[0].train
    faults = {
        "several targets": len(configs) > 1,
        f"cluster.learners: {cluster.learners}": cluster.learners > 1,
        f"train.method: {train.method}": train.method != "buffer",
    }
    for what, wrong in faults.items():
        if wrong:
            raise ConfigError(
                f"--minutes cannot divide the time of a run with {what}. Leave it out, and give "
                "train.steps."
            )


def _picoseconds_per_second(config: Config, target: Target, evaluators: Evaluators) -> float:
    """Time short explorations by dynamics, each twice as long as the one before.

    The first seconds are slower: evaluators make their integrators, and Ray is still starting.
    """
    display, interval = Display(), config.dynamics.exchange_interval

    def explore(rounds: int) -> None:
        short = config.changed("exploration", duration=rounds * interval, equilibration=0.0)
        target.explore(short, evaluators, display)

    display.start("timing dynamics")
    rounds, spent, rate, before = _FIRST, 0.0, 0.0, 0.0
    while spent < _TIMED or rate > _SETTLED * before:
        rounds, before = 2 * rounds, rate
        spent = _seconds(partial(explore, rounds), most=1)
        rate = rounds * interval / spent
    display.stop()
    return rate


def _fresh(state: TrainState, seed: int) -> TrainState:
    """A state of its own that trains like another one."""
    flow, buffer = copy.deepcopy(state.flow), copy.deepcopy(state.buffer)
    return start_state(flow, buffer, state.peak_rate, seed)


def _train_once(task: Task, config: Config, steps: int) -> None:
    settings = only_map(config.buffer_training, steps)
    train_step(task.state, settings, task.chart, task.evaluators, Alone())


def _seconds(action: Callable[[], object], most: int = _MOST) -> float:
    """Mean time of an action that is repeated for a while, at most so often."""
    began, times = time.monotonic(), 0
    while times < most and time.monotonic() - began < _TIMED:
        action()
        times += 1
    return (time.monotonic() - began) / times
