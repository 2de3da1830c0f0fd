"""How gradients are added, and numbers that a step reports of its batch."""

import math

import pytest
import torch

from onestep_md.estimators.weights import ess
from onestep_md.flow.step import StepFlow
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.state import TrainState, batch_ess, log_weight_spread, start_state


def fresh() -> TrainState:
    torch.manual_seed(0)
    flow = StepFlow(2, 0, layers=2, width=8, orders=1, bins=0, seed=0)
    zeros = torch.zeros(4, 2)
    return start_state(flow, Buffer(Configurations(zeros, zeros[:, 0], zeros)), 1e-3, seed=1)


def test_gradients_of_several_losses_are_added():
    state, other = fresh(), fresh()
    parameters = list(state.flow.parameters())
    generator = torch.Generator().manual_seed(0)
    each = [[torch.randn(p.shape, generator=generator) for p in parameters] for _ in range(2)]
    state.descend(each, evaluations=3)
    other.descend([[a + b for a, b in zip(*each, strict=True)]], evaluations=3)
    assert state.step == 1 and state.evaluations == 3
    for ours, theirs, before in zip(
        parameters, other.flow.parameters(), fresh().flow.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs) and not torch.equal(ours, before)


def test_equal_weights_have_no_spread_and_the_whole_ess():
    log_w = torch.full((8,), 3.0, dtype=torch.float64)
    assert log_weight_spread(log_w) == pytest.approx(0.0, abs=1e-12)
    assert batch_ess(log_w) == pytest.approx(1.0)


def test_ess_is_that_of_the_estimators():
    log_w = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_w[:3] = -math.inf
    assert batch_ess(log_w) == pytest.approx(ess(log_w.numpy()), rel=1e-12)


def test_a_batch_without_weights_has_no_numbers():
    none = torch.full((4,), -math.inf, dtype=torch.float64)
    assert math.isnan(batch_ess(none)) and math.isnan(log_weight_spread(none))
