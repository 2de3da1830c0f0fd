r"""Metropolis-adjusted Langevin moves in the latent space of the one-step map s = F(z).

The density pi(z) = p(F(z)) |det DF(z)| is nearly that of the base where the flow is good, whatever
the shape of p: one stride fits a funnel's neck and its mouth (Hoffman et al., arXiv 1903.03704).
A proposal and its acceptance are two calls, because energies are evaluated in between. Random
numbers are drawn apart from both, because several learners share the chains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from onestep_md.coordinates.base import wrap
from onestep_md.flow.base import Flow

_SHORT = 0.25  # of the stride, in every fourth proposal: for places that the flow fits badly


class Draws(NamedTuple):
    """Random numbers of n proposals.

    Attributes:
        noise: (n, dim) standard normal.
        full: whether the proposals have the whole stride.
    """

    noise: Tensor
    full: bool

    def map(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        """The function's value of the noise."""
        return Draws(function(self.noise), self.full)


@dataclass(frozen=True)
class Proposal:
    """Proposed places of chains.

    Attributes:
        s: (n, dim) the proposed states, F(z_new), a function of z.
        z: (n, dim) the same in latent space.
        log_det: (n,) log|det DF| there, a function of z.
        log_det_old: (n,) log|det DF| at z_old, where they are now.
        drift_old: (n, dim) grad log pi there.
        noise: (n, dim) standard normal.
        length: h of z = z_old + h^2/2 grad log pi + h noise.
        full: whether that is the whole stride.
    """

    s: Tensor
    z: Tensor
    log_det: Tensor
    log_det_old: Tensor
    drift_old: Tensor
    noise: Tensor
    length: float
    full: bool


def draw(n: int, dim: int, generator: torch.Generator) -> Draws:
    """Draw the random numbers of n proposals."""
    full = bool(torch.rand((), generator=generator) > 0.25)
    return Draws(torch.randn(n, dim, generator=generator), full)


def propose(
    flow: Flow, z: Tensor, force: Tensor, stride: float, noise: Tensor, full: bool
) -> Proposal:
    """Make a Langevin proposal for every chain.

    Args:
        flow: the step map.
        z: (n, dim) latent states.
        force: (n, dim) grad log p at F(z).
        stride: usual length of a proposal, in widths of the base.
        noise: (n, dim) from `draw`.
        full: from `draw`.
    """
    z, noise = z.detach().requires_grad_(), noise.to(z)
    s, log_det_old = flow(z, 1)
    drift_old = _drift(z, s, log_det_old, force)
    length = stride if full else _SHORT * stride
    new = z.detach() + 0.5 * length**2 * drift_old + length * noise
    new = torch.cat([new[:, : flow.n_linear], wrap(new[:, flow.n_linear :])], dim=-1)
    s, log_det = flow(new.requires_grad_(), 1)
    return Proposal(s, new, log_det, log_det_old.detach(), drift_old, noise, length, full)


def log_ratio(proposal: Proposal, rise: Tensor, force: Tensor) -> Tensor:
    """Logarithm (n,) of the Metropolis-Hastings ratio.

    Args:
        proposal: what `propose` returned; its graph is used up.
        rise: (n,) log p(s_new) - log p(s); -inf or nan is a rejection.
        force: (n, dim) grad log p at the proposed states.
    """
    drift = _drift(proposal.z, proposal.s, proposal.log_det, force)
    # the noise of the way back is -(noise + half), half = h/2 (drift_old + drift), so
    # log [pi(z_new) q(z|z_new) / (pi(z) q(z_new|z))] = d log pi - half . (noise + half/2)
    half = 0.5 * proposal.length * (proposal.drift_old + drift)
    back = (half * (proposal.noise + 0.5 * half)).sum(-1)
    return rise + (proposal.log_det.detach() - proposal.log_det_old - back).double()


def accept(log_ratio: Tensor, generator: torch.Generator) -> Tensor:
    """True (n,) with probability min(1, ratio); false where the ratio is no number.

    For flow samples as proposals, which do not depend on where the chains are, it is the ratio of
    the importance weights.
    """
    toss = torch.rand(len(log_ratio), generator=generator, dtype=torch.float64)
    return toss.log() < log_ratio


def _drift(z: Tensor, s: Tensor, log_det: Tensor, force: Tensor) -> Tensor:
    """Gradient (n, dim) in z of log pi = log p(F(z)) + log|det DF(z)|, F(z) = s as a graph."""
    (drift,) = torch.autograd.grad((s * force.to(s)).sum() + log_det.sum(), z)
    return drift
