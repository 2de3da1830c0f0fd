r"""Coordinates on the line with several modes, mapped from N(0, 1) to their smoothed marginals.

s -> y with CDF(y) = Phi(s), coordinate by coordinate, as the rotatable torsions of a molecule are
mapped from the circle. A density that is a product along its axes is then exact in the base.
Coordinates of one mode stay as they are: heavy tails say little about one coordinate alone. So do
those that depend on others: modes that lie in a plane as they like are cut into slivers by it, and
learned more slowly (gmm40_fab after 400 steps: an ESS of 24 % instead of 60 %).

The densities are tables on an even grid, linear between its nodes, with Gaussian tails beyond; so
both directions are exact in closed form.
"""

import math

import torch
from torch import Tensor, nn

_GRID = 2048  # cells of a table
_MARGIN = 4.0  # bandwidths of grid beyond the outermost sample
_BANDWIDTHS = tuple(0.64 * 0.5**k for k in range(8))  # that compete, in standard deviations
_FLOOR, _FLOOR_WIDTH = 1e-3, 1.5  # admixture of a Gaussian, also the tails: nothing out of reach
_DIP = 0.5  # of the lower of two maxima: what lies between modes is lower
_SEEN = 100.0  # samples within a bandwidth of a maximum that is no noise
_HARMONICS = 4  # of a cumulative probability, whose correlations tell dependence
_DEPENDENT = 0.25  # correlation; annealed samples share ancestors: mw32 has up to 0.17 by chance
_TINY = 1e-300


