r"""The chart of particles: mean-free coordinates in one common unit, and auxiliary noise.

An equivariant flow needs auxiliary positions, see `flow.equivariant`. The state is s = (s_x, s_a)
with x = sigma s_x, one sigma for all coordinates because any other scaling is no symmetry, and s_a
of the normal density N(s_a; 0, I) whatever x is. The flow samples the joint density

    p(s) = p(x(s)) sigma^m N(s_a; 0, I),   m = (n-1) D,

whose marginal in x is the target, so weights of the joint density are exact weights of x. What
other charts call log|det dx/ds| is m log sigma + log N(s_a; 0, I) here, and everything that is
made of it follows: log q(x) is then log q(x, s_a) - log N(s_a; 0, I).
"""

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onestep_md.coordinates.base import Chart

_SEED = 20_250_101  # of the auxiliaries that `from_x` draws
_TURNS = 2  # of matching and rotation in `nearest`


class CartesianChart(Chart):
    """Particles in D dimensions, scaled to unit variance."""

    def __init__(self, x: Tensor, basis: Tensor, space: int):
        """Fit the unit of length to samples.

        Args:
            x: (batch, (n-1) D) equal-weight samples in this basis, float64.
            basis: (n, n-1) orthonormal columns, each orthogonal to the vector of ones.
            space: D.
        """
        super().__init__()
        self.particles, self.space = len(basis), space
        self.register_buffer("basis", basis.double())
        # the mean of x is zero by symmetry, whatever a sample of it is
        self.register_buffer("sigma", x.square().mean().sqrt())

    def __str__(self) -> str:
        count = f"{self._free} coordinates and {self.n_linear - self._free} auxiliary ones"
        return f"{self.particles} particles in {self.space} dimensions, {count}"

    @property
    def n_linear(self) -> int:
        return (2 * self.particles - 1) * self.space

    @property
    def n_circular(self) -> int:
        return 0

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def _free(self) -> int:
        return (self.particles - 1) * self.space

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        auxiliary = s[:, self._free :]
        noise = -0.5 * (auxiliary.square() + math.log(2.0 * math.pi)).sum(-1)
        return self.sigma * s[:, : self._free], noise + self._free * self.sigma.log()

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_x` with auxiliaries drawn from N(0, I), the same ones at every call.

        If x are samples of the target, the states are samples of the joint density, so EUBO and
        BAR hold for it.
        """
        generator = torch.Generator().manual_seed(_SEED)
        count = self.n_linear - self._free
        auxiliary = torch.randn(len(x), count, generator=generator, dtype=torch.float64)
        s = torch.cat([x / self.sigma, auxiliary.to(x)], dim=-1)
        return s, self.to_x(s)[1]

    def redraw(self, s: Tensor, generator: torch.Generator) -> Tensor:
        """Fresh auxiliaries."""
        count = self.n_linear - self._free
        auxiliary = torch.randn(len(s), count, generator=generator, dtype=s.dtype)
        return torch.cat([s[:, : self._free], auxiliary], dim=-1)

    def nearest(self, z: Tensor, s: Tensor) -> Tensor:
        """Particles matched (Hungarian), then rotated or reflected (Kabsch), in turns.

        Each turn brings z nearer to s; the nearest of all images may be another one. Straighter
        paths from z to s leave less for one step to do (Klein et al., arXiv 2306.15030).
        """
        moved, fixed = (self._particles(states.double()) for states in (z, s))
        for _ in range(_TURNS):
            gain = torch.einsum("bikd,bjkd->bij", fixed, moved).numpy()
            order = np.stack([linear_sum_assignment(row, maximize=True)[1] for row in gain])
            moved = moved.take_along_dim(torch.from_numpy(order)[..., None, None], 1)
            u, _, vt = torch.linalg.svd(torch.einsum("bikd,bike->bde", moved, fixed))
            moved = torch.einsum("bikd,bde->bike", moved, u @ vt)
        position = self.basis.T @ moved[:, :, 0]
        return torch.cat([position.flatten(1), moved[:, :, 1].flatten(1)], dim=-1).to(z)

    def _particles(self, s: Tensor) -> Tensor:
        """Position, and auxiliary position relative to it, of every particle, (batch, n, 2, D)."""
        position = self.basis @ s[:, : self._free].unflatten(-1, (-1, self.space))
        auxiliary = s[:, self._free :].unflatten(-1, (-1, self.space))
        return torch.stack([position, auxiliary], dim=2)

    def pull_back(self, s: Tensor, grad_u: Tensor) -> Tensor:
        return torch.cat([-self.sigma * grad_u, -s[:, self._free :]], dim=-1)
