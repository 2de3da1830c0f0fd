"""Charts with auxiliary noise beside the positions, for the flow of `flow.equivariant`.

The state is s = (s_x, s_a), s_x linear coordinates of the positions and s_a of the normal density
N(s_a; 0, I) whatever x is. The flow samples the joint density

    p(s) = p(x(s)) |det dx/ds_x| N(s_a; 0, I)

whose marginal in x is the target, so weights of the joint density are exact weights of x. The
log|det dx/ds| of other charts is log|det dx/ds_x| + log N(s_a; 0, I) here, so that
log q(x) = log q(x, s_a) - log N(s_a; 0, I).
"""

import math

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.dense import jacobian, log_abs_det

_SEED = 20_250_101  # of the auxiliary coordinates that `from_x` draws


class AugmentedChart(Chart):
    """Positions of n particles in D dimensions without their centre, and auxiliary noise.

    Attributes:
        particles, space: n and D.
    """

    def __init__(self, particles: int, space: int):
        super().__init__()
        self.particles, self.space = particles, space

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
    def free(self) -> int:
        """Dimension (n-1) D of s_x."""
        return (self.particles - 1) * self.space

    @property
    def log_motion(self) -> Tensor | float:
        """Logarithm of the volume of rigid motions and copies that x stands for."""
        return 0.0

    def dense_log_det(self, s: Tensor, along: Tensor) -> Tensor:
        """Compute log|det| of x and the auxiliary coordinates together, with their density."""
        auxiliary = torch.eye(s.shape[1], dtype=s.dtype)[self.free :].expand(len(s), -1, -1)
        both = torch.cat([jacobian(self.to_x, s), auxiliary], dim=1)
        return log_abs_det(both @ along) + self._log_noise(s) + self.log_motion

    def recover(self, s: Tensor) -> Tensor:
        return torch.cat([super().recover(s)[:, : self.free], s[:, self.free :]], dim=-1)

    def redraw(self, s: Tensor, generator: torch.Generator) -> Tensor:
        """Draw auxiliary coordinates anew."""
        return self._with_auxiliaries(s[:, : self.free], generator)

    def _with_auxiliaries(self, s_x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Append auxiliary coordinates from N(0, I), the same ones at every call by default.

        States of target samples are then samples of the joint density, so EUBO and BAR hold.
        """
        generator = generator or torch.Generator().manual_seed(_SEED)
        size = len(s_x), self.n_linear - self.free
        auxiliary = torch.randn(size, generator=generator, dtype=torch.float64)
        return torch.cat([s_x, auxiliary.to(s_x)], dim=-1)

    def _log_noise(self, s: Tensor) -> Tensor:
        """Log N(s_a; 0, I), (batch,)."""
        auxiliary = s[:, self.free :]
        return -0.5 * (auxiliary.square() + math.log(2.0 * math.pi)).sum(-1)
