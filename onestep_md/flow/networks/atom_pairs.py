"""Vectors and a matrix that move the atoms of a molecule, computed from other positions of them.

The counterpart of `message_passing` for atoms that differ: every atom has the invariants of its
`surroundings`, and every pair a message made of those of both, of their distance and of the number
of bonds between them. Triple products are among the invariants, so a molecule and its mirror image
are moved differently, and enantiomers are distinguished.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from onestep_md.flow.base import set_to_zero
from onestep_md.flow.networks.message_passing import (
    CENTRES,
    Pairs,
    radial_features,
)
from onestep_md.flow.networks.surroundings import Surroundings, directions
from onestep_md.flow.networks.topology import Topology

_FAR = 4  # bonds between two atoms; more are not distinguished


class AtomPairs(nn.Module):
    """Vectors and one symmetric matrix, called like `MessagePassing`.

    Args:
        width: hidden units.
        network: egnn or e3nn, how directions are read.
        topology: of the molecule.
    """

    separation: Tensor

    def __init__(self, width: int, network: str, topology: Topology):
        super().__init__()
        self.topology, self.pairs = topology, Pairs(len(topology.atoms))
        apart = _bonds_between(topology.bonded)[self.pairs.i, self.pairs.j]
        separation = nn.functional.one_hot(apart - 1, _FAR).float()
        self.register_buffer("separation", separation, persistent=False)
        self.reader = Surroundings(width, directions(network, width))
        self.radial = nn.Linear(CENTRES + 1, width)
        self.by_separation = nn.Linear(_FAR, width, bias=False)
        self.member = nn.Linear(width, width, bias=False)
        self.to_pairs = set_to_zero(nn.Linear(width, 3))
        self.to_atoms = set_to_zero(nn.Linear(width, 1))

    def forward(self, positions: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """As `MessagePassing.forward`, with positions (batch, n, 3) in 0.1 nm."""
        pairs = self.pairs
        node = self.reader(positions, clock, self.topology)
        difference = pairs.apart(positions)
        square = difference.square().sum(-1)
        pair = self.radial(radial_features(square)) + self.by_separation(self.separation)
        pair = silu(pair + pairs.both(self.member(node)))

        return pairs.shift_and_stiffness(
            difference, square, self.to_pairs(pair), self.to_atoms(node)
        )


def _bonds_between(bonded: Tensor) -> Tensor:
    """Number of bonds between two atoms, up to _FAR, (n, n), from an adjacency matrix."""
    reached = torch.eye(len(bonded))
    apart = torch.zeros_like(bonded, dtype=torch.long)
    for _ in range(_FAR):
        apart += reached == 0
        reached = reached + reached @ bonded
    return apart
