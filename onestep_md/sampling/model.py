"""A chart and a flow for one target, fitted to its exploration; new, or as a run left it."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import RunFolderError
from onestep_md.exploration.explored import EXPLORATION_FILE, Exploration
from onestep_md.sampling.target import Target
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.training.identity import Identity
from onestep_md.training.state import TrainState, start_state
from onestep_md.training.task import Task

if TYPE_CHECKING:  # a sampler is made of a model
    from onestep_md.sampling.sampler import Sampler

HELD_OUT = 0.2  # of the exploration, its end: judges the flow, never trains it


@dataclass(frozen=True)
class Model:
    """A chart and an untrained or restored flow, with the exploration frames behind them."""

    chart: Chart
    state: TrainState
    exploration: Exploration
    training: np.ndarray  # (n,) bool: exploration frames that the flow learns from
    identity: Identity

    @property
    def training_frames(self) -> torch.Tensor:
        """The exploration frames (n, ...) that the flow learns from."""
        return torch.from_numpy(self.exploration.frames[self.training])

    def task(self, name: str, evaluators: Evaluators, folder: Path) -> Task:
        """Make it a task of training, with the energies and the run folder of its target."""
        frames = self.training_frames
        return Task(name, self.state, self.chart, frames, evaluators, folder)


def build_model(
    config: Config, target: Target, exploration: Exploration, start: "Sampler | None" = None
) -> Model:
    """Fit the chart to the exploration and set up flow, teacher, optimizer and buffer.

    Chart and weights are those of `start` where there is one: weights mean nothing in another
    chart.
    """
    islands = config.exploration.method in ("annealing", "run")
    training = _training_frames(exploration.replica, islands)
    x, gradient = exploration.frames[training], exploration.grad_u[training]
    frames, grad_u = torch.from_numpy(x), torch.from_numpy(gradient)
    torch.manual_seed(config.seed)  # initial weights of the network
    chart = start.chart if start else target.new_chart(config, x, gradient)
    flow = target.new_flow(config, chart)
    s, log_det = chart.from_x(frames)
    emphasis = chart.log_emphasis(s)
    log_p = log_det - torch.from_numpy(exploration.u[training]) + emphasis
    explored = Configurations(s, log_p, chart.pull_back_frames(s, frames, grad_u))
    pick = torch.Generator().manual_seed(config.seed)
    index = torch.multinomial(
        torch.softmax(emphasis, 0), config.train.buffer, replacement=True, generator=pick
    )
    buffer = Buffer(explored[index])
    log_q = chart.log_base(s)
    if start:
        flow.load_weights(start.flow.weights())
        with torch.no_grad():
            z, log_det_flow = start.flow.inverse(s, 1)
        log_q = chart.log_base(z) - log_det_flow
    peak = config.train.learning_rate * min(1.0, _misfit(log_p - log_q))
    state = start_state(flow, buffer, peak, config.seed)
    return Model(chart, state, exploration, training, identity(config, target, chart))


def identity(config: Config, target: Target, chart: Chart) -> Identity:
    """Name target and architecture: a stored flow fits where these are the same.

    Keys of the architecture without a value are left out, so keys may be added later.
    """
    flow = config.flow.model_dump()
    return {
        "target": target.fingerprint.identity,
        "n_linear": chart.n_linear,
        "n_circular": chart.n_circular,
        **{name: value for name, value in flow.items() if value is not None},
    }


def _misfit(log_w: torch.Tensor) -> float:
    """Variance of the log weights of explored samples in the first map: twice its divergence.

    A base that is nearly exact leaves little to learn, and the jitter of training at the full rate
    is more than that: mw32, of an ESS of 95 % in the base, ended at 82 %. The full variance, no
    robust one, because a bent ridge is exact for most of its samples.
    """
    return float(log_w.var())


def load_trained(
    config: Config, target: Target, folder: Path, start: "Sampler | None" = None
) -> Model:
    """Model of a finished run, which had this `start`.

    Raises:
        RunFolderError: the run has no checkpoint yet.
    """
    saved, cache = latest_checkpoint(folder / "checkpoints"), folder / EXPLORATION_FILE
    if saved is None or not cache.exists():
        raise RunFolderError(f"{folder} holds no trained flow yet; finish it with --resume")
    exploration = Exploration.load(cache, exploration_key(config, target))
    model = build_model(config, target, exploration, start)
    model.state.restore(load_checkpoint(saved, model.identity))
    return model


def _training_frames(replica: np.ndarray, islands: bool) -> np.ndarray:
    """Hold out the last fifth, so that correlated frames do not leak across the split.

    Samples of an annealing are split between islands, at the border nearest to a fifth; where one
    island has all samples, within it.
    """
    cut = math.ceil((1.0 - HELD_OUT) * len(replica))
    borders = 1 + np.flatnonzero(np.diff(replica))
    if islands and len(borders):
        cut = borders[np.abs(borders - cut).argmin()]
    return np.arange(len(replica)) < cut


def exploration_key(config: Config, target: Target) -> str:
    """Changes with the target, the exploration settings and the seed."""
    # explorations by dynamics never named their method
    unnamed = {"method"} if config.exploration.method == "dynamics" else set()
    chosen = config.exploration.model_dump(mode="json", exclude=unnamed)
    settings = json.dumps(chosen, sort_keys=True)
    text = f"{target.fingerprint.identity} {settings} {config.seed}"
    return hashlib.sha256(text.encode()).hexdigest()
