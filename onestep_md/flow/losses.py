r"""The four losses of the step-conditioned flow. Each returns one scalar per sample, (batch,).

Notation: s flow state, t flow time (0 base, 1 target), d step size, f = grad_s log p of the target
in flow coordinates. Path: s_t = cos(pi t/2) z + sin(pi t/2) s_1 on the line (variance preserving),
the shortest arc on circles.

* flow matching, at the smallest step: v(s_t; t, d) against the velocity of the path. It stands
  where arXiv 2512.05251 simulates the controlled SDE: a molecule comes with configurations and
  forces.
* state consistency: one step lands where two half steps of the teacher land (same, eq. for L_sc).
* volume consistency: one step changes volume as much as the two half steps do; on log-determinants
  as published, or on one tangent vector.
* energy: divergence of the K-step map from the target, by its path gradient, which vanishes
  sample by sample when the flow is exact (Roeder et al., arXiv 1703.09194; Vaitl et al., arXiv
  2206.09016).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from onestep_md.coordinates.base import wrap
from onestep_md.flow.base import Flow

MIN_STEP = 1.0 / 128.0
_HEAVY = 30.0  # c: weight, in medians, beyond which a sample gains no more influence
_HEAVY_CHAIN = 10.0  # influence, in that of a chain of median weight, beyond which none gains more
_HOPELESS = 30.0  # nats below the median of all: a well of mere clashes has no influence


def negative_log_likelihood(z: Tensor, log_det: Tensor, n_linear: int) -> Tensor:
    """-log q at configurations, up to a constant, from what the flow's inverse returns there."""
    return 0.5 * z[:, :n_linear].square().sum(-1) + log_det


def path_point(z: Tensor, s1: Tensor, t: Tensor, n_linear: int) -> Tensor:
    """State on the path from base sample z to configuration s1 at times t (batch,)."""
    t = t.unsqueeze(-1)
    angle = 0.5 * math.pi * t
    line = torch.cos(angle) * z[:, :n_linear] + torch.sin(angle) * s1[:, :n_linear]
    arc = wrap(s1[:, n_linear:] - z[:, n_linear:])
    return torch.cat([line, wrap(z[:, n_linear:] + t * arc)], dim=-1)


