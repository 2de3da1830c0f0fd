"""Results of a run as data: the contents of results.json.

Numbers that JSON lacks are the strings "NaN", "Infinity" and "-Infinity", which `float` reads.
`molecule` and `density` add the results of one kind of target.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from onestep_md.analysis.records.reading import reading
from onestep_md.estimators.estimate import UNKNOWN, Estimate
from onestep_md.estimators.evidence import Evidence
from onestep_md.files import write_text

FORMAT: Literal[2] = 2
Phase = Literal["exploration", "training", "sampling"]


class Stored(BaseModel):
    """Frozen data of a JSON file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def write(self, path: Path) -> None:
        """Write the file."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            RunFolderError: it cannot be understood.
        """
        with reading(path.parent, path.name):
            return cls.model_validate_json(path.read_text())


class OneEvidence(Stored):
    """Evidence of the samples of one K, with its warnings in words."""

    format: Literal[2] = FORMAT
    evidence: Evidence
    warnings: tuple[str, ...]


class Cost(Stored):
    """Energy evaluations and time of one phase of a run."""

    evaluations: int
    seconds: float  # nan in runs that did not measure it


class Results(Stored):
    """Results of a run on any target."""

    format: Literal[2] = FORMAT
    kind: str
    fingerprint: dict[str, Any]  # facts of the target
    evidence: tuple[Evidence, ...] = Field(min_length=1)  # K rises
    cost: Mapping[Phase, Cost]
    evidence_warnings: tuple[str, ...]  # each names its K
    run_warnings: tuple[str, ...]  # of the run as a whole

    @property
    def headline(self) -> Evidence:
        """Evidence of the exported samples: one step, or the fewest there are."""
        with_flow = [row for row in self.evidence if row.steps > 0] or list(self.evidence)
        return min(with_flow, key=lambda row: row.steps)

    @property
    def headline_warnings(self) -> tuple[str, ...]:
        """Warnings about the evidence of the exported samples."""
        prefix = f"K = {self.headline.steps}: "
        return tuple(text for text in self.evidence_warnings if text.startswith(prefix))

    def row(self, steps: int) -> Evidence | None:
        """Evidence of one K, if it was measured."""
        return next((row for row in self.evidence if row.steps == steps), None)

    @property
    def known_log_z(self) -> Estimate:
        """Log Z of the target, without error; UNKNOWN if it is not known."""
        known = self.fingerprint.get("log_z")
        return UNKNOWN if known is None else Estimate(float(known), 0.0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, in the order in which they are printed."""
        return self.evidence_warnings + self.run_warnings

    @property
    def evaluations(self) -> int:
        """Energy evaluations of all phases."""
        return sum(cost.evaluations for cost in self.cost.values())

    @property
    def seconds(self) -> float:
        """Time of all phases whose time is known."""
        return sum(cost.seconds for cost in self.cost.values() if math.isfinite(cost.seconds))
