"""A trained one-step sampler on its own: chart, flow and the samples of the target beside them.

Every run leaves one in `model.pt`, small and complete: with the configuration and the target that
lie in the same folder it draws samples without the exploration and the checkpoints of its making.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.errors import RunFolderError, TargetError
from onestep_md.files import replacing
from onestep_md.flow.base import Flow
from onestep_md.sampling.chart_file import chart_facts, chart_of
from onestep_md.sampling.draw import TargetSamples
from onestep_md.sampling.model import Model, identity
from onestep_md.sampling.old_models import PARTS, old_chart_facts
from onestep_md.sampling.target import Target
from onestep_md.training.identity import Identity, difference, read_identity

NAME = "model.pt"
_FORMAT = 3
_HELD_OUT = 2000  # target samples that are kept at most, evenly chosen


@dataclass(frozen=True)
class Sampler:
    """A chart and a flow to draw samples with; the flow is the averaged one, in float64."""

    chart: Chart
    flow: Flow
    held_out: TargetSamples


def sampler_of(model: Model) -> Sampler:
    """Make the sampler of a trained model, with the part of the exploration that was held out."""
    return Sampler(model.chart, copy.deepcopy(model.state.teacher).double(), _held_out(model))


def _held_out(model: Model) -> TargetSamples:
    explored, chosen = model.exploration, ~model.training
    return TargetSamples(explored.frames[chosen], explored.u[chosen], explored.replica[chosen])


def save_sampler(folder: Path, model: Model) -> None:
    """Write `folder/model.pt`."""
    held_out = _held_out(model).at_most(_HELD_OUT)
    content = {
        "format": _FORMAT,
        "identity": model.identity,
        "chart": chart_facts(model.chart),
        "flow": {name: value.cpu() for name, value in model.state.teacher.weights().items()},
        "held_out": [
            torch.from_numpy(array) for array in (held_out.x, held_out.u, held_out.walker)
        ],
    }
    with replacing(folder / NAME) as aside:
        torch.save(content, aside)


def load_sampler(config: Config, target: Target, folder: Path) -> Sampler:
    """Read what `save_sampler` wrote.

    Raises:
        RunFolderError: there is none, or it cannot be read, or is of another target.
    """
    path = folder / NAME
    stored, ours = _read(config, target, path)
    differs = difference(stored.identity, ours)
    if differs:
        raise RunFolderError(f"{path} belongs to another target or architecture: {differs}")
    return _make(config, target, stored)


def load_start(config: Config, target: Target, path: Path) -> Sampler:
    """Read a sampler of another target of the same configurations, to start from.

    Raises:
        RunFolderError: there is none, or it cannot be read.
        TargetError: its architecture is not that of the configuration.
    """
    stored, ours = _read(config, target, path)
    differs = difference(stored.identity, ours | {"target": stored.identity["target"]})
    if differs:
        raise TargetError(
            f"exploration.from: the flow of {path.parent} has another architecture, so that its "
            f"weights do not fit: {differs}. Give the section flow the values that stand there."
        )
    return _make(config, target, stored)


@dataclass(frozen=True)
class _Stored:
    """The contents of a file."""

    identity: Identity
    chart: Chart
    flow: dict[str, torch.Tensor]
    held_out: TargetSamples


def _read(config: Config, target: Target, path: Path) -> tuple[_Stored, Identity]:
    """Read a file, and name the identity that it has to have."""
    if not path.exists():
        raise RunFolderError(f"{path.parent} holds no trained flow yet; finish it with --resume")
    try:
        with torch.serialization.safe_globals(PARTS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise RunFolderError(f"cannot read {path}: {error}") from error
    version = content["format"]
    if version > _FORMAT:
        raise RunFolderError(
            f"{path} has format {version}, this version reads {_FORMAT}; use a newer one"
        )
    try:
        facts = content["chart"]
        if version < _FORMAT:
            facts = old_chart_facts(facts, target.elements)
        chart = chart_of(facts)
        trained = read_identity(content["identity"])
    except (KeyError, ValueError, AttributeError) as error:
        raise RunFolderError(f"cannot read {path}: {error}") from error
    held_out = TargetSamples(*(tensor.numpy() for tensor in content["held_out"]))
    return _Stored(trained, chart, content["flow"], held_out), identity(config, target, chart)


def _make(config: Config, target: Target, stored: _Stored) -> Sampler:
    flow = target.new_flow(config, stored.chart)
    flow.load_weights(stored.flow)
    return Sampler(stored.chart, flow.double().requires_grad_(False), stored.held_out)
