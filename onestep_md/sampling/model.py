"""A chart and a flow for one molecule, fitted to its exploration; new, or as a run left it.

Called by `pipeline` at the start of training and when more samples are drawn.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.config import SPLINE_BINS, Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.coordinates.chart import fit_chart
from onestep_md.coordinates.flat import flat_chart
from onestep_md.coordinates.molecule import internal_coordinates
from onestep_md.coordinates.positions import PositionChart
from onestep_md.coordinates.stereo import hands, twins
from onestep_md.errors import RunFolderError
from onestep_md.exploration.explored import Exploration
from onestep_md.flow.base import Flow
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.molecular import MolecularFlow
from onestep_md.flow.networks.topology import UNIT, Topology
from onestep_md.flow.step import StepFlow
from onestep_md.targets.density_target import DensityTarget
from onestep_md.targets.molecule import Molecule
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.training.identity import Identity
from onestep_md.training.state import TrainState, start_state

Target = Molecule | DensityTarget

HELD_OUT = 0.2  # of the exploration, its end: judges the flow, never trains it


@dataclass(frozen=True)
class Model:
    """A chart and an untrained or restored flow, with the exploration frames behind them."""

    chart: Chart
    state: TrainState
    exploration: Exploration
    training: np.ndarray  # (n,) bool: exploration frames the flow may see
    identity: Identity

    @property
    def training_frames(self) -> torch.Tensor:
        """The exploration frames (n, ...) that the flow may see."""
        return torch.from_numpy(self.exploration.frames[self.training])


def build_model(config: Config, target: Target, exploration: Exploration) -> Model:
    """Fit the chart to the exploration and set up flow, teacher, optimizer and buffer."""
    islands = config.exploration.method == "annealing"
    training = _training_frames(exploration.replica, islands)
    x, gradient = exploration.frames[training], exploration.grad_u[training]
    frames, grad_u = torch.from_numpy(x), torch.from_numpy(gradient)
    torch.manual_seed(config.seed)  # initial weights of the network
    chart = _chart(config, target, x, gradient)
    flow = new_flow(config, target, chart)
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
    return Model(chart, state, exploration, training, identity(config, target, chart))


def identity(config: Config, target: Target, chart: Chart) -> Identity:
    """Name target and architecture: a stored flow fits where these are the same.

    A key of the architecture that is left to the program, or that came later, is none of them.
    """
    flow = config.flow.model_dump()
    return {
        "target": target.fingerprint.identity,
        "n_linear": chart.n_linear,
        "n_circular": chart.n_circular,
        **{name: value for name, value in flow.items() if value is not None},
    }


def _to_learn(log_w: torch.Tensor) -> float:
    """Variance of the log weights of explored samples in the base: twice its divergence, in nats.

    A base that is nearly exact leaves little to learn, and the jitter of training at the full rate
    is more than that: mw32, of an ESS of 95 % in the base, ended at 82 %. The full variance, no
    robust one, because a bent ridge is exact for most of its samples.
    """
    return float(log_w.var())


def _chart(config: Config, target: Target, x: np.ndarray, gradient: np.ndarray) -> Chart:
    frames = torch.from_numpy(x)
    if isinstance(target, Molecule):
        if config.flow.base == "gaussian":
            elements, bonds = target.elements, target.bonds
            centres = hands(elements, bonds, target.positions)
            coordinates = internal_coordinates(target, centres)
            return PositionChart.fit(frames, coordinates, bonds, twins(elements, bonds))
        coordinates = internal_coordinates(target)
        return fit_chart(coordinates, coordinates.from_cartesian(frames)[0])
    if config.flow.coordinates == "cartesian":
        return CartesianChart.fit(frames, target.density.basis, target.density.space)
    return flat_chart(x, gradient)


def new_flow(config: Config, target: Target, chart: Chart) -> Flow:
    """An untrained flow in the coordinates of a chart."""
    layers, width, orders = config.flow.layers, config.flow.width, config.flow.orders
    network = config.flow.network
    if config.flow.coordinates != "cartesian":
        bins = config.flow.bins
        if bins is None:
            bins = SPLINE_BINS if chart.modes_left else 0
        line, circle = chart.n_linear, chart.n_circular
        return StepFlow(line, circle, layers, width, orders, bins, config.seed, chart.lens)
    if isinstance(target, Molecule):
        topology = Topology(target.elements, target.bonds)
        if isinstance(chart, PositionChart):
            spread = chart.spread / UNIT
            return EquivariantFlow(spread, chart.space, layers, width, network, topology)
        return MolecularFlow(chart, topology, layers, width, orders, network, config.seed)
    density = target.density
    return EquivariantFlow(density.basis, density.space, layers, width, network)


def load_trained(config: Config, target: Target, folder: Path) -> Model:
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


def _training_frames(replica: np.ndarray, islands: bool) -> np.ndarray:
    """All but the last fifth: neighbours in time, or relatives, do not end up on both sides.

    Of an annealing, whole islands: the cut is the border that is nearest to a fifth. Where one
    island has all samples it goes through that.
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
