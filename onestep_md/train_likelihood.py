"""Before training: the likelihood of the explored samples alone, in the same K-step maps.

Where many independent samples are at hand this is the cheapest way to a rough map: a step needs
no energies, no chains and no second flow. Training then starts where energies teach something,
instead of at the base, whose samples of steep energies hardly have a weight. Called by `pipeline`.
"""

import time
from collections.abc import Callable

import torch

from onestep_md.config import Train
from onestep_md.flow import losses
from onestep_md.model import Model
from onestep_md.train import draw_step_count, set_learning_rate
from onestep_md.train_state import GRADIENT_NORM

# of the batches by K: what one step learns, training hands on to the others more cheaply
_STEP_SHARES = (0.7, 0.1, 0.1, 0.1)


def pretrain(model: Model, settings: Train, show: Callable[[float, str], None]) -> None:
    """Take `settings.pretraining` steps, if training has not begun; flow and teacher end alike.

    Args:
        model: its flow is changed, and random numbers are drawn from its generator.
        settings: of training; the batch is `regression_batch`.
        show: called with fraction and status line.
    """
    state, chart = model.state, model.chart
    flow, generator = state.flow, state.generator
    steps, started = settings.pretraining, time.monotonic()
    if state.step > 0 or steps == 0:
        return
    s, _ = chart.from_x(torch.from_numpy(model.exploration.frames[model.training]))
    optimizer = torch.optim.Adam(flow.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    emphasis = torch.softmax(chart.log_emphasis(s), 0)
    for step in range(steps):
        set_learning_rate(optimizer, settings.learning_rate, step, steps)
        count = draw_step_count(_STEP_SHARES, generator)
        drawn = torch.multinomial(
            emphasis, settings.regression_batch, replacement=True, generator=generator
        )
        z, log_det = flow.inverse(chart.redraw(s[drawn], generator).float(), count)
        loss = losses.negative_log_likelihood(z, log_det, flow.n_linear).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), GRADIENT_NORM)
        optimizer.step()
        if step % 10 == 0:
            show(0.0, f"pretraining {step}/{steps}  -log likelihood {loss.item():.2f}")
    state.teacher.load_state_dict(flow.state_dict())
    state.seconds += time.monotonic() - started
