r"""The molecular chart: flow state s <-> Cartesian x, fitted to the exploration frames.

Everything linear or one-dimensional is taken out here, so that the flow only learns the rest:

* stiff coordinates (bonds, angles, torsions that stay in one well) are whitened jointly,
  q = mu + L s with L = D^{1/2} C^{1/2} (standard deviations D, correlation matrix C), which makes
  their base N(0, I) exact for a harmonic molecule;
* rotatable torsions are mapped through the CDF of their smoothed marginal, s = 2 pi CDF(q) - pi,
  which makes their base uniform on the circle.

log|det dx/ds| is the sum of the z-matrix part and these two parts, all in float64.
"""

import math

import torch
from torch import Tensor, nn

from onestep_md.coordinates.internal import InternalCoordinates

_ROTATABLE_SPREAD = 0.5  # rad; circular standard deviation above which a torsion rotates
_FAR = math.pi / 2  # rad from the mean; a stiff torsion is practically never there
_FAR_FRACTION = 1e-3
_GRID = 512  # nodes of a tabulated marginal
_BANDWIDTH = 0.10  # rad; von Mises kernel of the marginal
_FLOOR = 0.01  # uniform admixture: no angle is ever out of reach


class MolecularChart(nn.Module):
    """Whitened stiff coordinates and flattened rotatable torsions of one molecule.

    The state holds `n_linear` stiff coordinates, then `n_circular` angles in [-pi, pi).
    """

    def __init__(self, coordinates: InternalCoordinates, q: Tensor):
        """Fit the chart.

        Args:
            coordinates: the z-matrix map of the molecule.
            q: (frames, dim) internal coordinates of exploration frames at the target temperature.
        """
        super().__init__()
        self.coordinates = coordinates
        first = coordinates.n_bonds + coordinates.n_angles
        torsions = q[:, first:]
        rotatable = is_rotatable(torsions)
        is_line = torch.cat([torch.ones(first, dtype=torch.bool), ~rotatable])
        self.register_buffer("line", is_line.nonzero().squeeze(-1))
        self.register_buffer("circle", (~is_line).nonzero().squeeze(-1))
        self.register_buffer("is_stiff_torsion", self.line >= first)

        centre = q[:, self.line].mean(0)
        stiff = first + (~rotatable).nonzero().squeeze(-1)
        centre[self.is_stiff_torsion] = _circular_mean(q[:, stiff])
        deviation = self._deviation(q, centre)
        # the mean of an unwrapped torsion is not exactly its circular mean
        self.register_buffer("centre", centre + deviation.mean(0))
        scale = deviation.std(0)
        correlation = torch.corrcoef((deviation / scale).T)
        eigenvalues, vectors = torch.linalg.eigh(correlation)
        # rings make some combinations nearly rigid; they stay in the chart with a small width
        root = eigenvalues.clamp(min=1e-8).sqrt()
        self.register_buffer("mix", scale[:, None] * (vectors * root) @ vectors.T)
        self.register_buffer("unmix", (vectors / root) @ vectors.T / scale)
        self.register_buffer("log_det_mix", scale.log().sum() + root.log().sum())
        self.register_buffer("density", smoothed_marginals(q[:, self.circle]))
        step = 2.0 * math.pi / _GRID
        mass = 0.5 * step * (self.density[:, 1:] + self.density[:, :-1])
        start = torch.zeros(len(mass), 1, dtype=mass.dtype)
        self.register_buffer("cdf", torch.cat([start, mass.cumsum(-1)], dim=-1))

    @property
    def n_linear(self) -> int:
        """Number of stiff coordinates."""
        return len(self.line)

    @property
    def n_circular(self) -> int:
        """Number of rotatable torsions."""
        return len(self.circle)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels of the rotatable torsions, in the order of the state."""
        return tuple(self.coordinates.names[i] for i in self.circle.tolist())

    def _deviation(self, q: Tensor, centre: Tensor) -> Tensor:
        deviation = q[:, self.line] - centre
        turned = torch.remainder(deviation + math.pi, 2.0 * math.pi) - math.pi
        return torch.where(self.is_stiff_torsion, turned, deviation)

    def to_cartesian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map states to conformations.

        Args:
            s: (batch, dim) float64 states.

        Returns:
            x (batch, atoms, 3) in nm and log|det dx/ds| (batch,). States outside the chart (a
            stiff torsion beyond half a turn, a negative bond) get log-determinant -inf: the map
            is injective on the rest, and these samples carry no weight.
        """
        line = s[:, : self.n_linear] @ self.mix.T
        circle, log_density = self._quantile(s[:, self.n_linear :])
        q = s.new_empty(len(s), self.coordinates.dim)
        q[:, self.line] = self.centre + line
        q[:, self.circle] = circle
        x, log_det = self.coordinates.to_cartesian(q)
        # ds = 2 pi p(q) dq on circles, so log|dq/ds| = -log(2 pi p)
        log_det = log_det + self.log_det_mix - log_density.sum(-1)
        outside = ((line.abs() >= math.pi) & self.is_stiff_torsion).any(-1)
        return x, torch.where(outside, -torch.inf, log_det)

    def from_cartesian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_cartesian`: s (batch, dim) and the SAME log|det dx/ds| (batch,)."""
        q, log_det = self.coordinates.from_cartesian(x)
        line = self._deviation(q, self.centre) @ self.unmix.T
        circle, log_density = self._cumulative(q[:, self.circle])
        s = torch.cat([line, circle], dim=-1)
        return s, log_det + self.log_det_mix - log_density.sum(-1)

    def pull_back(self, s: Tensor, grad_u: Tensor) -> Tensor:
        """Gradient in the state of log p(s) = -u(x(s)) + log|det dx/ds|.

        Args:
            s: (batch, dim) states.
            grad_u: (batch, atoms, 3) du/dx in kT/nm at x(s).

        Returns:
            (batch, dim); rows outside the chart are zero.
        """
        with torch.enable_grad():
            s = s.detach().requires_grad_()
            x, log_det = self.to_cartesian(s)
            inside = log_det.isfinite()
            log_p = torch.where(inside, log_det, 0.0) - (x * grad_u).sum((-2, -1))
            (force,) = torch.autograd.grad(log_p.sum(), s)
        return torch.where(inside[:, None], force, 0.0)

    def pull_back_frames(self, s: Tensor, x: Tensor, grad_u: Tensor) -> Tensor:
        """`pull_back` for conformations in any orientation.

        Args:
            s: (batch, dim) states of the conformations.
            x: (batch, atoms, 3) nm, the conformations as they were evaluated.
            grad_u: (batch, atoms, 3) du/dx in kT/nm at x.
        """
        with torch.no_grad():
            placed, _ = self.to_cartesian(s)
        return self.pull_back(s, grad_u @ rotation_onto(x, placed))

    def log_base(self, s: Tensor) -> Tensor:
        """Log-density of the base N(0, I) x uniform circles, (batch,)."""
        line = s[:, : self.n_linear]
        gaussian = -0.5 * (line * line).sum(-1) - 0.5 * self.n_linear * math.log(2.0 * math.pi)
        return gaussian - self.n_circular * math.log(2.0 * math.pi)

    def sample_base(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, dim) base samples in float64."""
        line = torch.randn(n, self.n_linear, generator=generator, dtype=torch.float64)
        circle = torch.rand(n, self.n_circular, generator=generator, dtype=torch.float64)
        return torch.cat([line, (2.0 * circle - 1.0) * math.pi], dim=-1)

    def torsions(self, circle: Tensor) -> Tensor:
        """Rotatable torsions (batch, n_circular) in radians of their states, any float type."""
        return self._quantile(circle.double())[0].to(circle.dtype)

    def _quantile(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Angles at the cumulative probability (s + pi)/2pi, and log(2 pi p) there."""
        step = 2.0 * math.pi / _GRID
        turned = torch.remainder(s + math.pi, 2.0 * math.pi) / (2.0 * math.pi)
        index = torch.searchsorted(self.cdf, turned.detach().T.contiguous(), right=True) - 1
        index = index.clamp(0, _GRID - 1)
        p0 = self.density.gather(1, index).T
        p1 = self.density.gather(1, index + 1).T
        # inside a bin p is linear: rest = p0 xi + (p1 - p0) xi^2 / 2, solved for xi without
        # cancellation
        rest = (turned - self.cdf.gather(1, index).T) / step
        xi = 2.0 * rest / (p0 + torch.sqrt((p0 * p0 + 2.0 * (p1 - p0) * rest).clamp(min=0.0)))
        angle = -math.pi + step * (index.T + xi)
        return angle, torch.log(2.0 * math.pi * (p0 + (p1 - p0) * xi))

    def _cumulative(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `_quantile`; the same log(2 pi p)."""
        step = 2.0 * math.pi / _GRID
        position = torch.remainder(angle + math.pi, 2.0 * math.pi) / step
        index = position.detach().floor().long().clamp(0, _GRID - 1).T.contiguous()
        p0 = self.density.gather(1, index).T
        p1 = self.density.gather(1, index + 1).T
        xi = position - index.T
        mass = self.cdf.gather(1, index).T + step * (p0 * xi + 0.5 * (p1 - p0) * xi * xi)
        return 2.0 * math.pi * mass - math.pi, torch.log(2.0 * math.pi * (p0 + (p1 - p0) * xi))


def rotation_onto(x: Tensor, reference: Tensor) -> Tensor:
    """Proper rotations R (batch, 3, 3) such that the centred x @ R matches the reference best.

    Kabsch, Acta Cryst. A32, 922 (1976); x and reference are (batch, atoms, 3).
    """
    a = x - x.mean(1, keepdim=True)
    b = reference - reference.mean(1, keepdim=True)
    u, _, vt = torch.linalg.svd(a.transpose(1, 2) @ b)
    # flip the least important axis where the best orthogonal matrix is a reflection
    sign = torch.ones(len(x), 1, 3, dtype=x.dtype)
    sign[:, 0, 2] = torch.linalg.det(u @ vt)
    return (u * sign) @ vt


def _circular_mean(angles: Tensor) -> Tensor:
    return torch.atan2(angles.sin().mean(0), angles.cos().mean(0))


def is_rotatable(torsions: Tensor) -> Tensor:
    """Tell rotatable torsions from stiff ones by how far (frames, n) angles really go.

    A torsion is stiff when its circular spread is small AND it practically never leaves the half
    circle around its mean; a rare second well makes it rotatable.
    """
    resultant = torch.hypot(torsions.sin().mean(0), torsions.cos().mean(0))
    spread = torch.sqrt(-2.0 * torch.log(resultant.clamp(1e-12, 1.0)))
    turned = torch.remainder(torsions - _circular_mean(torsions) + math.pi, 2 * math.pi) - math.pi
    far = (turned.abs() > _FAR).double().mean(0)
    return (spread > _ROTATABLE_SPREAD) | (far > _FAR_FRACTION)


def smoothed_marginals(angles: Tensor) -> Tensor:
    """Densities of (frames, n) angles on a closed grid, (n, grid + 1), each integrating to one.

    A histogram convolved with a von Mises kernel by FFT, mixed with a uniform floor. Between the
    nodes the density is linear, so the trapezoid rule used for the CDF is exact.
    """
    step = 2.0 * math.pi / _GRID
    grid = torch.arange(_GRID, dtype=torch.float64) * step
    kernel = torch.exp((torch.cos(grid) - 1.0) / _BANDWIDTH**2)
    kernel = kernel / kernel.sum()
    index = ((angles + math.pi) / step).round().long() % _GRID
    rows = []
    for column in index.T:
        counts = torch.bincount(column, minlength=_GRID).double() / (len(angles) * step)
        smooth = torch.fft.irfft(torch.fft.rfft(counts) * torch.fft.rfft(kernel), n=_GRID)
        p = (1.0 - _FLOOR) * smooth.clamp(min=0.0) + _FLOOR / (2.0 * math.pi)
        p = p / (p.sum() * step)
        rows.append(torch.cat([p, p[:1]]))
    return torch.stack(rows) if rows else torch.ones(0, _GRID + 1, dtype=torch.float64)
