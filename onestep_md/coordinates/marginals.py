r"""Single torsions: which of them rotate, their marginal densities, their wells.

Every marginal is a table on a closed grid and linear between its nodes, see `piecewise`.
"""

import math

import torch
from torch import Tensor, nn

from onestep_md.coordinates.base import wrap
from onestep_md.coordinates.piecewise import Cells, cell_masses

_ROTATABLE_SPREAD = 0.5  # rad; circular standard deviation above which a torsion rotates
_FAR = math.pi / 2  # rad from the mean, where a stiff torsion practically never is
_FAR_FRACTION = 1e-3
GRID = 512  # nodes of a tabulated marginal
_STEP = 2.0 * math.pi / GRID
_BANDWIDTH = 0.10  # rad; von Mises kernel of the marginal
_FLOOR = 0.01  # uniform admixture: no angle is ever out of reach
# Flattened by the marginal itself, a barrier becomes a sliver in which forces are hundreds of
# times larger than elsewhere: to the same ESS, aspirin then takes twice or three times as many
# steps. 0.5 does no better than 0.75, and begins with half of the ESS of the base.
POWER = 0.75  # of the marginal that flattens
_WELL_BANDWIDTH = 0.30  # rad; bumps narrower than this are not wells
RARE = 0.1  # population of a well below which training emphasises it
_NO_WELL = 1e-3  # population below which it is a few frames on a barrier, or rounding


