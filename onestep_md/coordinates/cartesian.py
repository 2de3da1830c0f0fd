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

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart

_SEED = 20_250_101  # of the auxiliaries that `from_x` draws


class CartesianChart(Chart):
    """Particles in D dimensions, scaled to unit variance."""

    def __init__(self, x: Tensor, particles: int, space: int):
        """Fit the unit of length to samples.

        Args:
            x: (batch, (n-1) D) equal-weight samples in an orthonormal basis of the mean-free
                positions, float64.
            particles: n.
            space: D.
        """
        super().__init__()
        self.particles, self.space = particles, space
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

    def pull_back(self, s: Tensor, grad_u: Tensor) -> Tensor:
        return torch.cat([-self.sigma * grad_u, -s[:, self._free :]], dim=-1)
