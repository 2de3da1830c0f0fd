"""Tasks of training: the flows of one target or of several, and the checkpoint of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import Interrupted
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from onestep_md.training.identity import Identity
from onestep_md.training.state import TrainState


@dataclass(frozen=True)
class Task:
    """The flow of one target and the data of its training.

    Attributes:
        name: of the target, for status lines.
        state: flow, teacher, optimizer, buffer and random numbers.
        chart: coordinates of the flow.
        frames: (n, ...) explored samples of the target that the flow may learn from.
        evaluators: energies of the target.
        folder: where its metrics are written.
    """

    name: str
    state: TrainState
    chart: Chart
    frames: Tensor
    evaluators: Evaluators
    folder: Path


class Keeper:
    """Keeps the states of all tasks in one checkpoint, because they may share their networks."""

    def __init__(self, tasks: Sequence[Task], folder: Path, identity: Identity, interval: float):
        """Take the run folder, the identity of all flows, and the seconds between checkpoints."""
        self.folder = folder
        self._tasks, self._identity, self._interval = tasks, identity, interval
        self._saved_at = time.monotonic()

    def restore(self) -> str | None:
        """Bring all states to the newest checkpoint and return its name, None if there is none."""
        saved = latest_checkpoint(self.folder / "checkpoints")
        if saved is None:
            return None
        stored = load_checkpoint(saved, self._identity)
        for task in self._tasks:
            task.state.restore(stored if len(self._tasks) == 1 else stored[task.name])
        return saved.name

    def save(self) -> None:
        """Write a checkpoint."""
        dumps = {task.name: task.state.dump() for task in self._tasks}
        if len(dumps) == 1:
            (dumps,) = dumps.values()
        step = max(task.state.step for task in self._tasks)
        save_checkpoint(self.folder / "checkpoints", step, dumps, self._identity)
        self._saved_at = time.monotonic()

    def interruption(self, where: str) -> Interrupted:
        """Make the error that ends a run which was asked to stop, after `save`."""
        return Interrupted(
            f"stopped at {where}; everything is saved in {self.folder}.\n  Continue with --resume."
        )

    def save_if(self, wanted: bool) -> None:
        """Write a checkpoint if it is wanted, or if the interval is over."""
        if wanted or time.monotonic() - self._saved_at > self._interval:
            self.save()
