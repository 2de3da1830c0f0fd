r"""Coordinates on the line with several modes, mapped from N(0, 1) to their smoothed marginals.

s -> y with CDF(y) = Phi(s), coordinate by coordinate, as for the rotatable torsions of a molecule
on circles. A density that is a product along its axes is then exact in the base. Coordinates of
one mode stay as they are: their heavy tails are often due to other coordinates. So do those of
several modes that depend on others: the map would cut modes that are scattered over a plane into
slivers, which are learned more slowly (gmm40_fab after 400 steps: an ESS of 24 % instead of 60 %).

`line_modes` finds the modes and smooths each by a bandwidth of its own, so that a few samples far
out make a wide, smooth mode. The densities are tables, linear between nodes that every mode places
for itself, with Gaussian tails beyond; so both directions are exact in closed form.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from onestep_md.coordinates.line_modes import GRID, Counts, cut_into_modes, log_normal
from onestep_md.coordinates.piecewise import Cells, cell_masses

_FLOOR, _FLOOR_WIDTH = 1e-3, 1.5  # admixture of a Gaussian, which also makes the tails
_HARMONICS = 4  # of cumulative probabilities, whose correlations measure dependence
_DEPENDENT = 0.25  # correlation; annealed samples share ancestors: mw32 has up to 0.17 by chance
_TINY = 1e-300


class LineMarginals(nn.Module):
    """Marginals of those of `dim` coordinates that have several modes and depend on no other.

    Attributes:
        modal: (k,) numbers of these coordinates.
        single: numbers of the coordinates of one mode.
        tangled: whether there are others, of several modes, that depend on each other.
    """

    modal: Tensor

    def __init__(
        self, modal: Tensor, single: list[int], tangled: bool, nodes: Tensor, density: Tensor
    ):
        """Take what `fit` finds: the attributes, and densities at nodes, both (k, GRID + 1)."""
        super().__init__()
        self.single, self.tangled = single, tangled
        self.register_buffer("modal", modal)
        # each half from its own end: near 1 a cumulative probability has no digits left
        self.left = Half(nodes, density)
        self.right = Half(-nodes.flip(-1), density.flip(-1))

    @classmethod
    def fit(cls, y: Tensor, force: Tensor | None = None) -> "LineMarginals":
        """Fit to samples.

        Args:
            y: (n, dim) equal-weight samples of unit variance, float64; relatives are neighbours.
            force: (n, dim) d log p / dy there, if it is known; small modes are found by it.
        """
        forces = [None] * y.shape[1] if force is None else force.T
        modes = [
            cut_into_modes(Counts.from_samples(*column))
            for column in zip(y.T, forces, strict=True)
        ]
        cuts = {i: cuts for i, (_, cuts) in enumerate(modes) if cuts}
        single = [i for i in range(y.shape[1]) if i not in cuts]
        modal = _independent(y, cuts)
        tables = {i: _table(*modes[i]) for i in modal}
        empty = (torch.zeros(0, GRID + 1, dtype=torch.float64),) * 2
        columns = zip(*(tables[i] for i in modal), strict=True)
        nodes, density = (torch.stack(rows) for rows in columns) if modal else empty
        numbers = torch.tensor(modal, dtype=torch.long)
        return cls(numbers, single, len(modal) < len(cuts), nodes, density)

    def quantile(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Find coordinates y (batch, k) with CDF(y) = Phi(s), and log dy/ds (batch, k)."""
        tail = _ndtr(torch.where(s < 0.0, s, -s)).clamp(min=_TINY)
        halves = zip(self.left.quantile(tail), self.right.quantile(tail), strict=True)
        y, log_p = (torch.where(s < 0.0, a, b) for a, b in halves)
        y = torch.where(s < 0.0, y, -y)
        return y, log_normal(s) - log_p

    def cumulative(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `quantile`; the same log dy/ds."""
        lower, log_p = self.left.cumulative(y)
        upper, _ = self.right.cumulative(-y)
        tail = torch.minimum(lower, upper).clamp(min=_TINY, max=0.5)
        s = torch.special.ndtri(tail)
        s = torch.where(lower < upper, s, -s)
        return s, log_normal(s) - log_p


class Half(nn.Module):
    """Distribution functions from the left, of densities (k, grid + 1) at nodes of this shape."""

    density: Tensor
    nodes: Tensor
    width: Tensor
    cdf: Tensor

    def __init__(self, nodes: Tensor, density: Tensor):
        super().__init__()
        width = nodes.diff(dim=-1)
        start = _FLOOR * _ndtr(nodes[:, :1] / _FLOOR_WIDTH)  # in the tail
        cdf = torch.cat([start, start + cell_masses(density, width).cumsum(-1)], dim=-1)
        for name, table in (
            ("density", density),
            ("nodes", nodes),
            ("width", width),
            ("cdf", cdf),
        ):
            self.register_buffer(name, table)

    def quantile(self, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Find where the cumulative probability is `tail` (batch, k), and the log-density."""
        index = torch.searchsorted(self.cdf, tail.detach().T.contiguous(), right=True) - 1
        outside = (index < 0).T
        index = index.clamp(0, GRID - 1)
        cells = Cells.take(index, self.cdf, self.density, self.width)
        xi, p = cells.invert(tail)
        y = self.nodes.gather(1, index).T + cells.width * xi
        beyond = _FLOOR_WIDTH * torch.special.ndtri(
            torch.where(outside, tail, _FLOOR / 2) / _FLOOR
        )
        log_p = torch.where(outside, _log_tail(beyond), torch.log(torch.where(outside, 1.0, p)))
        return torch.where(outside, beyond, y), log_p

    def cumulative(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the cumulative probability at y (batch, k), precise where small, and log p."""
        index = torch.searchsorted(self.nodes, y.detach().T.contiguous(), right=True) - 1
        below, above = (index < 0).T, (index >= GRID).T
        index = index.clamp(0, GRID - 1)
        cells = Cells.take(index, self.cdf, self.density, self.width)
        mass, p = cells.integrate((y - self.nodes.gather(1, index).T) / cells.width)
        tail = _FLOOR * _ndtr(y / _FLOOR_WIDTH)
        mass = torch.where(below, tail, torch.where(above, 1.0, mass))
        outside = below | above
        log_p = torch.log(torch.where(outside, 1.0, p))
        return mass, torch.where(outside, _log_tail(y), log_p)


def _table(modes: list[Counts], cuts: list[float]) -> tuple[Tensor, Tensor]:
    """Tabulate nodes and densities, both (grid + 1,), of a coordinate with several modes."""
    nodes, total = _nodes(modes, cuts), sum(mode.size for mode in modes)
    p = sum(mode.size / total * mode.density(nodes) for mode in modes)
    # the mass of the table and of the two tails is one
    ends = torch.stack([nodes[0], -nodes[-1]])
    inside = 1.0 - _FLOOR * float(_ndtr(ends / _FLOOR_WIDTH).sum())
    density = (1.0 - _FLOOR) * p + torch.exp(_log_tail(nodes))
    return nodes, density * inside / torch.trapezoid(density, nodes)


def _nodes(modes: list[Counts], cuts: list[float]) -> Tensor:
    """Place nodes (grid + 1,), as many for every mode, in its own stretch between the cuts."""
    stretches = []
    for mode, (left, right) in zip(modes, pairwise([-math.inf, *cuts, math.inf]), strict=True):
        stretches.append((max(mode.low, left), min(mode.high, right)))
    count, rest = divmod(GRID, len(modes))
    nodes = [
        # the end of a stretch may be the start of the next one
        torch.linspace(low, high, count + (i < rest) + 1, dtype=torch.float64)[:-1]
        for i, (low, high) in enumerate(stretches)
    ]
    return torch.cat([*nodes, torch.tensor([stretches[-1][1]], dtype=torch.float64)])


def _independent(y: Tensor, cuts: dict[int, list[float]]) -> list[int]:
    """Find the columns of y (n, dim) with cuts between modes that depend on no other column.

    Neither their harmonics nor the side of a cut may correlate with another column; small modes
    show in the sides alone.
    """
    ranks = y.argsort(0).argsort(0).double() / len(y)
    waves = [
        f(math.pi * k * ranks)  # half periods: the lowest one is monotonous
        for k in range(1, _HARMONICS + 1)
        for f in (torch.sin, torch.cos)
    ]
    owner = torch.arange(y.shape[1]).repeat(len(waves))
    sides = [(y[:, i] > cut).double() for i in cuts for cut in cuts[i]]
    owner = torch.cat([owner, torch.tensor([i for i in cuts for _ in cuts[i]], dtype=torch.long)])
    features = torch.cat([*waves, *(side[:, None] for side in sides)], dim=-1)
    features = (features - features.mean(0)) / features.std(0)
    free = []
    for i in cuts:
        correlation = (features[:, owner == i].T @ features[:, owner != i]).abs() / len(y)
        if not correlation.numel() or correlation.max() < _DEPENDENT:
            free.append(i)
    return free


def _ndtr(y: Tensor) -> Tensor:
    """Compute Phi(y); torch's own has no digits left in the tail."""
    return 0.5 * torch.special.erfc(-y / math.sqrt(2.0))


def _log_tail(y: Tensor) -> Tensor:
    return log_normal(y / _FLOOR_WIDTH) + math.log(_FLOOR / _FLOOR_WIDTH)
