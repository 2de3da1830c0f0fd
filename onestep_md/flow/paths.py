r"""Diffusion paths of the step-conditioned flow, for training from the energy alone.

The noising chain of the variance-preserving path is s_t = r s_t' + sqrt(1 - r^2) xi, t < t', with
r = alpha_t / alpha_t', alpha_t = sin(pi t/2), gamma_t = cos(pi t/2): exact for any t', and at
t = 0 exactly the base. The sampling chain goes the other way. Its velocity is that of the flow's
smallest step, v = (F(s; t, d) - s) / d, and on the path this gives the expected end,

    v = (pi/2) (gamma E[s_1 | s_t] - alpha E[z | s_t])
    s_t = alpha E[s_1 | s_t] + gamma E[z | s_t]
    =>  E[s_1 | s_t] = alpha s_t + (2/pi) gamma v,

so that s_t' is Gaussian about the mean of the noising chain's posterior given s_t and s_1. For a
target that is the base, v = 0 and both chains are the same Ornstein-Uhlenbeck process, the
reference of DIS and DDS (arXiv 2211.01364, 2302.13834).

The path integral sampler (PIS, arXiv 2111.15141) controls a Brownian motion that starts from the
point 0 and is N(0, I) at its end. It is the same process, in x_tau = sqrt(tau) s_t with
tau = alpha_t^2. The path, the noising kernel and the controlled step are

    x_tau = tau x_1 + sqrt(tau (1 - tau)) xi
        s_t = sqrt(tau) s_1 + sqrt(1 - tau) xi = alpha s_1 + gamma xi
    x_tau | x_tau' ~ N((tau / tau') x_tau', tau (tau' - tau) / tau')
        s_t | s_t' ~ N(sqrt(tau / tau') s_t', 1 - tau / tau') = N(r s_t', 1 - r^2)
    x_tau' = x_tau + (tau' - tau) (E[x_1 | x_tau] - x_tau) / (1 - tau) + sqrt(tau' - tau) xi
        s_t' = r (1 - tau') / (1 - tau) s_t + alpha_t' (1 - r^2) / (1 - tau) E[s_1 | s_t]
               + sqrt(1 - r^2) xi,

which is `sampling_mean`. At t = 0, r = 0: s_0 is noise, and x_0 = 0 does not depend on it. What
remains is the difference of the times at which a path is visited, `path_times`.

Log weight of a path, that of all these samplers (also arXiv 2512.05251):

    log p(s_1) - log p_0(s_0) + sum_k [log q(s_k | s_{k+1}) - log p(s_{k+1} | s_k)]
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onestep_md.flow.base import Flow


@dataclass(frozen=True)
class Paths:
    """Simulated paths of `steps` steps.

    Attributes:
        s: (steps + 1, batch, dim) visited states, s[0] from the base.
        log_noising: (batch,) sum of log q(s_k | s_{k+1}) - log p_0(s_0); no parameters in it.
        log_sampling: (batch,) sum of log p(s_{k+1} | s_k) of the flow that drew them.
    """

    s: Tensor
    log_noising: Tensor
    log_sampling: Tensor


def _signal(t: float) -> float:
    return math.sin(0.5 * math.pi * t)


def path_times(grid: str, steps: int) -> list[float]:
    """Flow times 0 = t_0 < ... < t_steps = 1 of a path.

    Args:
        grid: "angle" for equal steps of t, "brownian" for equal steps of tau = sin^2(pi t/2).
        steps: of the whole path.
    """
    if grid == "brownian":
        return [2.0 / math.pi * math.asin(math.sqrt(k / steps)) for k in range(steps + 1)]
    return [k / steps for k in range(steps + 1)]


def noising_kernel(t: float, later: float) -> tuple[float, float]:
    """Factor r of the mean and the variance of the state at t given that at a later time."""
    r = _signal(t) / _signal(later)
    return r, 1.0 - r * r


def sampling_mean(flow: Flow, s: Tensor, t: float, later: float, d: float) -> Tensor:
    """Mean of the state at a later time given s (batch, dim) at t.

    The variance is that of `noising_kernel`; d is the step size whose velocity is taken.
    """
    moved, _ = flow.step(s, t, d)
    v = (moved - s) / d
    alpha, gamma = _signal(t), _signal(1.0 - t)
    end = alpha * s + (2.0 / math.pi) * gamma * v
    r, variance = noising_kernel(t, later)
    # posterior of the later state given s and the end, by the precisions of its two neighbours
    share = variance / gamma**2
    return _signal(later) * share * end + r * (_signal(1.0 - later) / gamma) ** 2 * s


def log_normal(s: Tensor, mean: Tensor, variance: float) -> Tensor:
    """Log-density (batch,) of an isotropic Gaussian."""
    square = (s - mean).square().sum(-1)
    return -0.5 * square / variance - 0.5 * s.shape[-1] * math.log(2.0 * math.pi * variance)


@torch.no_grad()
def simulate(
    flow: Flow,
    z: Tensor,
    times: list[float],
    generator: torch.Generator,
    until: int | None = None,
) -> Paths:
    """Draw paths of the sampling chain from base samples z (batch, dim).

    Args:
        flow: gives the drift by its steps of size 1 / steps, whatever the times between.
        z: (batch, dim) base samples.
        times: (steps + 1,) of a whole path, see `path_times`.
        generator: source of the noise.
        until: steps after which to stop; default: all.
    """
    steps, states = len(times) - 1, [z]
    log_noising = -log_normal(z, torch.zeros_like(z), 1.0)
    log_sampling = torch.zeros_like(log_noising)
    for k in range(steps if until is None else until):
        s = states[-1]
        mean = sampling_mean(flow, s, times[k], times[k + 1], 1.0 / steps)
        r, variance = noising_kernel(times[k], times[k + 1])
        noise = torch.randn(s.shape, generator=generator, dtype=s.dtype)
        after = mean + math.sqrt(variance) * noise
        log_sampling = log_sampling + log_normal(after, mean, variance)
        log_noising = log_noising + log_normal(s, r * after, variance)
        states.append(after)
    return Paths(torch.stack(states), log_noising, log_sampling)


def log_sampling(flow: Flow, s: Tensor, times: list[float], chosen: list[int]) -> Tensor:
    """Log-density of the chosen steps of paths s (steps + 1, batch, dim), differentiable.

    Scaled by steps / len(chosen): an unbiased estimate of the whole sum.
    """
    steps = len(s) - 1
    total = s.new_zeros(s.shape[1])
    for k in chosen:
        _, variance = noising_kernel(times[k], times[k + 1])
        mean = sampling_mean(flow, s[k], times[k], times[k + 1], 1.0 / steps)
        total = total + log_normal(s[k + 1], mean, variance)
    return total * (steps / len(chosen))


def states_at(s: Tensor, times: list[float], t: Tensor, generator: torch.Generator) -> Tensor:
    """States at any times of paths that were visited at others, by Brownian bridges of x_tau.

    Exact for the noising chain, and for the sampling chain as its control is constant between.

    Args:
        s: (visited, n, dim) the first states of n paths, at least two of each.
        times: (steps + 1,) of a whole path.
        t: (n,) wanted times, one of each path, up to the last one visited.
        generator: source of the noise.
    """
    visits = torch.tensor(times, dtype=s.dtype)[: len(s)]
    before = (torch.searchsorted(visits, t, right=True) - 1).clamp(max=len(s) - 2)
    path = torch.arange(len(t))
    alpha, a, b = (
        torch.sin(0.5 * math.pi * at).unsqueeze(-1)
        for at in (t, visits[before], visits[before + 1])
    )
    share = (alpha**2 - a**2) / (b**2 - a**2)
    spread = ((b**2 - a**2) * share * (1.0 - share)).clamp(min=0.0).sqrt()
    noise = torch.randn(t.shape + s.shape[2:], generator=generator, dtype=s.dtype)
    x = torch.lerp(a * s[before, path], b * s[before + 1, path], share) + spread * noise
    return torch.where(t.unsqueeze(-1) == 0.0, s[0], x / alpha)


def log_variance(log_sampling: Tensor, log_w: Tensor) -> Tensor:
    """Scalar whose gradient is that of half the variance of the log path weights.

    Zero exactly when all path weights are equal, whatever the paths were drawn from, so old paths
    serve as well as new ones (Richter and Berner, arXiv 2307.01198).

    Args:
        log_sampling: (batch,) differentiable log-density of the paths.
        log_w: (batch,) log weights of the paths, -inf allowed; these have no share.
    """
    finite = log_w.isfinite()
    centred = torch.where(finite, log_w - log_w[finite].mean(), 0.0)
    # d/dtheta of 1/2 Var(log w) = -Cov(log w, d log_sampling / dtheta)
    return -(centred.detach() * log_sampling).sum() / finite.sum().clamp(min=1)
