"""How the buffer's chains move: a Langevin step each, then jumps to flow samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart
from onestep_md.flow import langevin
from onestep_md.training.buffer import Buffer, Configurations


@dataclass(frozen=True)
class Weighted:
    """Configurations with their importance weights in the K-step map of a training step.

    Attributes:
        at: the configurations.
        log_w: (n,) log weights for the density that training samples.
    """

    at: Configurations
    log_w: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "Weighted":
        """Apply a function to all tensors."""
        return Weighted(self.at.map(function), function(self.log_w))

    def where(self, chosen: Tensor, other: "Weighted") -> "Weighted":
        """Take these where `chosen` (n,), else the others."""
        return Weighted(
            self.at.where(chosen, other.at), torch.where(chosen, self.log_w, other.log_w)
        )


@dataclass(frozen=True)
class Proposals:
    """Evaluated Langevin proposals of all drawn chains.

    Attributes:
        to: where they lead.
        log_ratio: (n,) logarithms of their Metropolis-Hastings ratios.
        full: whether they have the whole stride.
    """

    to: Weighted
    log_ratio: Tensor
    full: bool

    def map(self, function: Callable[[Tensor], Tensor]) -> "Proposals":
        """Apply a function to all tensors."""
        return Proposals(self.to.map(function), function(self.log_ratio), self.full)


def weigh(chart: Chart, at: Configurations, z: Tensor, log_det: Tensor) -> Weighted:
    """Weigh configurations F(z), with log_det (n,) the log|det DF| at z (n, dim)."""
    log_base = chart.log_base(z.detach().double())
    return Weighted(at, at.log_p - log_base + log_det.detach().double())


def weigh_proposals(
    chart: Chart,
    chains: Configurations,
    proposal: langevin.Proposal,
    proposed: Configurations,
) -> Proposals:
    """Weigh proposals and compute their acceptance ratios.

    Args:
        chart: coordinates of the flow.
        chains: where the chains are.
        proposal: where they may go.
        proposed: the same states with their energies.
    """
    log_ratio = langevin.log_ratio(proposal, proposed.log_p - chains.log_p, proposed.force)
    to = weigh(chart, proposed, proposal.z, proposal.log_det)
    return Proposals(to, log_ratio, proposal.full)


def move_chains(
    buffer: Buffer,
    index: Tensor,
    chains: Weighted,
    proposals: Proposals | None,
    samples: Weighted,
    generator: torch.Generator,
) -> Tensor:
    """Move the drawn chains of a buffer.

    Args:
        buffer: changed in place.
        index: (n,) which chains were drawn.
        chains: where these are.
        proposals: their Langevin proposals, if there are any.
        samples: flow samples; they take the places of chains, one for one.
        generator: source of the acceptances.

    Returns:
        Which chains (m,) have jumped, of the m that had a flow sample to jump to.
    """
    if proposals:
        accepted = langevin.accept(proposals.log_ratio, generator)
        if proposals.full:
            buffer.adapt(accepted)
        chains = proposals.to.where(accepted, chains)
    m = min(len(chains.log_w), len(samples.log_w))
    jumped = langevin.accept(samples.log_w[:m] - chains.log_w[:m], generator)
    buffer.replace(index, chains.at)
    buffer.replace(index[:m][jumped], samples.at[:m][jumped])
    return jumped
