"""Diffusion paths: exact kernels, constant weights for the exact flow, unbiased for any flow."""

import math

import pytest
import torch

from onestep_md.flow.paths import (
    log_sampling,
    log_variance,
    noising_kernel,
    path_times,
    sampling_mean,
    simulate,
    states_at,
)
from onestep_md.flow.step import StepFlow

DIM = 4
FOUR = path_times("angle", 4)
grids = pytest.mark.parametrize("grid", ["angle", "brownian"])


def log_w(paths, log_p):
    """Log weights of paths whose ends have the log-density log_p."""
    return log_p(paths.s[-1]) + paths.log_noising - paths.log_sampling


@grids
def test_noising_kernels_compose_to_the_transition_of_the_path(grid):
    """s_t given s_1 is N(alpha_t s_1, gamma_t^2) however many steps lie between."""
    for steps in (4, 32):
        mean, variance, times = 1.0, 0.0, path_times(grid, steps)
        for k in reversed(range(1, steps)):
            r, added = noising_kernel(times[k], times[k + 1])
            mean, variance = r * mean, r * r * variance + added
            assert mean == pytest.approx(math.sin(0.5 * math.pi * times[k]), abs=1e-12)
            assert variance == pytest.approx(math.cos(0.5 * math.pi * times[k]) ** 2, abs=1e-12)
    assert noising_kernel(0.0, 0.25) == (0.0, 1.0)  # the path begins exactly at the base


def test_times_of_the_grids():
    assert path_times("angle", 4) == [0.0, 0.25, 0.5, 0.75, 1.0]
    tau = [math.sin(0.5 * math.pi * t) ** 2 for t in path_times("brownian", 8)]
    assert tau == pytest.approx([k / 8 for k in range(9)], abs=1e-15)


def test_noising_kernel_is_that_of_brownian_motion():
    """x_tau given x_tau' from cov(x_a, x_b) = min(a, b), in s_t = x_tau / sqrt(tau)."""
    for t, later in ((0.1, 0.2), (0.05, 0.9), (0.6, 1.0)):
        a, b = (math.sin(0.5 * math.pi * at) ** 2 for at in (t, later))
        covariance = torch.tensor([[min(p, q) / math.sqrt(p * q) for q in (a, b)] for p in (a, b)])
        slope = covariance[0, 1] / covariance[1, 1]
        left = covariance[0, 0] - slope * covariance[1, 0]
        assert noising_kernel(t, later) == pytest.approx((float(slope), float(left)), rel=1e-5)


def test_weights_are_those_of_a_controlled_brownian_motion_from_a_point(random_flow):
    """The path integral sampler, computed in its own coordinates by Girsanov's theorem."""
    flow, times = random_flow(DIM, 0, scale=0.5), path_times("brownian", 16)
    z = torch.randn(50, DIM, generator=torch.Generator().manual_seed(12), dtype=torch.float64)
    paths = simulate(flow, z, times, torch.Generator().manual_seed(13))
    tau = torch.linspace(0.0, 1.0, 17, dtype=torch.float64)
    x = paths.s * tau.sqrt()[:, None, None]
    cost = torch.zeros(50, dtype=torch.float64)
    for k, step in enumerate(tau.diff()):
        with torch.no_grad():
            moved, _ = flow.step(paths.s[k], times[k], 1 / 16)
        v = 16 * (moved - paths.s[k])
        end = x[k] + 2 / math.pi * (1 - tau[k]).sqrt() * v
        control = (end - x[k]) / (1 - tau[k])
        # log of controlled over uncontrolled: u . dx - |u|^2 dtau / 2
        cost = cost + (control * (x[k + 1] - x[k])).sum(-1) - 0.5 * step * control.square().sum(-1)
    # the uncontrolled motion ends in N(0, I)
    end_density = -0.5 * x[-1].square().sum(-1) - 0.5 * DIM * math.log(2 * math.pi)
    assert cost.std() > 0.3
    torch.testing.assert_close(paths.log_noising - paths.log_sampling, -end_density - cost)


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
    r, added = noising_kernel(t, t + d)
    later = a * a * v + g * g
    expected = r * later / (r * r * later + added) * s
    torch.testing.assert_close(sampling_mean(flow, s, t, t + d, d), expected)


