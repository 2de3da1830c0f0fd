"""Muon for what is inside networks, Adam for the rest."""

import copy

import pytest
import torch
from torch import nn

from onestep_md.flow.base import set_to_zero
from onestep_md.training.optimizer import Optimizer


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), nn.SiLU(), nn.Linear(12, 12), set_to_zero(nn.Linear(12, 3))
    )


def descend(net, optimizer, steps):
    """Towards a function of which one direction has a gradient a thousand times that of others."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    wanted = x[:, :3] * torch.tensor([30.0, 1.0, 1.0])
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) - wanted).square().mean().backward()
        optimizer.step()


def test_every_parameter_moves_and_singular_values_of_a_step_are_alike():
    net = network()
    descend(
        net, Optimizer(net, 1e-3, muon=True), 1
    )  # with an output of zero nothing inside has a gradient
    before = copy.deepcopy(net.state_dict())
    optimizer = Optimizer(net, 1e-3, muon=True)
    descend(net, optimizer, 1)
    change = {name: value - before[name] for name, value in net.state_dict().items()}
    assert all(bool(step.any()) for step in change.values())
    values = torch.linalg.svdvals(change["2.weight"])
    # five Newton-Schulz iterations leave them between 0.5 and 1.5 of the rate, except for
    # directions of (nearly) no gradient: there are as many as there are outputs
    assert (values[:3] / (8.0 * 1e-3)).sub(1.0).abs().max() < 0.5
    # Adam's first step is the rate itself in every entry
    bias = change["2.bias"]
    torch.testing.assert_close(bias.abs(), torch.full_like(bias, 1e-3), rtol=1e-2, atol=0)


def test_what_is_zero_in_an_untrained_network_is_left_to_adam():
    net = network()
    optimizer = Optimizer(net, 1e-3, muon=True)
    descend(net, optimizer, 1)
    step = net[3].weight.abs()
    torch.testing.assert_close(step, torch.full_like(step, 1e-3), rtol=1e-2, atol=0)


def test_the_rate_is_that_of_both():
    net = network()
    optimizer = Optimizer(net, 1e-3, muon=True)
    optimizer.rate = 0.0
    before = copy.deepcopy(net.state_dict())
    descend(net, optimizer, 2)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    assert optimizer.rate == 0.0


@pytest.mark.parametrize("split", [1, 4])
def test_saved_and_restored_it_goes_on_as_if_nothing_had_happened(split):
    whole, halves = network(), network()
    descend(whole, Optimizer(whole, 1e-2, muon=True), 8)
    first = Optimizer(halves, 1e-2, muon=True)
    descend(halves, first, split)
    again = network()  # the split into matrices and others is that of an untrained network
    second = Optimizer(again, 1e-2, muon=True)
    again.load_state_dict(halves.state_dict())
    second.load_state_dict(first.state_dict())
    descend(again, second, 8 - split)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_muon_all_is_adam():
    ours, theirs = network(), network()
    descend(ours, Optimizer(ours, 1e-2, muon=False), 5)
    descend(theirs, torch.optim.Adam(theirs.parameters(), 1e-2, betas=(0.9, 0.99)), 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
