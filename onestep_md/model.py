"""A chart and a flow for one molecule, fitted to its exploration; new, or as a run left it.

Called by `pipeline` at the start of training and when more samples are drawn.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.buffer import Buffer
from onestep_md.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.config import Config
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.zmatrix import build_zmatrix
from onestep_md.errors import RunFolderError
from onestep_md.flow.step import StepFlow
from onestep_md.targets.exploration import Exploration
from onestep_md.targets.molecule import Molecule
from onestep_md.train import TrainState, start_state

HELD_OUT = 0.2  # of the exploration, its end: judges the flow, never trains it


@dataclass(frozen=True)
class Model:
    """A chart and an untrained or restored flow, with the exploration frames behind them."""

    chart: MolecularChart
    state: TrainState
    exploration: Exploration
    training: np.ndarray  # (n,) bool: exploration frames the flow may see
    identity: str


def build_model(config: Config, molecule: Molecule, exploration: Exploration) -> Model:
    """Fit the chart to the exploration and set up flow, teacher, optimizer and buffer."""
    training = _training_frames(exploration.replica)
    zmatrix = build_zmatrix(
        molecule.elements, molecule.bonds, molecule.constraints, molecule.positions
    )
    coordinates = InternalCoordinates(zmatrix)
    frames = torch.from_numpy(exploration.frames[training])
    q, _ = coordinates.from_cartesian(frames)
    chart = MolecularChart(coordinates, q)
    torch.manual_seed(config.seed)  # initial weights of the network
    flow = StepFlow(
        chart.n_linear,
        chart.n_circular,
        config.flow.layers,
        config.flow.width,
        config.flow.orders,
        config.flow.bins,
        seed=config.seed,
        lens=chart.lens,
    )
    s, _ = chart.from_x(frames)
    force = chart.pull_back_frames(s, frames, torch.from_numpy(exploration.grad_u[training]))
    pick = torch.Generator().manual_seed(config.seed)
    emphasis = torch.softmax(chart.log_emphasis(s), 0)
    index = torch.multinomial(emphasis, config.train.buffer, replacement=True, generator=pick)
    buffer = Buffer(s[index], force[index])
    state = start_state(flow, buffer, config.train, config.seed)
    identity = (
        f"target {molecule.fingerprint.system_sha256[:12]} at {molecule.temperature} K, "
        f"{chart.n_linear} + {chart.n_circular} coordinates, flow {config.flow.model_dump()}"
    )
    return Model(chart, state, exploration, training, identity)


def load_trained(config: Config, molecule: Molecule, folder: Path) -> Model:
    """Model of a finished run.

    Raises:
        RunFolderError: the run has no checkpoint yet.
    """
    saved, cache = latest_checkpoint(folder / "checkpoints"), folder / "exploration.npz"
    if saved is None or not cache.exists():
        raise RunFolderError(f"{folder} holds no trained flow yet; finish it with --resume")
    exploration = Exploration.load(cache, exploration_key(config, molecule))
    model = build_model(config, molecule, exploration)
    model.state.restore(load_checkpoint(saved, model.identity))
    return model


def _training_frames(replica: np.ndarray) -> np.ndarray:
    """All but the last fifth, in time order; neighbours in time never end up on both sides."""
    return np.arange(len(replica)) < (1.0 - HELD_OUT) * len(replica)


def exploration_key(config: Config, molecule: Molecule) -> str:
    """Changes with the target, the exploration settings and the seed."""
    settings = json.dumps(config.exploration.model_dump(mode="json"), sort_keys=True)
    text = f"{molecule.fingerprint.system_sha256} {molecule.temperature} {settings} {config.seed}"
    return hashlib.sha256(text.encode()).hexdigest()
