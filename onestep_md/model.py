"""A chart and a flow for one molecule, fitted to its exploration; new, or as a run left it.

Called by `pipeline` at the start of training and when more samples are drawn.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.buffer import Buffer, Configurations
from onestep_md.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.coordinates.chart import MolecularChart, fit_chart
from onestep_md.energy_exploration import flat_chart, internal_coordinates
from onestep_md.errors import RunFolderError
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.step import StepFlow
from onestep_md.targets.density_target import DensityTarget
from onestep_md.targets.exploration import Exploration
from onestep_md.targets.molecule import Molecule
from onestep_md.targets.particles import Particles
from onestep_md.train_state import TrainState, start_state

_BINS = 32  # of splines, where they are needed: each step then takes several times as long
HELD_OUT = 0.2  # of the exploration, its end: judges the flow, never trains it


@dataclass(frozen=True)
class Model:
    """A chart and an untrained or restored flow, with the exploration frames behind them."""

    chart: Chart
    state: TrainState
    exploration: Exploration
    training: np.ndarray  # (n,) bool: exploration frames the flow may see
    identity: str


def build_model(
    config: Config, target: Molecule | DensityTarget, exploration: Exploration
) -> Model:
    """Fit the chart to the exploration and set up flow, teacher, optimizer and buffer."""
    training = _training_frames(exploration.replica)
    x, gradient = exploration.frames[training], exploration.grad_u[training]
    frames, grad_u = torch.from_numpy(x), torch.from_numpy(gradient)
    torch.manual_seed(config.seed)  # initial weights of the network
    if config.flow.coordinates == "cartesian":
        chart, flow = _of_particles(config, target.density, frames)
    else:
        molecular = isinstance(target, Molecule)
        chart = _molecular_chart(target, frames) if molecular else flat_chart(x, gradient)
        bins = config.flow.bins
        if bins is None:
            bins = _BINS if chart.modes_left else 0
        flow = StepFlow(
            chart.n_linear,
            chart.n_circular,
            config.flow.layers,
            config.flow.width,
            config.flow.orders,
            bins,
            seed=config.seed,
            lens=chart.lens,
        )
    s, log_det = chart.from_x(frames)
    emphasis = chart.log_emphasis(s)
    log_p = log_det - torch.from_numpy(exploration.u[training]) + emphasis
    explored = Configurations(s, log_p, chart.pull_back_frames(s, frames, grad_u))
    pick = torch.Generator().manual_seed(config.seed)
    index = torch.multinomial(
        torch.softmax(emphasis, 0), config.train.buffer, replacement=True, generator=pick
    )
    buffer = Buffer(explored[index])
    peak = config.train.learning_rate * min(1.0, _to_learn(log_p - chart.log_base(s)))
    state = start_state(flow, buffer, peak, config.seed)
    identity = (
        f"{target.fingerprint.identity}, "
        f"{chart.n_linear} + {chart.n_circular} coordinates, flow {config.flow.model_dump()}"
    )
    return Model(chart, state, exploration, training, identity)


def _to_learn(log_w: torch.Tensor) -> float:
    """Variance of the log weights of explored samples in the base: twice its divergence, in nats.

    A base that is nearly exact leaves little to learn, and the jitter of training at the full rate
    is more than that: mw32, of an ESS of 95 % in the base, ended at 82 %. The full variance, no
    robust one, because a bent ridge is exact for most of its samples.
    """
    return float(log_w.var())


def _of_particles(
    config: Config, density: Particles, frames: torch.Tensor
) -> tuple[CartesianChart, EquivariantFlow]:
    chart = CartesianChart(frames, density.basis, density.space)
    settings = config.flow
    flow = EquivariantFlow(
        density.basis, density.space, settings.layers, settings.width, settings.network
    )
    return chart, flow


def _molecular_chart(molecule: Molecule, frames: torch.Tensor) -> MolecularChart:
    coordinates = internal_coordinates(molecule)
    q, _ = coordinates.from_cartesian(frames)
    return fit_chart(coordinates, q)


def load_trained(config: Config, target: Molecule | DensityTarget, folder: Path) -> Model:
    """Model of a finished run.

    Raises:
        RunFolderError: the run has no checkpoint yet.
    """
    saved, cache = latest_checkpoint(folder / "checkpoints"), folder / "exploration.npz"
    if saved is None or not cache.exists():
        raise RunFolderError(f"{folder} holds no trained flow yet; finish it with --resume")
    exploration = Exploration.load(cache, exploration_key(config, target))
    model = build_model(config, target, exploration)
    model.state.restore(load_checkpoint(saved, model.identity))
    return model


def _training_frames(replica: np.ndarray) -> np.ndarray:
    """All but the last fifth: neighbours in time, or relatives, do not end up on both sides."""
    return np.arange(len(replica)) < (1.0 - HELD_OUT) * len(replica)


def exploration_key(config: Config, target: Molecule | DensityTarget) -> str:
    """Changes with the target, the exploration settings and the seed."""
    annealing = {"method", "particles", "moves", "snapshots"}
    chosen = config.exploration.model_dump(mode="json")
    # keys of the other kind of exploration change nothing
    of_dynamics = config.exploration.method == "dynamics"
    chosen = {key: chosen[key] for key in chosen if (key in annealing) != of_dynamics}
    settings = json.dumps(chosen, sort_keys=True)
    text = f"{target.fingerprint.identity} {settings} {config.seed}"
    return hashlib.sha256(text.encode()).hexdigest()
