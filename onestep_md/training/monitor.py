"""Metrics of training: the rows of metrics.jsonl and the status line."""

import json
import math
import time
from pathlib import Path

from onestep_md.distributed.pool import Evaluators
from onestep_md.training.state import StepInfo, TrainState

LOG_EVERY = 10  # steps between lines of metrics.jsonl
_AVERAGED = (
    "loss_energy", "loss_flow", "loss_state", "loss_volume", "infinite", "chains_jumped",
)  # fmt: skip


def append_row(row: dict, path: Path) -> None:
    """Append one row to a file of metrics."""
    with path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def forget_rows_after(step: int, path: Path) -> None:
    """Drop the rows of a file of metrics that are later than the checkpoint."""
    if path.exists():
        rows = [row for row in path.open() if json.loads(row)["step"] <= step]
        path.write_text("".join(rows))


class Monitor:
    """Keeps time, appends StepInfo averages to metrics.jsonl and makes the one status line."""

    def __init__(self, state: TrainState, evaluators: Evaluators, path: Path, total: int):
        self.state, self.evaluators, self.path, self.total = state, evaluators, path, total
        self.recent: list[StepInfo] = []
        self.ess, self.line = math.nan, ""
        self.tick = time.monotonic()
        self._mark()
        forget_rows_after(state.step, path)

    def start(self) -> None:
        """Time the next step from here; without this, from the end of the step before."""
        self.tick = time.monotonic()

    def _mark(self) -> None:
        self.started, self.waited = self.state.seconds, self.evaluators.wait_seconds

    def record(self, info: StepInfo) -> str:
        """Take one step's info and return the status line."""
        now = time.monotonic()
        self.state.seconds += now - self.tick
        self.tick = now
        self.recent.append(info)
        if not math.isnan(info.ess):
            self.ess = info.ess if math.isnan(self.ess) else 0.9 * self.ess + 0.1 * info.ess
        if self.state.step % LOG_EVERY == 0:
            self._write()
        return self.line

    def _write(self) -> None:
        elapsed = self.state.seconds - self.started
        row = {
            name: sum(getattr(info, name) for info in self.recent) / len(self.recent)
            for name in _AVERAGED
        }
        self.evaluators.publish(row | {"ess": self.ess})
        rate = sum(info.evaluations for info in self.recent) / elapsed
        row |= {
            "step": self.state.step,
            "seconds": round(self.state.seconds, 3),
            "ess": None if math.isnan(self.ess) else self.ess,
            "evaluations": self.state.evaluations,
            "evaluations_per_s": rate,
            "learner_idle": (self.evaluators.wait_seconds - self.waited) / elapsed,
            "learning_rate": self.state.optimizer.rate,
        }
        append_row(row, self.path)
        ess = "unknown" if math.isnan(self.ess) else f"{100 * self.ess:.0f} %"
        self.line = (
            f"step {self.state.step}/{self.total}  loss {row['loss_energy']:.2f} kT  "
            f"flow {row['loss_flow']:.3f}  state {row['loss_state']:.4f}  "
            f"volume {row['loss_volume']:.4f}  one-step ESS {ess}  "
            f"{rate / 1000:.1f}k evals/s"
        )
        self.recent = []
        self._mark()
