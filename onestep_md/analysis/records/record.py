"""What is read of every finished run for its report: results, samples, history, settings."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from onestep_md.analysis.records.refined import Refined
from onestep_md.analysis.records.results import Results
from onestep_md.analysis.records.samples import Weighted

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
Found = TypeVar("Found", bound=Results)
Samples = TypeVar("Samples", bound=Weighted)


@dataclass(frozen=True)
class History:
    """How a run came about."""

    metrics: Mapping[str, np.ndarray]  # column of metrics.jsonl -> values
    pretraining: Mapping[str, np.ndarray]  # the same of pretraining.jsonl
    environment: Mapping[str, Any]  # machine and versions
    config: str


@dataclass(frozen=True)
class Record(Generic[Found, Samples]):
    """What all runs share."""

    name: str
    results: Found
    steps: Mapping[int, Samples]  # samples of every K
    histograms: Mapping[str, np.ndarray]  # for figures; empty where there are none
    history: History
    refined: Refined | None  # samples that were refined since; None if there are none

    @property
    def samples(self) -> Samples:
        """The samples that belong to the headline of the results."""
        return self.steps[self.results.headline.steps]


def text_of(path: Path) -> str:
    """Contents of a text file, nothing if there is none."""
    return path.read_text() if path.is_file() else ""


def read_history(folder: Path) -> History:
    """Read what a run folder says of training, machine and settings; empty where it is silent."""
    environment = json.loads(text_of(folder / "environment.json") or "{}")
    return History(
        metrics=_columns(folder / "metrics.jsonl", _METRICS),
        pretraining=_columns(folder / "pretraining.jsonl", ("step", "loss")),
        environment={key: v for key, v in environment.items() if key != "fingerprint"},
        config=text_of(folder / "config.yaml"),
    )


def _columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a file of JSON rows, null as nan; empty ones if it is not there."""
    rows = [json.loads(line) for line in text_of(path).splitlines() if line.strip()]
    return {
        name: np.array([math.nan if (v := row.get(name)) is None else float(v) for row in rows])
        for name in names
    }
