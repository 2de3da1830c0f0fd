"""Before training: the likelihood of the explored samples alone, in the same K-step maps.

Where many independent samples are at hand this is the cheapest way to a rough map: a step needs
no energies, no chains and no second flow. Training then starts where energies teach something,
instead of at the base, whose samples of steep energies hardly have a weight. Called by `pipeline`.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from onestep_md.checkpoint import save_checkpoint
from onestep_md.config import Train
from onestep_md.distributed.learners import StopRequest
from onestep_md.errors import Interrupted
from onestep_md.flow import losses
from onestep_md.model import Model
from onestep_md.train import draw_step_count, set_learning_rate
from onestep_md.train_state import GRADIENT_NORM

# The first part trains one step alone: at the full rate, maps of many steps throw it back. They
# start from what it has learned.
_ALONE = (1.0, 0.0, 0.0, 0.0)  # shares of K among the batches
_FIRST_PART = 0.75
_RATE = 4.0  # times the learning rate of training: energies have gradients of more noise


def pretrain(
    model: Model, settings: Train, folder: Path, show: Callable[[float, str], None]
) -> None:
    """Take what is left of `settings.pretraining` steps; flow and teacher end alike.

    Args:
        model: its state is changed, and random numbers are drawn from its generator.
        settings: of training; the batch is `regression_batch`.
        folder: of the run, for checkpoints.
        show: called with fraction and status line.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
    """
    state, chart = model.state, model.chart
    flow, generator = state.flow, state.generator
    steps = settings.pretraining
    if state.step > 0 or state.pretrained >= steps:
        return
    checkpoints, saved_at = folder / "checkpoints", time.monotonic()
    s, _ = chart.from_x(torch.from_numpy(model.exploration.frames[model.training]))
    emphasis = torch.softmax(chart.log_emphasis(s), 0)
    peak = _RATE * state.peak_rate
    with StopRequest() as stop:
        while state.pretrained < steps and not stop.requested:
            started = time.monotonic()
            set_learning_rate(state.optimizer, peak, state.pretrained, steps)
            first = state.pretrained < _FIRST_PART * steps
            shares = _ALONE if first else settings.step_shares
            count = draw_step_count(shares, generator)
            drawn = torch.multinomial(
                emphasis, settings.regression_batch, replacement=True, generator=generator
            )
            z, log_det = flow.inverse(chart.redraw(s[drawn], generator).float(), count)
            loss = losses.negative_log_likelihood(z, log_det, flow.n_linear).mean()
            state.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), GRADIENT_NORM)
            state.optimizer.step()
            state.pretrained += 1
            state.seconds += time.monotonic() - started
            if state.pretrained % 10 == 0:
                line = f"pretraining {state.pretrained}/{steps}"
                show(state.pretrained / steps, f"{line}  -log likelihood {loss.item():.2f}")
            if time.monotonic() - saved_at > settings.checkpoint_interval:
                save_checkpoint(checkpoints, 0, state.dump(), model.identity)
                saved_at = time.monotonic()
    state.teacher.load_state_dict(flow.state_dict())
    save_checkpoint(checkpoints, 0, state.dump(), model.identity)
    if state.pretrained < steps:
        raise Interrupted(
            f"stopped at step {state.pretrained} of {steps} of pretraining; everything is saved "
            f"in {folder}.\n  Continue with --resume."
        )
