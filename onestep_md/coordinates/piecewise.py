"""Densities that are linear in every cell of a table, and their distribution functions.

At the fraction xi of a cell of width w, with the densities p0 and p1 at its ends,

    p = p0 + (p1 - p0) xi,    CDF = CDF0 + w (p0 xi + (p1 - p0) xi^2 / 2),

so that the distribution function and its inverse are exact in closed form.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 1e-300


class Cells(NamedTuple):
    """One cell of its table for each point (batch, n).

    Attributes:
        start: cumulative probabilities where the cells begin.
        left: densities there.
        right: densities where the cells end.
        width: of the cells.
    """

    start: Tensor
    left: Tensor
    right: Tensor
    width: Tensor | float

    @classmethod
    def take(cls, index: Tensor, cdf: Tensor, density: Tensor, width: Tensor | float) -> "Cells":
        """Take the cells by their numbers.

        Args:
            index: (n, batch) numbers of the cells in each of n tables.
            cdf: (n, grid + 1) cumulative probabilities at the nodes.
            density: (n, grid + 1) densities at the nodes.
            width: (n, grid) widths of the cells, or the one width of all.
        """
        if isinstance(width, Tensor):
            width = width.gather(1, index).T
        left, right = (density.gather(1, i).T for i in (index, index + 1))
        return cls(cdf.gather(1, index).T, left, right, width)

    def integrate(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        """Find the cumulative probabilities and densities at the fractions xi of the cells."""
        rise = self.right - self.left
        mass = self.width * (self.left * xi + 0.5 * rise * xi * xi)
        return self.start + mass, self.left + rise * xi

    def invert(self, cumulative: Tensor) -> tuple[Tensor, Tensor]:
        """Find the fractions xi of cumulative probabilities, and the densities there."""
        rise = self.right - self.left
        # rest = p0 xi + (p1 - p0) xi^2 / 2, solved for xi without cancellation
        rest = (cumulative - self.start) / self.width
        square = (self.left * self.left + 2.0 * rise * rest).clamp(min=_TINY)
        xi = 2.0 * rest / (self.left + torch.sqrt(square))
        return xi, self.left + rise * xi


def cell_masses(density: Tensor, width: Tensor | float) -> Tensor:
    """Integrate densities (n, grid + 1) at the nodes over the cells, (n, grid)."""
    return 0.5 * width * (density[:, 1:] + density[:, :-1])
