r"""Message passing on pair distances: what moves positions, computed from other positions.

As in Satorras et al., E(n) equivariant graph neural networks, arXiv 2102.09844, all pairs of
particles exchange messages that know distances only, and vectors are sums of r_ij = r_i - r_j
times such messages. No particle has an index, so exchange is a symmetry too. A particle's message
to itself has r_ij = 0 and does no harm.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from onestep_md.flow.base import CLOCK_FEATURES

REACH = 6.0  # in widths of the base: farther pairs look alike, so that no outlier grows
SOFT = 0.1  # distance below which pairs lose their direction: r / |r| is not smooth at 0
CENTRES = 20  # Gaussians of the distance


class MessagePassing(nn.Module):
    """Two rounds of messages between all particles.

    Args:
        width: hidden units.
    """

    def __init__(self, width: int):
        super().__init__()
        self.radial = nn.Linear(CENTRES + 1, width)
        self.clock = nn.Linear(CLOCK_FEATURES, 3 * width)
        self.gather = nn.Linear(width, width)
        self.pair = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.receiver = nn.Linear(width, width, bias=False)
        self.gather_again = nn.Linear(width, width)
        self.to_pairs = zeros(nn.Linear(width, 3))
        self.to_particles = zeros(nn.Linear(width, 1))

    def forward(self, positions: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of all particles and one symmetric matrix.

        Args:
            positions: (batch, n, D) in widths of the base.
            clock: (batch or 1, 9) from the flow.

        Returns:
            (batch, n, D), and (batch, n D, n D) from `stiffness`.
        """
        difference = positions[:, :, None] - positions[:, None]
        square = difference.square().sum(-1)
        first, second, third = self.clock(clock)[:, None, None].chunk(3, dim=-1)
        pair = silu(self.radial(radial_features(square)) + first)
        node = silu(self.gather(pair.mean(2)) + second[:, 0])
        talk = self.receiver(node)[:, :, None] + self.sender(node)[:, None]
        pair = pair + silu(self.pair(pair) + talk + third)
        node = node + silu(self.gather_again(pair.mean(2)))

        along, common, radial = self.to_pairs(pair).unbind(-1)
        along = along * torch.rsqrt(1.0 + square / REACH**2)
        shift = (along[..., None] * difference).sum(2)
        direction = difference * torch.rsqrt(square + SOFT**2)[..., None]
        eye = torch.eye(positions.shape[-1], dtype=positions.dtype, device=positions.device)
        own = self.to_particles(node)[..., None] * eye
        return shift, stiffness(own, common + common.mT, radial + radial.mT, direction)


def zeros(last: nn.Linear) -> nn.Linear:
    """The layer with all parameters zero, so that an untrained flow is the identity: K = 0."""
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return last


def radial_features(square: Tensor) -> Tensor:
    """Gaussians of a distance, and the distance itself: (...) squares to (..., CENTRES + 1)."""
    distance = torch.sqrt(square + SOFT**2)
    centres = torch.linspace(0.0, REACH, CENTRES, dtype=square.dtype, device=square.device)
    width = REACH / (CENTRES - 1)
    waves = torch.exp(-0.5 * ((distance[..., None] - centres) / width).square())
    return torch.cat([waves, torch.tanh(distance / REACH)[..., None]], dim=-1)


def stiffness(own: Tensor, common: Tensor, radial: Tensor, direction: Tensor) -> Tensor:
    r"""A symmetric matrix S over all particles, of the form of a Hessian of pair energies.

        v^T S v = sum_i v_i^T own_i v_i + sum_{i<j} (v_i - v_j)^T W_ij (v_i - v_j)
        W_ij = common_ij I + radial_ij e_ij e_ij^T

    The blocks between particles matter: what moves by a function of all positions changes volume
    by all of that function's Jacobian, and without them only a part of it can be made up for.

    Args:
        own: (batch, n, D, D) symmetric.
        common, radial: (batch, n, n) symmetric in i and j.
        direction: (batch, n, n, D) e_ij.

    Returns:
        (batch, n D, n D).
    """
    n, space = direction.shape[1], direction.shape[-1]
    eye = torch.eye(n, dtype=own.dtype, device=own.device)[..., None, None]
    pairs = common[..., None, None] * eye[:space, :space, 0, 0]
    pairs = pairs + (radial[..., None] * direction)[..., None] * direction[..., None, :]
    blocks = eye * (own + pairs.sum(2))[:, :, None] - pairs
    return blocks.transpose(2, 3).flatten(1, 2).flatten(2, 3)
