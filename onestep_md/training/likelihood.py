"""Before training: the likelihood of the explored samples alone, in the same K-step maps.

Where many independent samples are at hand this is the cheapest way to a rough map: a step needs
no energies, no chains and no second flow. Training then starts where energies teach something,
instead of at the base, whose samples of steep energies hardly have a weight.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from onestep_md.config import BufferTraining
from onestep_md.coordinates.base import Chart
from onestep_md.errors import Interrupted
from onestep_md.flow import losses
from onestep_md.interruption import StopRequest
from onestep_md.training.checkpoint import save_checkpoint
from onestep_md.training.identity import Identity
from onestep_md.training.monitor import LOG_EVERY, forget_rows_after
from onestep_md.training.schedule import draw_step_count, learning_rate
from onestep_md.training.state import GRADIENT_NORM, TrainState

# The first part trains one step alone: at the full rate, maps of many steps throw it back. They
# start from what it has learned.
_ALONE = (1.0, 0.0, 0.0, 0.0)  # shares of K among the batches
_FIRST_PART = 0.75
_RATE = 4.0  # times the learning rate of training: energies have gradients of more noise
METRICS = "pretraining.jsonl"


def pretrain(
    state: TrainState,
    settings: BufferTraining,
    chart: Chart,
    frames: torch.Tensor,
    folder: Path,
    identity: Identity,
    show: Callable[[float, str], None],
) -> None:
    """Take what is left of `settings.pretraining` steps; flow and teacher end alike.

    Args:
        state: is changed, and random numbers are drawn from its generator.
        settings: of training; the batch is `regression_batch`.
        chart: the coordinates of the flow.
        frames: (n, ...) samples of the target to learn from.
        folder: of the run, for checkpoints and metrics.
        identity: of the checkpoints.
        show: called with fraction and status line.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
    """
    steps = settings.pretraining
    if state.step > 0 or state.pretrained >= steps:
        return
    checkpoints, saved_at = folder / "checkpoints", time.monotonic()
    likelihood = Likelihood(state, settings, chart, frames, folder / METRICS)
    with StopRequest() as stop:
        while state.pretrained < steps and not stop.requested:
            loss = likelihood.step()
            if state.pretrained % LOG_EVERY == 0:
                line = f"pretraining {state.pretrained}/{steps}"
                show(state.pretrained / steps, f"{line}  -log likelihood {loss:.2f}")
            if time.monotonic() - saved_at > settings.checkpoint_interval:
                save_checkpoint(checkpoints, 0, state.dump(), identity)
                saved_at = time.monotonic()
    state.teacher.load_state_dict(state.flow.state_dict())
    save_checkpoint(checkpoints, 0, state.dump(), identity)
    if state.pretrained < steps:
        raise Interrupted(
            f"stopped at step {state.pretrained} of {steps} of pretraining; everything is saved "
            f"in {folder}.\n  Continue with --resume."
        )


class Likelihood:
    """Samples of the target, and one step after the other on their likelihood."""

    def __init__(
        self,
        state: TrainState,
        settings: BufferTraining,
        chart: Chart,
        frames: torch.Tensor,
        metrics: Path,
    ):
        """As in `pretrain`; `metrics` is the file that averages are appended to."""
        self.state, self.chart, self.settings = state, chart, settings
        self._s, _ = self.chart.from_x(frames)
        self._share = torch.softmax(self.chart.log_emphasis(self._s), 0)
        self._metrics, self._recent = metrics, []
        forget_rows_after(self.state.pretrained, metrics)

    def step(self) -> float:
        """Take one; returns the loss."""
        started = time.monotonic()
        state, settings = self.state, self.settings
        flow, generator, steps = state.flow, state.generator, settings.pretraining
        state.optimizer.rate = learning_rate(_RATE * state.peak_rate, state.pretrained, steps)
        first = state.pretrained < _FIRST_PART * steps
        count = draw_step_count(_ALONE if first else settings.step_shares, generator)
        drawn = torch.multinomial(
            self._share, settings.regression_batch, replacement=True, generator=generator
        )
        s = self.chart.redraw(self._s[drawn], generator).float()
        z, log_det = flow.inverse(s, count)
        loss = losses.negative_log_likelihood(z, log_det, flow.n_linear).mean()
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), GRADIENT_NORM)
        state.optimizer.step()
        state.pretrained += 1
        state.seconds += time.monotonic() - started
        self._recent.append(loss.item())
        if state.pretrained % LOG_EVERY == 0:
            self._write()
        return loss.item()

    def _write(self) -> None:
        row = {
            "step": self.state.pretrained,
            "seconds": round(self.state.seconds, 3),
            "loss": sum(self._recent) / len(self._recent),
        }
        with self._metrics.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self._recent = []
