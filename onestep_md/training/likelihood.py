"""Pretraining: the likelihood of the explored samples alone, in the same K-step maps.

Where many independent samples are at hand this is the cheapest way to a rough map: a step needs
no energies, no chains and no second flow. Training then starts where energies teach something,
instead of at the base, whose samples of steep energies hardly have a weight.
"""

import time
from collections.abc import Callable, Sequence

import torch

from onestep_md.config import BufferTraining
from onestep_md.flow import losses
from onestep_md.interruption import StopRequest
from onestep_md.training.gradients import GRADIENT_NORM
from onestep_md.training.monitor import LOG_EVERY, append_row, forget_rows_after
from onestep_md.training.schedule import draw_step_count, learning_rate
from onestep_md.training.task import Keeper, Task

# The first part trains one step alone: at the full rate, maps of many steps throw it back. They
# start from what it has learned.
_ALONE = (1.0, 0.0, 0.0, 0.0)  # shares of K among the batches
_FIRST_PART = 0.75
_RATE = 4.0  # times the learning rate of training: energies have gradients of more noise
METRICS = "pretraining.jsonl"


def pretrain(
    tasks: Sequence[Task],
    settings: BufferTraining,
    keeper: Keeper,
    show: Callable[[float, str], None],
) -> None:
    """Take the missing of `settings.pretraining` steps of every task; flow and teacher end equal.

    Args:
        tasks: their states are changed, and random numbers are drawn from their generators.
        settings: of training; the batch is `regression_batch`.
        keeper: of the checkpoints.
        show: called with fraction and status line.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
    """
    steps = settings.pretraining
    if steps == 0 or any(task.state.step > 0 for task in tasks):
        return
    likelihoods = {task.name: Likelihood(task, settings) for task in tasks}
    with StopRequest() as stop:
        while (task := _furthest_behind(tasks)).state.pretrained < steps:
            loss, done = likelihoods[task.name].step(), task.state.pretrained
            if done % LOG_EVERY == 0:
                line = f"pretraining {done}/{steps}  -log likelihood {loss:.2f}"
                show(done / steps, f"{task.name}: {line}" if len(tasks) > 1 else line)
            stopping = stop.requested  # once: a signal after the check waits for the next step
            keeper.save_if(stopping)
            if stopping:
                raise keeper.interruption(f"step {done} of {steps} of pretraining")
    for task in tasks:  # again, where a run was stopped after its last step
        task.state.teacher.load_state_dict(task.state.flow.state_dict())
    keeper.save()


def _furthest_behind(tasks: Sequence[Task]) -> Task:
    return min(tasks, key=lambda task: task.state.pretrained)


class Likelihood:
    """Takes steps of a task on the likelihood of its explored samples."""

    def __init__(self, task: Task, settings: BufferTraining):
        """Take a task and the settings of training, as in `pretrain`."""
        self.state, self.chart, self.settings = task.state, task.chart, settings
        frames, metrics = task.frames, task.folder / METRICS
        self._s, _ = self.chart.from_x(frames)
        self._chances = torch.softmax(self.chart.log_emphasis(self._s), 0)
        self._metrics, self._recent = metrics, list[float]()
        forget_rows_after(self.state.pretrained, metrics)

    def step(self) -> float:
        """Take one step and return the loss."""
        started = time.monotonic()
        state, settings = self.state, self.settings
        flow, generator, steps = state.flow, state.generator, settings.pretraining
        state.optimizer.rate = learning_rate(_RATE * state.peak_rate, state.pretrained, steps)
        first = state.pretrained < _FIRST_PART * steps
        count = draw_step_count(_ALONE if first else settings.step_shares, generator)
        drawn = torch.multinomial(
            self._chances, settings.regression_batch, replacement=True, generator=generator
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
        append_row(row, self._metrics)
        self._recent = []
