"""The interface of all charts: a base density, and a map from states to configurations."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onestep_md.coordinates.dense import jacobian, log_abs_det


class Chart(nn.Module, ABC):
    """Flow state s <-> configuration x of the target, all in float64.

    The state holds `n_linear` coordinates on the line, base N(0, I), then `n_circular` angles in
    [-pi, pi), base uniform. States may have more dimensions than x, if the density of the others
    given x is known; log|det dx/ds| then contains the logarithm of that density.
    """

    @property
    @abstractmethod
    def n_linear(self) -> int:
        """Number of coordinates on the line."""

    @property
    @abstractmethod
    def n_circular(self) -> int:
        """Number of angles."""

    @property
    def is_multimodal(self) -> bool:
        """Whether coordinates on the line have several modes, which the flow has to make."""
        return False

    @property
    def symmetric(self) -> bool:
        """Whether the target and the base have symmetries in common, see `align`."""
        return False

    @abstractmethod
    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map states (batch, dim) to x, and log|det dx/ds| (batch,), -inf outside the chart."""

    @abstractmethod
    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_x`: s (batch, dim) and the SAME log|det dx/ds| (batch,)."""

    def pull_back(self, s: Tensor, grad_u: Tensor) -> Tensor:
        """Compute the gradient of log p(s) = -u(x(s)) + log|det dx/ds| in the state.

        Args:
            s: (batch, dim) states.
            grad_u: du/dx at x(s), of the shape of x.

        Returns:
            (batch, dim); rows outside the chart are zero.
        """
        with torch.enable_grad():
            s = s.detach().requires_grad_()
            x, log_det = self.to_x(s)
        return pull_back_along(s, x, log_det, grad_u)

    def pull_back_frames(self, s: Tensor, x: Tensor, grad_u: Tensor) -> Tensor:
        """Pull back gradients at x, which may differ from `to_x(s)` by a rigid motion."""
        return self.pull_back(s, grad_u)

    def dense_log_det(self, s: Tensor, along: Tensor) -> Tensor:
        """Compute log|det dx/dz| (batch,) by a dense Jacobian of x(s(z)), as a check of `to_x`.

        Args:
            s: (batch, dim) states inside the chart.
            along: (batch, dim, dim) ds/dz.
        """
        return log_abs_det(jacobian(self.to_x, s) @ along)

    def recover(self, s: Tensor) -> Tensor:
        """Measure states (batch, dim) from x(s); coordinates that x does not determine stay."""
        return self.from_x(self.to_x(s)[0])[0]

    def redraw(self, s: Tensor, generator: torch.Generator) -> Tensor:
        """Draw those coordinates anew that x does not determine, if there are any."""
        return s

    def align(self, z: Tensor, s: Tensor) -> Tensor:
        """Bring base samples z (batch, dim) near to their partners s by symmetries, if any."""
        return z

    @property
    def angle_decoder(self) -> nn.Module:
        """A copy of the map from angles (batch, n_circular) to what networks see, (batch, m)."""
        return nn.Identity()

    @property
    def angle_sources(self) -> Tensor:
        """Which of the angles (m,) each output of `angle_decoder` depends on."""
        return torch.arange(self.n_circular)

    def log_emphasis(self, s: Tensor) -> Tensor:
        """Compute log factors (batch,) by which training weighs the wells of states up."""
        return s.new_zeros(len(s))

    def log_base(self, s: Tensor) -> Tensor:
        """Compute the log-density (batch,) of the base N(0, I) x uniform circles."""
        line = s[:, : self.n_linear]
        gaussian = -0.5 * (line * line).sum(-1) - 0.5 * self.n_linear * math.log(2.0 * math.pi)
        return gaussian - self.n_circular * math.log(2.0 * math.pi)

    def sample_base(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, dim) base samples in float64."""
        line = torch.randn(n, self.n_linear, generator=generator, dtype=torch.float64)
        circle = torch.rand(n, self.n_circular, generator=generator, dtype=torch.float64)
        return torch.cat([line, (2.0 * circle - 1.0) * math.pi], dim=-1)


def pull_back_along(s: Tensor, x: Tensor, log_det: Tensor, grad_u: Tensor) -> Tensor:
    """Compute the gradient of -u(x(s)) + log|det dx/ds|, as `Chart.pull_back`.

    Args:
        s: (batch, dim) states, of which x and log_det (batch,) are a graph; it is used up.
        x: configurations.
        log_det: -inf outside the chart.
        grad_u: du/dx at x.
    """
    inside = log_det.isfinite()
    with torch.enable_grad():
        work = (x * grad_u).flatten(1).sum(-1)
        log_p = torch.where(inside, log_det, 0.0) - work
    (force,) = torch.autograd.grad(log_p.sum(), s)
    return torch.where(inside[:, None], force, 0.0)


class Whitening(NamedTuple):
    """The matrix mix = D^{1/2} C^{1/2} of n coordinates of variances D and correlations C.

    Attributes:
        mix: (n, n), or several of them stacked, as all others.
        unmix: (n, n) its inverse.
        log_det: its log-determinant.
    """

    mix: Tensor
    unmix: Tensor
    log_det: Tensor

    @classmethod
    def from_covariance(cls, covariance: Tensor) -> "Whitening":
        """Take the root of a covariance (n, n)."""
        scale = covariance.diagonal().sqrt()
        eigenvalues, vectors = torch.linalg.eigh(covariance / (scale * scale[:, None]))
        # rings make some combinations nearly rigid; they stay in the chart with a small width
        root = eigenvalues.clamp(min=1e-8).sqrt()
        mix = scale[:, None] * (vectors * root) @ vectors.T
        return cls(mix, (vectors / root) @ vectors.T / scale, scale.log().sum() + root.log().sum())


def multiply_each(rows: Tensor, matrices: Tensor, which: Tensor) -> Tensor:
    """Multiply every vector (batch, n) by the one of matrices (c, m, n) that it belongs to.

    Args:
        rows: the vectors.
        matrices: far fewer than vectors, so that none is copied for each of these.
        which: (batch,) numbers of matrices.
    """
    if len(matrices) == 1:
        return rows @ matrices[0].T
    order = which.argsort()
    counts = torch.bincount(which, minlength=len(matrices)).tolist()
    parts = zip(rows[order].split(counts), matrices, strict=True)
    return torch.cat([part @ matrix.T for part, matrix in parts])[order.argsort()]


def wrap(angle: Tensor) -> Tensor:
    """Bring an angle in radians into [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi


def wrap_torsions(deviation: Tensor, is_torsion: Tensor) -> Tensor:
    """Measure the deviations (batch, n) of those coordinates that are torsions the short way."""
    return torch.where(is_torsion, wrap(deviation), deviation)


def beyond_half_turn(deviation: Tensor, is_torsion: Tensor) -> Tensor:
    """Find rows (batch,) in which a torsion deviates so far that the short way is another one."""
    return ((deviation.abs() >= math.pi) & is_torsion).any(-1)