class LineMarginals(nn.Module):
    """Marginals of those of `dim` coordinates that have several modes and depend on no other.

    Attributes:
        modal: (k,) which coordinates these are.
        single: the coordinates of one mode.
        tangled: whether there are others, of several modes, which depend on each other.
    """

    def __init__(self, y: Tensor):
        """Fit to equal-weight samples y (n, dim) of unit variance, float64."""
        super().__init__()
        tables = [_fit(column) for column in y.T]
        several = [i for i, table in enumerate(tables) if table is not None]
        self.single = [i for i, table in enumerate(tables) if table is None]
        modal = _independent(y, several)
        self.tangled = len(modal) < len(several)
        self.register_buffer("modal", torch.tensor(modal, dtype=torch.long))
        low, step, density = zip(*(tables[i] for i in modal), strict=True) if modal else ((),) * 3
        empty = torch.zeros(0, _GRID + 1, dtype=torch.float64)
        density = torch.stack(density) if modal else empty
        low, step = (torch.tensor(ends, dtype=torch.float64) for ends in (low, step))
        # each half from its own end: near 1 a cumulative probability has no digits left
        self.left = Half(density, low, step)
        self.right = Half(density.flip(-1), -(low + _GRID * step), step)

    def quantile(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates y (batch, k) with CDF(y) = Phi(s), and log dy/ds (batch, k)."""
        tail = _ndtr(torch.where(s < 0.0, s, -s)).clamp(min=_TINY)
        halves = zip(self.left.quantile(tail), self.right.quantile(tail), strict=True)
        y, log_p = (torch.where(s < 0.0, a, b) for a, b in halves)
        y = torch.where(s < 0.0, y, -y)
        return y, _log_normal(s) - log_p

    def cumulative(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `quantile`; the same log dy/ds."""
        lower, log_p = self.left.cumulative(y)
        upper, _ = self.right.cumulative(-y)
        tail = torch.minimum(lower, upper).clamp(min=_TINY, max=0.5)
        s = torch.special.ndtri(tail)
        s = torch.where(lower < upper, s, -s)
        return s, _log_normal(s) - log_p


class Half(nn.Module):
    """Densities (k, grid + 1) read from the left end, in both directions."""

    def __init__(self, density: Tensor, low: Tensor, step: Tensor):
        super().__init__()
        mass = 0.5 * step[:, None] * (density[:, 1:] + density[:, :-1])
        start = _FLOOR * _ndtr(low / _FLOOR_WIDTH)  # in the tail
        cdf = torch.cat([start[:, None], start[:, None] + mass.cumsum(-1)], dim=-1)
        for name, table in (("density", density), ("low", low), ("step", step), ("cdf", cdf)):
            self.register_buffer(name, table)

    def quantile(self, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Where the cumulative probability is `tail` (batch, k), and the log-density there."""
        index = torch.searchsorted(self.cdf, tail.detach().T.contiguous(), right=True) - 1
        outside = (index < 0).T
        index = index.clamp(0, _GRID - 1)
        p0, p1 = (self.density.gather(1, i).T for i in (index, index + 1))
        # inside a cell p is linear: rest = p0 xi + (p1 - p0) xi^2 / 2, solved without cancellation
        rest = (tail - self.cdf.gather(1, index).T) / self.step
        xi = 2.0 * rest / (p0 + torch.sqrt((p0 * p0 + 2.0 * (p1 - p0) * rest).clamp(min=_TINY)))
        y = self.low + self.step * (index.T + xi)
        p = p0 + (p1 - p0) * xi
        beyond = _FLOOR_WIDTH * torch.special.ndtri(
            torch.where(outside, tail, _FLOOR / 2) / _FLOOR
        )
        log_p = torch.where(outside, _log_tail(beyond), torch.log(torch.where(outside, 1.0, p)))
        return torch.where(outside, beyond, y), log_p

    def cumulative(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Cumulative probability at y (batch, k), precise where small, and the log-density."""
        position = (y - self.low) / self.step
        below, above = position < 0.0, position >= _GRID
        index = position.detach().floor().clamp(0, _GRID - 1).long().T.contiguous()
        p0, p1 = (self.density.gather(1, i).T for i in (index, index + 1))
        xi = position - index.T
        mass = self.cdf.gather(1, index).T + self.step * (p0 * xi + 0.5 * (p1 - p0) * xi * xi)
        tail = _FLOOR * _ndtr(y / _FLOOR_WIDTH)
        mass = torch.where(below, tail, torch.where(above, 1.0, mass))
        outside = below | above
        p = torch.where(outside, 1.0, p0 + (p1 - p0) * xi)
        return mass, torch.where(outside, _log_tail(y), torch.log(p))


def _fit(y: Tensor) -> tuple[float, float, Tensor] | None:
    """Left end, cell width and density (grid + 1,) of samples (n,); None if they have one mode."""
    margin = _MARGIN * _BANDWIDTHS[0]
    low, high = float(y.min()) - margin, float(y.max()) + margin
    step = (high - low) / _GRID
    position = (y - low) / step
    cell = position.floor().long()
    # to the two nodes beside it, so that the mean stays
    counts = torch.zeros(2, _GRID + 1, dtype=torch.float64)
    half = (torch.arange(len(y)) >= len(y) // 2).long()
    for node, share in ((cell, cell + 1 - position), (cell + 1, position - cell)):
        counts.index_put_((half, node), share, accumulate=True)

    def smoothed(histogram: Tensor, bandwidth: float) -> Tensor:
        distance = torch.arange(-_GRID, _GRID + 1, dtype=torch.float64) * step
        kernel = torch.exp(-0.5 * (distance / bandwidth) ** 2)
        size = 4 * _GRID
        both = torch.fft.rfft(histogram, size) * torch.fft.rfft(kernel / kernel.sum(), size)
        smooth = torch.fft.irfft(both, size)[_GRID : 2 * _GRID + 1].clamp(min=0.0)
        return smooth / (smooth.sum() * step)

    def likelihood(bandwidth: float) -> float:
        """Of either half of the samples under the other; relatives are in the same half."""
        return sum(
            float(counts[1 - k] @ torch.log((1 - _FLOOR) * smoothed(counts[k], bandwidth) + floor))
            for k in (0, 1)
        )

    nodes = low + step * torch.arange(_GRID + 1, dtype=torch.float64)
    floor = torch.exp(_log_tail(nodes))
    bandwidth = max((h for h in _BANDWIDTHS if h > step), key=likelihood)
    p = smoothed(counts.sum(0), bandwidth)
    lower_maximum = torch.minimum(p.cummax(0).values, p.flip(0).cummax(0).values.flip(0))
    significant = lower_maximum * bandwidth * len(y) > _SEEN
    if not (significant & (p < _DIP * lower_maximum)).any():
        return None
    # what the table holds and the two tails make one
    inside = 1.0 - _FLOOR * float(_ndtr(torch.tensor([low, -high]) / _FLOOR_WIDTH).sum())
    density = (1.0 - _FLOOR) * p + floor
    mass = 0.5 * step * (density[1:] + density[:-1]).sum()
    return low, step, density * inside / mass


def _independent(y: Tensor, modal: list[int]) -> list[int]:
    """Those of the `modal` columns of y (n, dim) that no harmonic tells to depend on another."""
    ranks = y.argsort(0).argsort(0).double() / len(y)
    waves = [
        f(math.pi * k * ranks)  # half periods: the lowest one is monotonous
        for k in range(1, _HARMONICS + 1)
        for f in (torch.sin, torch.cos)
    ]
    waves = torch.stack(waves, dim=-1)
    waves = (waves - waves.mean(0)) / waves.std(0)
    free = []
    for i in modal:
        correlation = torch.einsum("na,ndb->dab", waves[:, i], waves).abs() / len(y)
        correlation[i] = 0.0
        if correlation.max() < _DEPENDENT:
            free.append(i)
    return free


def _ndtr(y: Tensor) -> Tensor:
    """Phi(y); torch's own has no digits left in the tail."""
    return 0.5 * torch.special.erfc(-y / math.sqrt(2.0))


def _log_normal(s: Tensor) -> Tensor:
    return -0.5 * s * s - 0.5 * math.log(2.0 * math.pi)


def _log_tail(y: Tensor) -> Tensor:
    return _log_normal(y / _FLOOR_WIDTH) + math.log(_FLOOR / _FLOOR_WIDTH)
