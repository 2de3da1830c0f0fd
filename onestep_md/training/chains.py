"""How the buffer's chains move: a step in latent space each, then jumps to flow samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart
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

    def __getitem__(self, rows: slice) -> "Weighted":
        return Weighted(self.at[rows], self.log_w[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Weighted":
        """Apply a function to all tensors."""
        return Weighted(self.at.map(function), function(self.log_w))

    def where(self, chosen: Tensor, other: "Weighted") -> "Weighted":
        """Take these where `chosen` (n,), else the others."""
        return Weighted(
            self.at.where(chosen, other.at), torch.where(chosen, self.log_w, other.log_w)
        )


def weigh(chart: Chart, at: Configurations, z: Tensor, log_det: Tensor) -> Weighted:
    """Weigh configurations F(z), with log_det (n,) the log|det DF| at z (n, dim)."""
    log_base = chart.log_base(z.detach().double())
    return Weighted(at, at.log_p - log_base + log_det.detach().double())


def accept(log_ratio: Tensor, generator: torch.Generator) -> Tensor:
    """True (n,) with probability min(1, ratio); false where the ratio is no number.

    Moves that leave the base invariant, and flow samples, which do not depend on where the chains
    are, have the ratio of the importance weights.
    """
    toss = torch.rand(len(log_ratio), generator=generator, dtype=torch.float64)
    return toss.log() < log_ratio


def move_chains(
    buffer: Buffer,
    index: Tensor,
    chains: Weighted,
    proposals: Weighted | None,
    every: int,
    full: bool,
    samples: Weighted,
    generator: torch.Generator,
) -> Tensor:
    """Move the drawn chains of a buffer.

    Args:
        buffer: changed in place.
        index: (n,) which chains were drawn.
        chains: where these are.
        proposals: where the chains 0, every, 2 every, ... of these may go, if anywhere.
        every: see proposals; 1 for all chains.
        full: whether these have the whole stride.
        samples: flow samples; they take the places of chains, one for one.
        generator: source of the acceptances.

    Returns:
        Which chains (m,) have jumped, of the m that had a flow sample to jump to.
    """
    log_w = chains.log_w.clone()
    if proposals:
        start = chains[::every]
        accepted = accept(proposals.log_w - start.log_w, generator)
        if full:
            buffer.adapt(accepted)
        moved = proposals.where(accepted, start)
        buffer.replace(index[::every], moved.at)
        log_w[::every] = moved.log_w
    m = min(len(log_w), len(samples.log_w))
    jumped = accept(samples.log_w[:m] - log_w[:m], generator)
    buffer.replace(index[:m][jumped], samples.at[:m][jumped])
    return jumped