@grids
@pytest.mark.parametrize("steps", [1, 8, 32])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_weights_are_constant_for_a_shifted_base(grid, steps, shift):
    """For p_1 = N(m, I): E[s_1 | s_t] = m + alpha (s_t - alpha m), and v = (pi/2) gamma m."""

    class Exact(StepFlow):
        def step(self, s, t, d):
            return s + d * 0.5 * math.pi * math.cos(0.5 * math.pi * t) * shift, s.new_zeros(len(s))

    flow = Exact(DIM, 0, layers=2, width=8, orders=1, bins=0, seed=0).double()
    z = torch.randn(200, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    paths = simulate(flow, z, path_times(grid, steps), torch.Generator().manual_seed(2))
    weights = log_w(paths, lambda s: -0.5 * (s - shift).square().sum(-1))
    expected = 0.5 * DIM * math.log(2.0 * math.pi)
    torch.testing.assert_close(weights, torch.full_like(weights, expected), rtol=0, atol=1e-10)


@grids
@pytest.mark.parametrize("seed", range(4))
def test_weights_of_any_flow_average_to_the_normaliser(random_flow, grid, seed):
    flow = random_flow(DIM, 0, seed=seed, scale=0.05)
    z = torch.randn(20_000, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    paths = simulate(flow, z, path_times(grid, 8), torch.Generator().manual_seed(4))
    w = torch.exp(log_w(paths, lambda s: -0.5 * (s - 0.2).square().sum(-1)))
    z_true = (2.0 * math.pi) ** (DIM / 2)
    error = float(w.std() / len(w) ** 0.5)
    assert w.std() / w.mean() > 0.05  # the flow is not exact
    assert abs(float(w.mean()) - z_true) < 4.5 * error


@grids
def test_log_sampling_repeats_what_the_simulation_counted(random_flow, grid):
    flow, times = random_flow(DIM, 0), path_times(grid, 8)
    z = torch.randn(10, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    paths = simulate(flow, z, times, torch.Generator().manual_seed(6))
    whole = log_sampling(flow, paths.s, times, list(range(8)))
    torch.testing.assert_close(whole, paths.log_sampling)
    part = sum(log_sampling(flow, paths.s, times, [k]) for k in range(8)) / 8
    torch.testing.assert_close(part, paths.log_sampling)  # so a random choice is unbiased


@grids
def test_visited_states_are_given_back(random_flow, grid):
    flow, times, n = random_flow(DIM, 0), path_times(grid, 8), 60
    z = torch.randn(n, DIM, generator=torch.Generator().manual_seed(14), dtype=torch.float64)
    s = simulate(flow, z, times, torch.Generator().manual_seed(15), until=5).s
    k = torch.arange(n) % 6
    t = torch.tensor(times, dtype=torch.float64)[k]
    found = states_at(s, times, t, torch.Generator().manual_seed(16))
    torch.testing.assert_close(found, s[k, torch.arange(n)])


@pytest.mark.parametrize("t", [0.01, 0.3, 0.97])
def test_states_between_visits_have_the_covariance_of_the_process(t):
    """For a target that is the base, cov(s_a, s_b) = alpha_a / alpha_b, a < b, at any times."""
    times, n = path_times("brownian", 4), 50_000
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(17), dtype=torch.float64)
    flow = StepFlow(2, 0, layers=2, width=8, orders=1, bins=0, seed=0).double()
    s = simulate(flow, z, times, torch.Generator().manual_seed(18)).s
    wanted = torch.full((n,), t, dtype=torch.float64)
    at_t = states_at(s, times, wanted, torch.Generator().manual_seed(19))
    assert float(at_t.square().mean()) == pytest.approx(1.0, abs=4 / n**0.5)
    alpha = math.sin(0.5 * math.pi * t)
    for other, state in zip(times[1:], s[1:], strict=True):
        ratio = alpha / math.sin(0.5 * math.pi * other)
        expected = min(ratio, 1.0 / ratio)
        assert float((at_t * state).mean()) == pytest.approx(expected, abs=4 / n**0.5)


def test_log_variance_has_the_gradient_of_half_the_variance(random_flow):
    flow = random_flow(DIM, 0)
    z = torch.randn(30, DIM, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    paths = simulate(flow, z, FOUR, torch.Generator().manual_seed(8))
    known = -0.5 * (paths.s[-1] - 1.0).square().sum(-1) + paths.log_noising
    log_p = log_sampling(flow, paths.s, FOUR, list(range(4)))
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
    paths = simulate(flow, z, FOUR, torch.Generator().manual_seed(10))
    weights = torch.randn(6, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    lost = weights.clone()
    lost[2] = -torch.inf
    log_p = log_sampling(flow, paths.s, FOUR, [0, 1, 2, 3])
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(
        log_variance(log_p, lost), log_variance(log_p[others], weights[others])
    )
