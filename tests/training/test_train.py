"""The training loop: lost evaluators, bounded supports, energies without gradients."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from onestep_md.config import Config, Train
from onestep_md.coordinates.flat import FlatChart
from onestep_md.distributed.learners import Alone
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.errors import PoolError
from onestep_md.flow import losses
from onestep_md.flow.step import StepFlow
from onestep_md.targets.densities import GaussianMixture
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.training.state import TrainState, start_state
from onestep_md.training.task import Keeper, Task
from onestep_md.training.train import train, train_step

DIM = 2


def shifted():
    return GaussianMixture("shifted", torch.ones(1, DIM, dtype=torch.float64), 0.6)


class Mortal(SerialEvaluators):
    """Lost for good after some batches."""

    def __init__(self, batches):
        super().__init__(functools.partial(DensityEvaluator, shifted), "torch")
        self.batches, self.published = batches, []

    def collect(self, ticket):
        self.batches -= 1
        if self.batches < 0:
            raise PoolError("none of the 2 evaluators has answered")
        return super().collect(ticket)

    def publish(self, values):
        self.published.append(values)


def short(**others) -> Train:
    values = {
        "batch": 32, "regression_batch": 16, "learning_rate": 1e-3, "state_weight": 0.1,
        "volume_weight": 0.02,
    }  # fmt: skip
    if others.get("method", "buffer") == "buffer":
        values |= {"likelihood_weight": 1, "step_shares": (2, 1, 1, 1), "flow_weight": 0.01}
    target = {"kind": "density", "name": "gmm9"}
    return Config.model_validate({"target": target, "train": values | others}).train


def state_of(explored: Configurations) -> TrainState:
    torch.manual_seed(0)
    flow = StepFlow(DIM, 0, layers=2, width=16, orders=1, bins=0, seed=0)
    return start_state(flow, Buffer(explored), 1e-3, seed=1)


# a buffer sends two batches in a step whose chains move
@pytest.mark.parametrize(("method", "steps"), [("buffer", 4), ("osds", 7)])
def test_lost_evaluators_leave_a_checkpoint_that_resumes_bit_for_bit(
    tmp_path: Path, method, steps
):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, DIM, generator=generator, dtype=torch.float64)
    chart = FlatChart.fit((x - x.mean(0)) / x.std(0))
    settings = short(method=method, steps=12)

    def start():
        return state_of(Configurations(x[:50], -0.5 * x[:50].square().sum(-1), -x[:50]))

    def go_on(state, folder, batches):
        folder.mkdir(exist_ok=True)
        evaluators = Mortal(batches)
        task = Task("only", state, chart, x, evaluators, folder)
        keeper = Keeper([task], folder, {"target": "same"}, settings.checkpoint_interval)
        train([task], settings, keeper, lambda *_: None)
        return evaluators

    expected = start()
    (values,) = go_on(expected, tmp_path / "whole", batches=99).published  # after ten steps
    assert {"ess", "loss_energy", "loss_flow"} < values.keys()
    with pytest.raises(PoolError, match="none of the 2"):
        go_on(start(), tmp_path / "broken", batches=7)
    resumed = start()
    saved = latest_checkpoint(tmp_path / "broken" / "checkpoints")
    resumed.restore(load_checkpoint(saved, {"target": "same"}))
    assert resumed.step == steps
    go_on(resumed, tmp_path / "broken", batches=99)
    for ours, theirs in zip(resumed.flow.parameters(), expected.flow.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(resumed.buffer.chains.s, expected.buffer.chains.s)


class Walls:
    """U = 0 left of an edge, and outside of the support right of it."""

    dim = DIM

    def __init__(self, edge: float):
        self.edge = edge

    def log_prob(self, x):
        return torch.where(x[:, 0] < self.edge, 0.0 * x[:, 0], -torch.inf)


@pytest.mark.parametrize(("edge", "walled"), [(-1.0, True), (0.0, True), (5.0, False)])
def test_too_many_samples_outside_teach_the_likelihood_alone(edge, walled):
    state, evaluators, chart = among(functools.partial(Walls, edge), lambda x: x[:, 0] < edge)
    before = torch.cat([p.detach().flatten() for p in state.flow.parameters()])
    info = train_step(state, ENERGY_ALONE, chart, evaluators, Alone())
    after = torch.cat([p.detach().flatten() for p in state.flow.parameters()])
    assert torch.equal(before, after) == walled == bool(state.walled)
    assert np.isfinite(info.loss_energy)
    state.restore(state.dump() | {"walled": 7})
    assert state.walled == 7


class Trap:
    """N(0, I), on one side without a gradient."""

    dim = DIM

    def log_prob(self, x):
        y = x[:, 0]
        nothing = torch.where(y > 0, torch.sqrt(y), 0.0) * 0.0
        return torch.where(y > 0, nothing, 0.0) - 0.5 * x.square().sum(1)


def test_energies_without_gradients_have_weights_and_no_pull():
    state, evaluators, chart = among(Trap, lambda x: x[:, 0] < 9.0)
    for _ in range(3):
        info = train_step(state, ENERGY_ALONE, chart, evaluators, Alone())
    assert info.infinite == 0 and evaluators.gaps.gradients > 20 and not state.walled
    assert state.buffer.chains.force.isnan().any()  # and nothing that follows minds
    for _ in range(3):
        info = train_step(state, short(steps=1), chart, evaluators, Alone())
    assert info.loss_flow > 0 and math.isfinite(info.loss_flow)
    assert all(p.isfinite().all() for p in state.flow.parameters())


ENERGY_ALONE = short(steps=1).model_copy(
    update=dict.fromkeys(["likelihood_weight", "flow_weight", "state_weight", "volume_weight"], 0)
)


def among(density, inside):
    """A state whose chains are in a part of N(0, I), evaluators of a density, a chart."""
    x = torch.randn(500, DIM, generator=torch.Generator().manual_seed(0)).double()
    chains = x[inside(x)]
    explored = Configurations(chains, torch.zeros(len(chains)).double(), torch.zeros_like(chains))
    evaluators = SerialEvaluators(functools.partial(DensityEvaluator, density), "torch")
    return state_of(explored), evaluators, FlatChart.fit(x)


def test_without_a_weight_the_energy_teaches_nothing(monkeypatch):
    x = torch.randn(500, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chart = FlatChart.fit((x - x.mean(0)) / x.std(0))
    explored = Configurations(x[:50], -0.5 * x[:50].square().sum(-1), -x[:50])
    evaluators = SerialEvaluators(functools.partial(DensityEvaluator, shifted), "torch")

    def trained(weight, rescaled=1.0):
        state, settings = state_of(explored), short(energy_weight=weight)
        own = losses.energy
        with monkeypatch.context() as patch:
            patch.setattr(losses, "energy", lambda *given: rescaled * own(*given))
            info = train_step(state, settings, chart, evaluators, Alone())
        assert info.evaluations >= settings.batch  # chains still jump to flow samples
        return torch.cat([p.detach().flatten() for p in state.flow.parameters()])

    nothing = trained(0.0)
    assert torch.equal(nothing, trained(0.0, rescaled=3.0))
    assert not torch.equal(nothing, trained(1.0))
    torch.testing.assert_close(trained(0.1), trained(1.0, rescaled=0.1))
