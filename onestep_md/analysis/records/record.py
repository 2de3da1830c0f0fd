"""The record of any finished run: results, samples, history and settings."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from onestep_md.analysis.records.refined import Refined
from onestep_md.analysis.records.results import Results
from onestep_md.analysis.records.samples import WeightedSamples

_METRICS = (
    "step",
    "loss_energy",
    "loss_flow",
    "loss_state",
    "loss_volume",
    "ess",
    "evaluations_per_s",
    "learner_idle",
)
ResultsT = TypeVar("ResultsT", bound=Results)
SamplesT = TypeVar("SamplesT", bound=WeightedSamples)


@dataclass(frozen=True)
class History:
    """Training, machine and settings of a run."""

    metrics: Mapping[str, np.ndarray]  # column of metrics.jsonl -> values
    pretraining: Mapping[str, np.ndarray]  # the same of pretraining.jsonl
    environment: Mapping[str, Any]  # machine and versions
    config: str


@dataclass(frozen=True)
class Record(Generic[ResultsT, SamplesT]):
    """Record of a run on any target."""

    name: str
    results: ResultsT
    steps: Mapping[int, SamplesT]  # samples of every K
    histograms: Mapping[str, np.ndarray]  # for figures; empty where there are none
    history: History
    refined: Refined | None  # samples that were refined since; None if there are none

    @property
    def samples(self) -> SamplesT:
        """Samples of the headline of the results."""
        return self.steps[self.results.headline.steps]


def read_text(path: Path) -> str:
    """Read a text file; empty if there is none."""
    return path.read_text() if path.is_file() else ""


def read_history(folder: Path) -> History:
    """Read training, machine and settings of a run folder; empty where a file is missing."""
    environment = json.loads(read_text(folder / "environment.json") or "{}")
    return History(
        metrics=_read_columns(folder / "metrics.jsonl", _METRICS),
        pretraining=_read_columns(folder / "pretraining.jsonl", ("step", "loss")),
        environment={key: v for key, v in environment.items() if key != "fingerprint"},
        config=read_text(folder / "config.yaml"),
    )


def _read_columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read columns of a file of JSON rows, null as nan; they are empty if there is no file."""
    rows = [json.loads(line) for line in read_text(path).splitlines() if line.strip()]
    return {
        name: np.array([math.nan if (v := row.get(name)) is None else float(v) for row in rows])
        for name in names
    }
