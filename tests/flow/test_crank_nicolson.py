"""Moves in latent space: the base stays, and so does the target, by weights alone."""

import math

import pytest
import torch

from onestep_md.flow import crank_nicolson
from onestep_md.training.chains import accept

SHIFT, WIDTH = 0.6, 0.8  # of the target on every line; on circles p ~ exp(cos angle)


def log_p(flow, s):
    line, circle = s[:, : flow.n_linear], s[:, flow.n_linear :]
    return -0.5 * ((line - SHIFT) / WIDTH).square().sum(-1) + circle.cos().sum(-1)


@pytest.mark.parametrize("stride", [0.1, 0.7, 1.0])
def test_moves_are_reversible_in_the_base(stride):
    """The distribution of both ends of a move is symmetric, with the marginals of the base."""
    n, generator = 40_000, torch.Generator().manual_seed(1)
    line = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    circle = (2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1) * math.pi
    z = torch.cat([line, circle], dim=-1)
    draws = crank_nicolson.Draws(torch.randn(n, 3, generator=generator).double(), True)
    new = crank_nicolson.propose(z, 2, stride, draws)
    assert ((new[:, 2] >= -math.pi) & (new[:, 2] < math.pi)).all()

    def features(at):
        return torch.stack([at[:, 0], at[:, 0] ** 2, at[:, 0] ** 3, at[:, 2].cos()], dim=-1)

    first, second = features(z), features(new)
    error = 5.0 * features(z).std(0) / math.sqrt(n)
    assert ((second - first).mean(0).abs() < error).all()
    swapped = (first[:, :, None] * second[:, None]).mean(0)
    spread = (first[:, :, None] * second[:, None]).std(0)
    assert ((swapped - swapped.T).abs() < 6.0 * spread / math.sqrt(n)).all()
    correlation = (z[:, 0] * new[:, 0]).mean()
    assert correlation == pytest.approx(math.sqrt(1 - stride**2), abs=0.03)


def test_a_quarter_of_the_moves_is_short():
    generator = torch.Generator().manual_seed(0)
    whole = [crank_nicolson.draw(1, 1, generator).full for _ in range(2000)]
    assert sum(whole) / 2000 == pytest.approx(0.75, abs=0.04)
    z = torch.zeros(1, 1, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    long, short = (
        crank_nicolson.propose(z, 1, 0.8, crank_nicolson.Draws(one, full))
        for full in (True, False)
    )
    assert (float(long), float(short)) == pytest.approx((0.8, 0.2))


def test_chains_reach_the_target_through_a_flow_that_does_not(random_flow):
    flow, n = random_flow(2, 1), 2000
    generator = torch.Generator().manual_seed(0)
    s = torch.zeros(n, 3, dtype=torch.float64)
    for _ in range(150):
        with torch.no_grad():
            z, log_det = flow.inverse(s, 1)
            draws = crank_nicolson.draw(n, 3, generator)
            near = crank_nicolson.propose(z, 2, 0.5, draws)
            new, log_det_new = flow(near, 1)
        log_w = log_p(flow, s) + 0.5 * z[:, :2].square().sum(-1) + log_det
        log_w_new = log_p(flow, new) + 0.5 * near[:, :2].square().sum(-1) + log_det_new
        s = torch.where(accept(log_w_new - log_w, generator)[:, None], new, s)
    error = 4.0 / math.sqrt(n)
    assert (s[:, :2].mean(0) - SHIFT).abs().max() < WIDTH * error
    assert (s[:, :2].std(0) - WIDTH).abs().max() < WIDTH * error
    # <cos> of exp(cos) is I_1(1) / I_0(1), <cos^2> = 1 - <cos>
    assert abs(s[:, 2].cos().mean() - 0.44640) < 0.6 * error
    assert abs(s[:, 2].sin().mean()) < 0.7 * error
