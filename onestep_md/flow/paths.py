r"""Diffusion paths of the step-conditioned flow, for training from the energy alone.

The noising chain of the variance-preserving path is s_t = r s_{t+d} + sqrt(1 - r^2) xi with
r = alpha_t / alpha_{t+d}, alpha_t = sin(pi t/2), gamma_t = cos(pi t/2): exact for any d, and at
t = 0 exactly the base. The sampling chain goes the other way. Its velocity is that of the flow's
step, v = (F(s; t, d) - s) / d, and the path tells from it where the sample will end,

    v = (pi/2) (gamma E[s_1 | s_t] - alpha E[z | s_t])
    s_t = alpha E[s_1 | s_t] + gamma E[z | s_t]
    =>  E[s_1 | s_t] = alpha s_t + (2/pi) gamma v,

so that s_{t+d} is Gaussian about the mean of the noising chain's posterior given s_t and s_1. For
a target that is the base, v = 0 and both chains are the same Ornstein-Uhlenbeck process.

Log weight of a path, that of diffusion samplers (arXiv 2211.01364, 2512.05251):

    log p(s_1) - log p_0(s_0) + sum_k [log q(s_k | s_{k+1}) - log p(s_{k+1} | s_k)]
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onestep_md.flow.step import StepFlow


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


def noising_kernel(t: float, d: float) -> tuple[float, float]:
    """Factor r of the mean and the variance of s_t given s_{t+d}."""
    r = _signal(t) / _signal(t + d)
    return r, 1.0 - r * r


def sampling_mean(flow: StepFlow, s: Tensor, t: float, d: float) -> Tensor:
    """Mean of s_{t+d} given s_t = s (batch, dim); its variance is that of `noising_kernel`."""
    moved, _ = flow.step(s, t, d)
    v = (moved - s) / d
    alpha, gamma = _signal(t), _signal(1.0 - t)
    end = alpha * s + (2.0 / math.pi) * gamma * v
    r, variance = noising_kernel(t, d)
    # posterior of s_{t+d} given s_t and the end, by the precisions of its two neighbours
    share = variance / gamma**2
    return _signal(t + d) * share * end + r * (_signal(1.0 - t - d) / gamma) ** 2 * s


def log_normal(s: Tensor, mean: Tensor, variance: float) -> Tensor:
    """Log-density (batch,) of an isotropic Gaussian."""
    square = (s - mean).square().sum(-1)
    return -0.5 * square / variance - 0.5 * s.shape[-1] * math.log(2.0 * math.pi * variance)


@torch.no_grad()
def simulate(
    flow: StepFlow, z: Tensor, steps: int, generator: torch.Generator, until: int | None = None
) -> Paths:
    """Draw paths of the sampling chain from base samples z (batch, dim).

    Args:
        flow: gives the drift by its steps of size 1 / steps.
        z: (batch, dim) base samples.
        steps: of a whole path.
        generator: source of the noise.
        until: steps after which to stop; default: all.
    """
    d, states = 1.0 / steps, [z]
    log_noising = -log_normal(z, torch.zeros_like(z), 1.0)
    log_sampling = torch.zeros_like(log_noising)
    for k in range(steps if until is None else until):
        s = states[-1]
        mean = sampling_mean(flow, s, k * d, d)
        r, variance = noising_kernel(k * d, d)
        noise = torch.randn(s.shape, generator=generator, dtype=s.dtype)
        after = mean + math.sqrt(variance) * noise
        log_sampling = log_sampling + log_normal(after, mean, variance)
        log_noising = log_noising + log_normal(s, r * after, variance)
        states.append(after)
    return Paths(torch.stack(states), log_noising, log_sampling)


def log_sampling(flow: StepFlow, s: Tensor, chosen: list[int]) -> Tensor:
    """Log-density of the chosen steps of paths s (steps + 1, batch, dim), differentiable.

    Scaled by steps / len(chosen): an unbiased estimate of the whole sum.
    """
    steps = len(s) - 1
    total = s.new_zeros(s.shape[1])
    for k in chosen:
        _, variance = noising_kernel(k / steps, 1.0 / steps)
        mean = sampling_mean(flow, s[k], k / steps, 1.0 / steps)
        total = total + log_normal(s[k + 1], mean, variance)
    return total * (steps / len(chosen))


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
    return -(centred.detach() * log_sampling).sum() / finite.sum()
