r"""Invariants of the surroundings of every atom of a molecule.

Two rounds of

    T_i = sum_j g(r_ij) (x) h_j,   node_i = MLP(T_i),

g Gaussians of the distance and h_j features of the other atom: its kind in the first round, and
its own sums in the second. The sum comes before anything of the width of the network, so a
pair costs a few Gaussians and not a hidden layer, and all the rest are matrix products (atomic
density expansions: Bartok et al., arXiv 1209.3140; Drautz, Phys. Rev. B 99, 014104).

Directions enter the first round: by vectors here, by spherical harmonics in `harmonics`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from onestep_md.flow.base import CLOCK_FEATURES
from onestep_md.flow.networks.message_passing import SOFT
from onestep_md.flow.networks.topology import Context, Topology

SHELLS = 14  # Gaussians of the distance
_SCALE = 0.3  # of sums over some ten atoms
_REACH = 8.0  # of 0.1 nm: farther atoms do not count
_CHANNELS = 8  # features of an atom in the sums of the others
_VECTORS = 4  # the same in sums of vectors
_TRIPLES = 4  # triple products, each of three vectors


class Surroundings(nn.Module):
    """Invariants of every atom.

    Args:
        width: number of invariants.
        directions: `Vectors` or another module that is called like it.

    The names of the layers stand in stored models.
    """

    def __init__(self, width: int, directions: nn.Module):
        super().__init__()
        self.context = Context(width)
        self.directions = directions
        self.clock = nn.Linear(CLOCK_FEATURES, width)
        self.speak = nn.Linear(width, _CHANNELS)
        self.hear = nn.Linear(SHELLS * _CHANNELS, width)
        self.settle = nn.Linear(width, width)
        self.speak_again = nn.Linear(width, _CHANNELS)
        self.hear_again = nn.Linear(SHELLS * _CHANNELS, width)

    def forward(self, positions: Tensor, clock: Tensor, topology: Topology) -> Tensor:
        """Read a molecule.

        Args:
            positions: (batch, n, 3) in 0.1 nm.
            clock: (batch or 1, 9) from the flow.
            topology: of the molecule.

        Returns:
            (batch, n, width).
        """
        shells = gaussians(positions)
        atoms = self.context(topology)
        node = atoms + self.clock(clock)[:, None] + self.directions(positions, shells, atoms)
        node = silu(node + self.hear(_sums(shells, self.speak(atoms))))
        node = node + silu(self.settle(node))
        return node + silu(self.hear_again(_sums(shells, self.speak_again(node))))


class Vectors(nn.Module):
    """Inner and triple products of vectors, the sums

        sum_j g(r_ij) h_j (r_i - r_j) = r_i sum_j g(r_ij) h_j - sum_j g(r_ij) (h_j r_j).

    Triple products change their sign in a mirror, and nothing else here does.

    Args:
        width: of the atoms' features, and number of results.
    """

    def __init__(self, width: int):
        super().__init__()
        self.speak = nn.Linear(width, _VECTORS, bias=False)
        self.to_vectors = nn.Linear(SHELLS * _VECTORS, 3 * _TRIPLES, bias=False)
        self.products = nn.Linear(4 * _TRIPLES, width)

    def forward(self, positions: Tensor, shells: Tensor, atoms: Tensor) -> Tensor:
        """Invariants (batch, n, width) of all atoms.

        Args:
            positions: (batch, n, 3) in 0.1 nm.
            shells: `gaussians` of them.
            atoms: (n, width) features of the atoms without positions.
        """
        weights = self.speak(atoms).expand(len(positions), -1, -1)
        carried = (weights[:, :, None] * positions[..., None]).flatten(2)
        sums = (shells @ torch.cat([weights, carried], dim=-1)).unflatten(1, (len(atoms), -1))
        at, carried = sums.split((_VECTORS, 3 * _VECTORS), dim=-1)
        carried = carried.unflatten(-1, (3, _VECTORS)).transpose(2, 3).flatten(3)
        at = self.to_vectors(at.flatten(2))[:, :, None]
        vectors = at * positions[..., None] - self.to_vectors(carried)
        vectors = vectors * torch.rsqrt(1.0 + vectors.square().sum(2, keepdim=True))
        a, b, c = vectors.chunk(3, dim=-1)
        inner = [(u * v).sum(2) for u, v in ((a, b), (b, c), (c, a))]
        triple = (torch.linalg.cross(a, b, dim=2) * c).sum(2)
        return self.products(torch.cat([*inner, triple], dim=-1))


def directions(network: str, width: int) -> nn.Module:
    """Make the module by which `Surroundings` reads directions, for `network` egnn or e3nn."""
    if network == "egnn":
        return Vectors(width)
    # e3nn takes a second to import
    from onestep_md.flow.networks.harmonics import Tensors

    return Tensors(width)


def gaussians(positions: Tensor) -> Tensor:
    """Gaussians (batch, n * SHELLS, n) of the distances between atoms (batch, n, 3)."""
    n = positions.shape[1]
    square = (positions[:, :, None] - positions[:, None]).square().sum(-1)
    step = (_REACH - 1.0) / (SHELLS - 1)
    scale = math.sqrt(0.5) / step
    centres = scale * (1.0 + step * torch.arange(SHELLS, dtype=square.dtype))
    distance = scale * torch.sqrt(square + SOFT**2)
    shells = torch.exp(-(distance[:, :, None] - centres.to(square)[:, None]).square())
    # no atom counts in its own sums
    others = _SCALE * (1.0 - torch.eye(n, dtype=square.dtype, device=square.device))
    return (others[:, None] * shells).flatten(1, 2)


def _sums(shells: Tensor, features: Tensor) -> Tensor:
    """sum_j g_k(i, j) h_c(j): (batch, n k, n) and (batch or none, n, c) to (batch, n, k c)."""
    n = shells.shape[2]
    return (shells @ features).unflatten(1, (n, -1)).flatten(2)
