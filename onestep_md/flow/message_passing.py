r"""Message passing on pair distances: what moves positions, computed from other positions.

As in Satorras et al., E(n) equivariant graph neural networks, arXiv 2102.09844, all pairs of
particles exchange messages that know distances only; vectors and matrices are sums over pairs of
the differences r_ij = r_i - r_j and of r_ij r_ij^T, times such messages. No particle has an index,
so exchange is a symmetry too. A particle's message to itself has r_ij = 0 and does no harm.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from onestep_md.flow.base import CLOCK_FEATURES

REACH = 6.0  # in widths of the base: farther pairs look alike, so that no outlier grows
SOFT = 0.1  # distance below which pairs lose their direction: r / |r| is not smooth at 0
CENTRES = 24  # Gaussians of the distance


class MessagePassing(nn.Module):
    """Two rounds of messages between all particles.

    Args:
        space: D of the positions.
        width: hidden units.
    """

    def __init__(self, space: int, width: int):
        super().__init__()
        self.space = space
        self.first = nn.Linear(CENTRES + 1, width)
        self.clock = nn.Linear(CLOCK_FEATURES, 3 * width)
        self.gather = nn.Linear(width, width)
        self.pair = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.receiver = nn.Linear(width, width, bias=False)
        self.gather_again = nn.Linear(width, width)
        self.to_pairs = nn.Linear(width, 2)
        self.to_particles = nn.Linear(width, 1)
        for last in (self.to_pairs, self.to_particles):  # an untrained flow is the identity
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, positions: Tensor, clock: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors, numbers and matrices of all particles.

        Args:
            positions: (batch, n, D) in widths of the base.
            clock: (batch or 1, 9) from the flow.

        Returns:
            (batch, n, D), (batch, n), and symmetric traceless (batch, n, D, D).
        """
        difference = positions[:, :, None] - positions[:, None]
        square = difference.square().sum(-1)
        first, second, third = self.clock(clock)[:, None, None].chunk(3, dim=-1)
        pair = silu(self.first(radial_features(square)) + first)
        node = silu(self.gather(pair.mean(2)) + second[:, 0])
        talk = self.receiver(node)[:, :, None] + self.sender(node)[:, None]
        pair = pair + silu(self.pair(pair) + talk + third)
        node = node + silu(self.gather_again(pair.mean(2)))
        along, across = self.to_pairs(pair).unbind(-1)

        reach = torch.rsqrt(1.0 + square / REACH**2)
        shift = ((along * reach)[..., None] * difference).sum(2)
        # sum_j a_ij r_ij r_ij^T / r_ij^2, as one matrix product per particle
        weighted = (across / (square + SOFT**2))[..., None] * difference
        return shift, self.to_particles(node)[..., 0], traceless(weighted.mT @ difference)


def radial_features(square: Tensor) -> Tensor:
    """Gaussians of a distance, and the distance itself: (...) squares to (..., CENTRES + 1)."""
    distance = torch.sqrt(square + SOFT**2)
    centres = torch.linspace(0.0, REACH, CENTRES, dtype=square.dtype, device=square.device)
    width = REACH / (CENTRES - 1)
    waves = torch.exp(-0.5 * ((distance[..., None] - centres) / width).square())
    return torch.cat([waves, torch.tanh(distance / REACH)[..., None]], dim=-1)


def traceless(matrix: Tensor) -> Tensor:
    """Symmetric matrices (..., D, D) less their mean eigenvalue."""
    mean = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return matrix - mean[..., None, None] * eye