class Marginals(nn.Module):
    """Tabulated densities of n torsions, and the flattening map s = 2 pi CDF(angle) - pi."""

    density: Tensor
    cdf: Tensor

    def __init__(self, density: Tensor, cdf: Tensor):
        """Take densities and cumulative probabilities (n, GRID + 1) at the nodes of the grid."""
        super().__init__()
        # the chart keeps them, so that no checkpoint of a flow has to
        self.register_buffer("density", density, persistent=False)
        self.register_buffer("cdf", cdf, persistent=False)

    @classmethod
    def from_densities(cls, densities: Tensor) -> "Marginals":
        """Take densities (n, GRID) at the nodes of `smooth_density`, and add a floor."""
        p = (1.0 - _FLOOR) * densities + _FLOOR / (2.0 * math.pi)
        p = torch.cat([p, p[:, :1]], dim=-1)
        start = torch.zeros(len(p), 1, dtype=p.dtype)
        return cls(p, torch.cat([start, cell_masses(p, _STEP).cumsum(-1)], dim=-1))

    @classmethod
    def fit(cls, angles: Tensor, weight: Tensor, power: float = 1.0) -> "Marginals":
        """Fit to weighted frames.

        Args:
            angles: (frames, n) torsions in rad.
            weight: (frames,) weights that sum to one.
            power: that the densities are raised to.
        """
        densities = smooth_density(angles, weight, _BANDWIDTH) ** power
        return cls.from_densities(densities / (densities.sum(-1, keepdim=True) * _STEP))

    def quantile(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Find the angles at the cumulative probability (s + pi)/2pi, and log(2 pi p) there."""
        turned = torch.remainder(s + math.pi, 2.0 * math.pi) / (2.0 * math.pi)
        index = torch.searchsorted(self.cdf, turned.detach().T.contiguous(), right=True) - 1
        index = index.clamp(0, GRID - 1)
        xi, p = Cells.take(index, self.cdf, self.density, _STEP).invert(turned)
        return -math.pi + _STEP * (index.T + xi), torch.log(2.0 * math.pi * p)

    def cumulative(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `quantile`; the same log(2 pi p)."""
        position = torch.remainder(angle + math.pi, 2.0 * math.pi) / _STEP
        index = position.detach().floor().long().clamp(0, GRID - 1).T.contiguous()
        cells = Cells.take(index, self.cdf, self.density, _STEP)
        mass, p = cells.integrate(position - index.T)
        return 2.0 * math.pi * mass - math.pi, torch.log(2.0 * math.pi * p)


class RareWells(nn.Module):
    """The emphasis of training on the rare wells of n torsions.

    Wells are separated at the minima of the smoothed marginal. A well of population P gets the
    emphasis sqrt(RARE / P) if P is below RARE. For wells b that the flow visits with
    probabilities Q_b and fits with c_b = E[w^2]/E[w]^2 >= 1, ESS = 1 / sum_b c_b P_b^2 / Q_b: a
    rare well is fitted from few samples, its c_b is large, and more visits to it cost the
    frequent wells next to nothing.
    """

    table: Tensor

    def __init__(self, table: Tensor):
        """Take log-emphases (n, GRID) at the nodes of the grid."""
        super().__init__()
        self.register_buffer("table", table)

    @classmethod
    def fit(cls, angles: Tensor) -> "RareWells":
        """Fit to (frames, n) torsions in rad at the target temperature."""
        uniform = torch.full((len(angles),), 1.0 / len(angles), dtype=torch.float64)
        rows = [_log_emphasis(p) for p in smooth_density(angles, uniform, _WELL_BANDWIDTH)]
        table = torch.stack(rows) if rows else torch.zeros(0, GRID, dtype=torch.float64)
        return cls(table)

    def log_emphasis(self, angles: Tensor) -> Tensor:
        """Sum the logarithms of the emphases of torsions (batch, n), (batch,)."""
        return self.table.gather(1, _nearest_node(angles).T).sum(0)


def find_wells(angles: Tensor) -> Tensor:
    """Number the wells (frames, n) that torsions (frames, n) are in, from 0."""
    uniform = torch.full((len(angles),), 1.0 / len(angles), dtype=torch.float64)
    rows = [_number_wells(p) for p in smooth_density(angles, uniform, _WELL_BANDWIDTH)]
    table = torch.stack(rows) if rows else torch.zeros(0, GRID, dtype=torch.long)
    return table.gather(1, _nearest_node(angles).T).T


def _number_wells(p: Tensor) -> Tensor:
    """Number the wells of the nodes (GRID,) of one marginal (GRID,), split at its minima."""
    # a minimum: no higher than the node before, lower than the one after
    barrier = (p <= p.roll(1)) & (p < p.roll(-1))
    # the last well goes on through the cut
    return barrier.long().cumsum(0) % max(1, int(barrier.sum()))


def _log_emphasis(p: Tensor) -> Tensor:
    """Compute the log-emphasis (GRID,) from one marginal (GRID,), constant in every well."""
    well = _number_wells(p)
    population = torch.zeros(len(p), dtype=p.dtype).index_add_(0, well, p * _STEP)
    return rare_emphasis(torch.where(population < _NO_WELL, 1.0, population))[well]


def rare_emphasis(population: Tensor) -> Tensor:
    """Compute the log-emphases (n,) of wells of populations (n,), see `RareWells`."""
    return 0.5 * torch.log(RARE / population).clamp(min=0.0)


def circular_mean(angles: Tensor) -> Tensor:
    """Compute the directions (n,) of the mean vectors of angles (frames, n)."""
    return torch.atan2(angles.sin().mean(0), angles.cos().mean(0))


def is_rotatable(torsions: Tensor) -> Tensor:
    """Find rotatable torsions (n,) by the spread of angles (frames, n).

    A torsion is stiff when its circular spread is small AND it practically never leaves the half
    circle around its mean; a rare second well makes it rotatable.
    """
    resultant = torch.hypot(torsions.sin().mean(0), torsions.cos().mean(0))
    spread = torch.sqrt(-2.0 * torch.log(resultant.clamp(1e-12, 1.0)))
    far = (wrap(torsions - circular_mean(torsions)).abs() > _FAR).double().mean(0)
    return (spread > _ROTATABLE_SPREAD) | (far > _FAR_FRACTION)


def smooth_density(angles: Tensor, weight: Tensor, bandwidth: float) -> Tensor:
    """Estimate densities (n, grid) of weighted angles at the nodes -pi, -pi + 2 pi / grid, ...

    They are histograms convolved with a von Mises kernel by FFT; sums times the node distance
    are one.

    Args:
        angles: (frames, n) in rad.
        weight: (frames,) that sum to one.
        bandwidth: of the kernel, in rad.
    """
    grid = torch.arange(GRID, dtype=torch.float64) * _STEP
    kernel = torch.exp((torch.cos(grid) - 1.0) / bandwidth**2)
    kernel = kernel / kernel.sum()
    counts = torch.zeros(angles.shape[1], GRID, dtype=torch.float64)
    weights = weight.expand(angles.shape[1], -1).contiguous()
    counts.scatter_add_(1, _nearest_node(angles).T, weights / _STEP)
    if not len(counts):  # a rigid molecule; no FFT takes nothing
        return counts
    smooth = torch.fft.irfft(torch.fft.rfft(counts) * torch.fft.rfft(kernel), n=GRID)
    smooth = smooth.clamp(min=0.0)
    return smooth / (smooth.sum(-1, keepdim=True) * _STEP)


def _nearest_node(angles: Tensor) -> Tensor:
    """Find the nearest nodes of angles, same shape."""
    return ((angles + math.pi) / _STEP).round().long() % GRID
