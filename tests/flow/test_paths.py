"""Diffusion paths: exact kernels, constant weights for the exact flow, unbiased for any flow."""

import math

import pytest
import torch

from onestep_md.flow.paths import (
    log_sampling,
    log_variance,
    noising_kernel,
    sampling_mean,
    simulate,
)
from onestep_md.flow.step import StepFlow

DIM = 4


def still_flow():
    return StepFlow(DIM, 0, layers=2, width=8, orders=1, bins=0, seed=0).double()


def log_w(paths, log_p):
    """Log weights of paths whose ends have the log-density log_p."""
    return log_p(paths.s[-1]) + paths.log_noising - paths.log_sampling


def test_noising_kernels_compose_to_the_transition_of_the_path():
    """s_t given s_1 is N(alpha_t s_1, gamma_t^2) however many steps lie between."""
    for steps in (4, 32):
        mean, variance = 1.0, 0.0
        for k in reversed(range(1, steps)):
            r, added = noising_kernel(k / steps, 1.0 / steps)
            mean, variance = r * mean, r * r * variance + added
            assert mean == pytest.approx(math.sin(0.5 * math.pi * k / steps), abs=1e-12)
            assert variance == pytest.approx(math.cos(0.5 * math.pi * k / steps) ** 2, abs=1e-12)
    assert noising_kernel(0.0, 0.25) == (0.0, 1.0)  # the path begins exactly at the base


def test_mean_of_the_sampling_kernel_is_the_posterior_mean_of_a_gaussian_target():
    """For p_1 = N(0, v): E[s_{t+d} | s_t] from the closed joint Gaussian, velocity put in."""
    v, t, d = 0.3, 0.4, 0.05

    class Exact(StepFlow):
        def step(self, s, t, d):
            a, g = math.sin(0.5 * math.pi * t), math.cos(0.5 * math.pi * t)
            velocity = 0.5 * math.pi * a * g * (v - 1.0) / (a * a * v + g * g) * s
            return s + d * velocity, s.new_zeros(len(s))

    flow = Exact(DIM, 0, layers=2, width=8, orders=1, bins=0, seed=0).double()
    s = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, g = math.sin(0.5 * math.pi * (t + d)), math.cos(0.5 * math.pi * (t + d))
    r, added = noising_kernel(t, d)
    later = a * a * v + g * g
    expected = r * later / (r * r * later + added) * s
    torch.testing.assert_close(sampling_mean(flow, s, t, d), expected)


@pytest.mark.parametrize("steps", [1, 8, 32])
def test_weights_are_constant_when_the_target_is_the_base(steps):
    z = torch.randn(200, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    paths = simulate(still_flow(), z, steps, torch.Generator().manual_seed(2))
    weights = log_w(paths, lambda s: -0.5 * s.square().sum(-1))
    expected = 0.5 * DIM * math.log(2.0 * math.pi)
    torch.testing.assert_close(weights, torch.full_like(weights, expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_any_flow_average_to_the_normaliser(random_flow, seed):
    flow = random_flow(DIM, 0, seed=seed, scale=0.05)
    z = torch.randn(20_000, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    paths = simulate(flow, z, 8, torch.Generator().manual_seed(4))
    w = torch.exp(log_w(paths, lambda s: -0.5 * (s - 0.2).square().sum(-1)))
    z_true = (2.0 * math.pi) ** (DIM / 2)
    error = float(w.std() / len(w) ** 0.5)
    assert w.std() / w.mean() > 0.05  # the flow is not exact
    assert abs(float(w.mean()) - z_true) < 4.5 * error


def test_log_sampling_repeats_what_the_simulation_counted(random_flow):
    flow = random_flow(DIM, 0)
    z = torch.randn(10, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    paths = simulate(flow, z, 8, torch.Generator().manual_seed(6))
    whole = log_sampling(flow, paths.s, list(range(8)))
    torch.testing.assert_close(whole, paths.log_sampling)
    part = sum(log_sampling(flow, paths.s, [k]) for k in range(8)) / 8
    torch.testing.assert_close(part, paths.log_sampling)  # so a random choice is unbiased


def test_log_variance_has_the_gradient_of_half_the_variance(random_flow):
    flow = random_flow(DIM, 0)
    z = torch.randn(30, DIM, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    paths = simulate(flow, z, 4, torch.Generator().manual_seed(8))
    known = -0.5 * (paths.s[-1] - 1.0).square().sum(-1) + paths.log_noising
    log_p = log_sampling(flow, paths.s, list(range(4)))
    parameters = list(flow.parameters())
    ours = torch.autograd.grad(
        log_variance(log_p, (known - log_p).detach()), parameters, retain_graph=True
    )
    half = 0.5 * (known - log_p).var(correction=0)
    for a, b in zip(ours, torch.autograd.grad(half, parameters), strict=True):
        torch.testing.assert_close(a, b)


def test_a_path_of_zero_weight_has_no_share(random_flow):
    flow = random_flow(DIM, 0)
    z = torch.randn(6, DIM, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    paths = simulate(flow, z, 4, torch.Generator().manual_seed(10))
    weights = torch.randn(6, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    lost = weights.clone()
    lost[2] = -torch.inf
    log_p = log_sampling(flow, paths.s, [0, 1, 2, 3])
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(
        log_variance(log_p, lost), log_variance(log_p[others], weights[others])
    )
