"""Benchmark densities of identical particles, without their centre.

Their mean position is zero. x are the (n-1) D coordinates of this subspace in an orthonormal
basis, and volumes are those of the subspace; `positions` computes the n D flat coordinates.
"""

import functools
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Particles(ABC):
    """A density of identical particles that no motion and no exchange of them changes.

    Args:
        name: the definition it stands for.
        n: number of particles.
        space: D, the dimension of their space.
    """

    log_z = None
    modes = None

    def __init__(self, name: str, n: int, space: int):
        self.name, self.n, self.space = name, n, space

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return (self.n - 1) * self.space

    @functools.cached_property
    def basis(self) -> Tensor:
        """(n, n-1) orthonormal columns, each orthogonal to the vector of ones (Helmert)."""
        basis = torch.zeros(self.n, self.n - 1, dtype=torch.float64)
        for k in range(1, self.n):
            # column k: k equal entries against one, all later ones zero
            basis[:k, k - 1] = 1.0 / math.sqrt(k * (k + 1))
            basis[k, k - 1] = -k / math.sqrt(k * (k + 1))
        return basis

    def positions(self, x: Tensor) -> Tensor:
        """Convert (..., dim) to the mean-free positions (..., n, D)."""
        return self.basis @ x.unflatten(-1, (self.n - 1, self.space))

    def coordinates(self, positions: Tensor) -> Tensor:
        """Convert positions (..., n, D) to (..., dim), and drop their mean."""
        return (self.basis.T @ positions).flatten(-2)

    def squared_distances(self, x: Tensor) -> Tensor:
        """Compute squared distances of all pairs, each once: (..., dim) to (..., n (n-1) / 2)."""
        # one row for each direction takes two thirds of the time of one row for each pair
        rows = self.positions(x).transpose(-1, -2)
        i, j = torch.triu_indices(self.n, self.n, offset=1)
        return (rows.index_select(-1, i) - rows.index_select(-1, j)).square().sum(-2)

    def draw_images(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Turn or reflect each of (batch, dim), and exchange its particles, at random."""
        turn = torch.randn(len(x), self.space, self.space, generator=generator, dtype=x.dtype)
        order = torch.rand(len(x), self.n, generator=generator).argsort(dim=1)
        positions = self.positions(x).take_along_dim(order[..., None], dim=1)
        return self.coordinates(positions @ _make_orthogonal(turn))

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density: (batch, dim) to (batch,), or (dim,) to () in torch.func."""

    def sample(self, n: int, generator: torch.Generator) -> None:
        """Return None: no sampler is known."""
        return None


def _make_orthogonal(matrix: Tensor) -> Tensor:
    """Make Haar-random orthogonal matrices from Gaussian ones (Mezzadri, 2007)."""
    q, r = torch.linalg.qr(matrix)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]


class DoubleWellParticles(Particles):
    """DW4: four particles in the plane with double-well pair distances.

    log p = -sum_{i<j} [0.9 (r_ij - 4)^4 - 4 (r_ij - 4)^2] / tau, tau = 1

    References:
        J. Köhler, L. Klein, F. Noé, Equivariant flows, ICML 2020, arXiv 2006.02425, with the
        constants of the later benchmarks at tau = 1.
    """

    def __init__(self):
        super().__init__("dw4", 4, 2)

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the formula above, see `Density`."""
        positions = self.positions(x)
        i, j = torch.triu_indices(4, 4, offset=1)
        # this norm has gradient 0, not NaN, where two particles coincide
        r = torch.linalg.vector_norm(positions[..., i, :] - positions[..., j, :], dim=-1)
        stretch = (r - 4.0).square()
        return -(stretch * (0.9 * stretch - 4.0)).sum(-1)


class LennardJones(Particles):
    """A cluster of Lennard-Jones particles in space, held together by a spring to their centre.

    log p = -2 sum_{i<j} (r_ij^-12 - 2 r_ij^-6) - sum_i |x_i - centre|^2 / 2

    The first sum is over ordered pairs with the factor f = 1, as in DEM (arXiv 2402.06121), PITA
    and ASBS, which add 1e-6 to r^2 (nothing here); half of it, as in bgflow and EACF, is another
    target. u is +inf, or overflows to it, where two particles coincide.
    """

    def __init__(self, n: int):
        super().__init__(f"lj{n}_f1", n, 3)

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the formula above, see `Density`."""
        attraction = self.squared_distances(x) ** -3
        pairs = (attraction * (attraction - 2.0)).sum(-1)
        return -2.0 * pairs - 0.5 * x.square().sum(-1)
