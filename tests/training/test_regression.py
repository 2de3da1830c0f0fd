"""Random numbers of the regression on chains."""

import torch

from onestep_md.config import Config
from onestep_md.coordinates.flat import FlatChart
from onestep_md.flow import losses
from onestep_md.training import regression


def settings(**values):
    target = {"kind": "density", "name": "gmm9"}
    return Config.model_validate({"target": target, "train": values}).train


def chart():
    return FlatChart.fit(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)).double())


def drawn(chosen, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return regression.draw(chosen, chart(), 500, generator), generator


def test_nothing_is_drawn_where_no_regression_has_a_weight():
    draws, generator = drawn(settings(flow_weight=0, state_weight=0, volume_weight=0))
    assert draws is None
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_steps_are_dyadic_and_lie_between_base_and_target():
    draws, _ = drawn(settings(volume_loss="tangent"))
    t, d = losses.dyadic_times(draws.level, draws.start)
    assert set(d.tolist()) == {0.5**k for k in range(7)}
    assert (t % d == 0).all()
    assert (t >= 0).all() and (t + d <= 1).all()
    assert draws.tangent.shape == draws.z.shape == (500, 3)


def test_only_the_volume_loss_on_tangents_draws_them():
    with_tangents, _ = drawn(settings(volume_loss="tangent"))
    without, _ = drawn(settings(volume_loss="logdet"))
    assert without.tangent.shape == (500, 0)
    assert torch.equal(without.start, with_tangents.start)
    halves = without.map(lambda rows: rows[250:])
    assert torch.equal(halves.t, without.t[250:]) and len(halves.tangent) == 250
