"""Distances, angles and torsions of a batch of conformations, with well-behaved gradients.

The batch is the last axis: rows of atoms are contiguous, and everything vectorises over it.
"""

import functools

import torch
from torch import Tensor


class Geometry:
    """A batch of conformations, and the distances that several terms need.

    Attributes:
        positions: (atoms, 3, batch) in nm.
    """

    def __init__(self, x: Tensor):
        """Take conformations (batch, atoms, 3) in nm."""
        self.positions = x.permute(1, 2, 0).contiguous()

    @property
    def zero(self) -> Tensor:
        """Zeros (batch,)."""
        return self.positions.new_zeros(self.positions.shape[-1])

    @functools.cached_property
    def pair_distances(self) -> Tensor:
        """Distances (pairs, batch) in the order of `all_pairs`."""
        pairs = all_pairs(len(self.positions)).to(self.positions.device)
        return self.distance(pairs)

    def distance(self, atoms: Tensor) -> Tensor:
        """Distances (n, batch) of atoms (2, n)."""
        i, j = self._take(atoms)
        away = i - j
        return (away * away).sum(1).sqrt()

    def angle(self, atoms: Tensor) -> Tensor:
        """Angles (n, batch) in [0, pi] of atoms (3, n), the second in the middle."""
        i, j, k = self._take(atoms)
        a, b = i - j, k - j
        # the arc cosine has no digits near a straight angle, and no gradient at it
        sine = torch.linalg.vector_norm(torch.linalg.cross(a, b, dim=1), dim=1)
        return torch.atan2(sine, (a * b).sum(1))

    def torsion(self, atoms: Tensor) -> Tensor:
        """Torsions (n, batch) in [-pi, pi] of atoms (4, n)."""
        i, j, k, m = self._take(atoms)
        a, b, c = j - i, k - j, m - k
        normal = torch.linalg.cross(b, c, dim=1)
        sine = (a * normal).sum(1) * torch.linalg.vector_norm(b, dim=1)
        return torch.atan2(sine, (torch.linalg.cross(a, b, dim=1) * normal).sum(1))

    def _take(self, atoms: Tensor) -> list[Tensor]:
        return [self.positions.index_select(0, row) for row in atoms]


def all_pairs(atoms: int) -> Tensor:
    """Return all pairs i < j as (2, pairs)."""
    return torch.triu_indices(atoms, atoms, 1)