def dyadic_times(level: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Times t and sizes d = 2^-level of steps, t a multiple of d.

    Args:
        level: (batch,) whole numbers.
        start: (batch,) in [0, 1), rounded down to t.
    """
    d = 0.5 ** level.float()
    return d * torch.floor(start / d), d


def difference(a: Tensor, b: Tensor, n_linear: int) -> Tensor:
    """The difference a - b, by the shorter way round on circles."""
    return torch.cat(
        [a[:, :n_linear] - b[:, :n_linear], wrap(a[:, n_linear:] - b[:, n_linear:])], -1
    )


def force_trust(s1: Tensor, force: Tensor, n_linear: int) -> Tensor:
    """Fraction (n_linear,) of the force in the velocity target of `flow_matching`.

    Two unbiased targets, with the mean squares |f + s_1|^2 (force) and 2 (ordinary): near 1 for a
    nearly Gaussian coordinate, near 0 for one with narrow modes, whose forces are large, and 0
    where no force is known.
    """
    square = (force[:, :n_linear] + s1[:, :n_linear]).square().nanmean(0)
    return (2.0 / (2.0 + square)).nan_to_num(0.0)


def flow_matching(
    flow: Flow, z: Tensor, s1: Tensor, force: Tensor, t: Tensor, trust: Tensor
) -> Tensor:
    """Squared error of the velocity of the smallest step.

    On the line the target uses the force: combining the two score identities of the path (from
    the noise end, and from the target's own gradient) with weights cos^2 and sin^2 gives
    v = (pi/2) cos(pi t/2) E[f(s_1) + s_1 | s_t], which has no variance at all for a Gaussian
    target, where the ordinary velocity (pi/2) (s_1 cos - z sin) has (pi/2)^2 per coordinate.

    Args:
        flow: the step map.
        z: (batch, dim) base samples.
        s1: (batch, dim) target configurations.
        force: (batch, dim) grad log p at s1, nan where it is not known.
        t: (batch,) flow times.
        trust: (n_linear,) fraction of the force in the target, see `force_trust`.
    """
    n = flow.n_linear
    trust = torch.where(force.isnan().any(-1, keepdim=True), 0.0, trust)
    s = path_point(z, s1, t, n)
    moved, _ = flow.step(s, t, MIN_STEP)
    velocity = difference(moved, s, n) / MIN_STEP
    cosine, sine = (f(0.5 * math.pi * t).unsqueeze(-1) for f in (torch.cos, torch.sin))
    by_force = cosine * (force[:, :n].nan_to_num() + s1[:, :n])
    ordinary = cosine * s1[:, :n] - sine * z[:, :n]
    line = 0.5 * math.pi * (trust * by_force + (1.0 - trust) * ordinary)
    target = torch.cat([line, wrap(s1[:, n:] - z[:, n:])], dim=-1)
    return (velocity - target).square().sum(-1)


def two_half_steps(flow: Flow, s: Tensor, t: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """State and summed log-determinant after two steps of d/2."""
    s, first = flow.step(s, t, 0.5 * d)
    s, second = flow.step(s, t + 0.5 * d, 0.5 * d)
    return s, first + second


def consistency_logdet(
    flow: Flow, teacher: Flow, s: Tensor, t: Tensor, d: Tensor
) -> tuple[Tensor, Tensor]:
    """State consistency and volume consistency on exact log-determinants (published form)."""
    with torch.no_grad():
        target, target_log_det = two_half_steps(teacher, s, t, d)
    moved, log_det = flow.step(s, t, d)
    state = difference(moved, target, flow.n_linear).square().sum(-1)
    return state, (log_det - target_log_det).square()


def consistency_tangent(
    flow: Flow, teacher: Flow, s: Tensor, t: Tensor, d: Tensor, tangent: Tensor
) -> tuple[Tensor, Tensor]:
    """State consistency and volume consistency on one random tangent vector.

    If DF v agrees for every direction v, the Jacobians and so the volumes agree; one
    Jacobian-vector product constrains more than the single number log|det|.
    """
    with torch.no_grad():
        target, target_tangent = push_forward(
            lambda state: two_half_steps(teacher, state, t, d)[0], s, tangent
        )
    moved, moved_tangent = push_forward(lambda state: flow.step(state, t, d)[0], s, tangent)
    state = difference(moved, target, flow.n_linear).square().sum(-1)
    return state, (moved_tangent - target_tangent).square().sum(-1)


def push_forward(
    function: Callable[[Tensor], Tensor], s: Tensor, tangent: Tensor
) -> tuple[Tensor, Tensor]:
    """Evaluate a function at s, and its Jacobian there times a tangent vector."""
    value, pushed = torch.func.jvp(function, (s,), (tangent,))[:2]
    return value, pushed


def influence(log_w: Tensor, well: Tensor, well_of_chains: Tensor) -> Tensor:
    """Influence (batch,) of every sample in `energy`, of sum one, from log weights, -inf allowed.

    a(w) = w / (1 + w/c), w relative to its median: the forward divergence, which gives clashes no
    influence and pulls the flow to what it misses, except that no single heavy sample takes over
    (c = 1 is the Jensen-Shannon divergence).

    Every well is compared with itself, and has the influence of its fraction of the chains: where
    the flow fits a rare well badly, all weights there are small, and beside those of other wells
    its samples would never count. Medians are those of finite weights, however many samples have
    none.

    Args:
        log_w: (batch,) log weights.
        well: (batch,) labels, equal for samples of the same well.
        well_of_chains: (n,) the same for chains of the target.
    """
    finite, result = log_w.isfinite(), torch.zeros_like(log_w)
    if not finite.any():
        return result
    middle = log_w[finite].median()
    for label in well[finite].unique():
        inside = (well == label) & finite
        own = log_w[inside]
        if own.median() < middle - _HOPELESS:
            continue
        # w / (1 + w/c) = c sigmoid(log w - log c)
        a = torch.sigmoid(own - own.median() - math.log(_HEAVY))
        result[inside] = (well_of_chains == label).double().mean() * a / a.sum()
    return result / result.sum().clamp(min=1e-12)  # none: no well has samples and chains


def chain_influence(log_w: Tensor) -> Tensor:
    """Influence (n,) of chains of the target in the likelihood, from log weights.

    The likelihood alone lowers E_p[log w], which places with a weight of e^10 hardly change, if
    they have a ten-thousandth of p; yet one sample from there spoils the ESS of a hundred
    thousand. With the root of the weights it is E_p[w^(1/2)], the alpha-divergence of order 3/2;
    order 2 would be the variance of the weights itself (Midgley et al., arXiv 2208.01893), and
    single chains would decide. Aspirin: a forward ESS of 4 or 9 % instead of 0.4 or 0.8 %.

    At an exact flow the gradient grad log q of each chain is still as long as ever; only their
    mean is zero. But E_p[w^-1 grad log q] = E_q[grad log q] is zero for any flow, so that any
    multiple of w^-1 can be taken off (a control variate). The one that leaves the least squares of
    influence is near 1 where the flow is good, and removes nearly all noise; it is smaller where
    few chains have most of w^-1. Alanine, 600 steps, the rest equal: a spread of log w of 0.054
    instead of 0.073 kT.

    Returns:
        The root, of mean one, less the control variate: all zero at an exact flow.
    """
    relative = log_w - log_w.median()
    root = torch.exp(0.5 * relative).clamp(max=_HEAVY_CHAIN)
    inverse = torch.exp(-relative).clamp(max=_HEAVY_CHAIN)
    multiple = (root @ inverse) / (inverse @ inverse)
    return (root - multiple * inverse) / root.mean()


def energy(s: Tensor, score: Tensor, force: Tensor, influence: Tensor) -> Tensor:
    """Scalar whose gradient is the weighted path gradient of the K-step map.

    For D = E_q[phi(w)], w = p/q, the gradient through the samples s = F(z) is
    E_q[a(w) grad_s(log q - log p) . dF] with a(w) = w^2 phi''(w): 1 for the reverse
    Kullback-Leibler divergence, w for the forward one; see `influence` for ours.

    Neither score nor force may be clipped sample by sample: the steep walls around the allowed
    regions contribute through few samples with large forces, and without them the remaining
    gradient is no descent direction (the flow leaks into the walls and diverges within minutes).

    Args:
        s: (batch, dim) flow samples, differentiable in the parameters.
        score: (batch, dim) grad log q at s, parameters held fixed.
        force: (batch, dim) grad log p at s, nan where it is not known.
        influence: (batch,) from `influence`.
    """
    known = ~force.isnan().any(-1)
    # a clash has no influence but perhaps an infinite force
    pull = ((influence * known).unsqueeze(-1) * (score - force)).nan_to_num(0.0, 0.0, 0.0)
    return (pull.to(s.dtype) * s).sum()
