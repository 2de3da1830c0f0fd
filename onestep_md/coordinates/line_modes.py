r"""The modes of the samples of one coordinate, and a bandwidth for the density of each.

Samples are cut in two at a dip of their smoothed density, and the parts again, as long as a dip is
significant. It is significant if it has very many samples at its sides, if the lower of the two
maxima has more samples than the dip in block after block (relatives, which an annealing leaves
side by side, make a maximum in few blocks alone), or by the forces. Samples that a dip of no
density separates from the others have

    - <f (y - <y>)> = 1,    f = d log p / dy,

by partial integration, whatever the shape of their mode. For samples beyond a cut through a tail
the average is near 0, and likewise for a few relatives in a tail, which no force holds together.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GRID = 2048  # cells of a table
_BANDWIDTHS = tuple(0.64 * 0.5**k for k in range(8))  # to choose from, in standard deviations
_MARGIN = 4.0  # of the largest bandwidths beyond the outermost samples
_BLOCKS = 16  # of the samples in their order
_DIP = 0.5  # of the lower of two maxima; the density between two modes is lower
_MANY = 250.0  # samples in the kernel at a maximum that is significant by itself
_FEW = 8.0  # samples in the kernel, below which a maximum has no meaning
_CLEAR = 4.0  # standard errors of maximum minus dip, from the scatter over blocks
_FLOOR_WIDTH, _FLOOR_COUNT = 1.5, 3.0  # n samples have 3/n of a Gaussian 1.5 times as wide
_HELD, _ERRORS = 0.3, 2.0  # lower bound on the virial of a mode, less two standard errors
_NARROWEST = 1e-6


@dataclass(frozen=True)
class Counts:
    """Samples of a stretch of the line.

    Attributes:
        y: (n,) their places.
        force: (n,) d log p / dy there, or None if it is not known.
        block: (n,) number of the part of all samples that each belongs to.
        low, step: first node and distance of the nodes of the grid.
        table: (blocks, grid + 1) samples, each divided between the two nodes beside it.
    """

    y: Tensor
    force: Tensor | None
    block: Tensor
    low: float
    step: float
    table: Tensor

    @classmethod
    def from_samples(
        cls, y: Tensor, force: Tensor | None, block: Tensor | None = None
    ) -> "Counts":
        """Count samples y (n,) whose relatives are neighbours, or a part of them."""
        if block is None:
            block = torch.arange(len(y)) * _BLOCKS // len(y)
        margin = _MARGIN * _BANDWIDTHS[0] * _deviation(y)
        low = float(y.min()) - margin
        step = (float(y.max()) + margin - low) / GRID
        position = (y - low) / step
        cell = position.floor().long().clamp(0, GRID - 1)
        table = torch.zeros(_BLOCKS, GRID + 1, dtype=torch.float64)
        # divided between two nodes, so that the mean stays
        for node, part in ((cell, cell + 1 - position), (cell + 1, position - cell)):
            table.index_put_((block, node), part, accumulate=True)
        return cls(y, force, block, low, step, table)

    def select(self, chosen: Tensor) -> "Counts":
        """Count the chosen samples (n,) alone."""
        force = None if self.force is None else self.force[chosen]
        return Counts.from_samples(self.y[chosen], force, self.block[chosen])

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.y)

    @property
    def high(self) -> float:
        """The last node."""
        return self.low + GRID * self.step

    @property
    def bandwidths(self) -> list[float]:
        """The bandwidths to choose from, falling, none narrower than a cell."""
        own = [h * _deviation(self.y) for h in _BANDWIDTHS]
        return [h for h in own if h > self.step] or own[:1]

    def convolve(self, bandwidth: float, table: Tensor) -> Tensor:
        """Convolve tables (..., grid + 1) with a Gaussian kernel of height one."""
        distance = torch.arange(-GRID, GRID + 1, dtype=torch.float64) * self.step
        kernel = torch.exp(-0.5 * (distance / bandwidth) ** 2)
        size = 4 * GRID
        both = torch.fft.rfft(table, size) * torch.fft.rfft(kernel, size)
        return torch.fft.irfft(both, size)[..., GRID : 2 * GRID + 1].clamp(min=0.0)

    def smooth(self, bandwidth: float, table: Tensor) -> Tensor:
        """Compute the normalised density (grid + 1,) of a table; zero where that is empty."""
        p = self.convolve(bandwidth, table)
        return p / (p.sum() * self.step).clamp(min=1e-300)

    def floor(self, points: Tensor) -> tuple[float, Tensor]:
        """Weight of a wider Gaussian in the density, and its weighted density at points (m,)."""
        weight = _FLOOR_COUNT / (_FLOOR_COUNT + self.size)
        width = _FLOOR_WIDTH * _deviation(self.y)
        return weight, weight / width * torch.exp(log_normal((points - self.y.mean()) / width))

    def choose_bandwidth(self) -> float:
        """Choose by the likelihood of either half of the samples under the other half."""
        halves = self.table.unflatten(0, (2, -1)).sum(1)
        nodes = self.low + self.step * torch.arange(GRID + 1, dtype=torch.float64)
        weight, floor = self.floor(nodes)

        def likelihood(bandwidth: float) -> float:
            return sum(
                float(
                    halves[k]
                    @ torch.log((1 - weight) * self.smooth(bandwidth, halves[1 - k]) + floor)
                )
                for k in (0, 1)
            )

        return max(self.bandwidths, key=likelihood)

    def density(self, points: Tensor) -> Tensor:
        """Compute the normalised density (m,) at points (m,)."""
        p = self.smooth(self.choose_bandwidth(), self.table.sum(0))
        position = ((points - self.low) / self.step).clamp(0.0, GRID)
        cell = position.floor().long().clamp(max=GRID - 1)
        xi = position - cell
        inside = (points >= self.low) & (points <= self.high)
        weight, floor = self.floor(points)
        return (1 - weight) * torch.where(inside, p[cell] * (1 - xi) + p[cell + 1] * xi, 0) + floor

    def find_clearest_dip(self) -> float | None:
        """Find where to cut, if these are samples of several modes."""
        best = self.choose_bandwidth()
        dips = [self._find_dip(h, h == best) for h in self.bandwidths if h >= best]
        significant = [dip for dip in dips if dip is not None]
        return max(significant)[1] if significant else None

    def _find_dip(self, bandwidth: float, finest: bool) -> tuple[float, float] | None:
        """Find the clearest dip: its significance and place."""
        p = self.convolve(bandwidth, self.table.sum(0))
        (left, left_node), (right, right_node) = p.cummax(0), p.flip(0).cummax(0)
        right, right_node = right.flip(0), GRID - right_node.flip(0)
        # the lower of the highest maxima on both sides of each node
        lower = torch.minimum(left, right)
        peak = torch.where(left < right, left_node, right_node)
        dips = ((p < _DIP * lower) & (lower > _FEW)).nonzero().squeeze(-1)
        if not len(dips):
            return None
        noise = (lower[dips] + p[dips]).sqrt()
        by_count = (lower[dips] - p[dips]) / noise
        blocks = self.convolve(bandwidth, self.table)
        excess = blocks[:, peak[dips]] - blocks[:, dips]
        by_block = excess.mean(0) * _BLOCKS**0.5 / excess.std(0).clamp(min=1e-12)
        if finest:
            by_block = torch.where(lower[dips] > _MANY, by_count.clamp(min=_CLEAR), by_block)

        def bottom(i: Tensor) -> int:
            same = dips[peak[dips] == peak[dips[i]]]
            return int(same[p[same].argmin()])

        clearest, node = by_block.argmax(), bottom(by_count.argmax())
        if by_block[clearest] >= _CLEAR:
            return float(by_block[clearest]), self.low + self.step * bottom(clearest)
        cut = self.low + self.step * node
        beyond = self.y < cut if peak[node] < node else self.y >= cut
        return (0.0, cut) if self._is_held_together(beyond) else None

    def _is_held_together(self, chosen: Tensor) -> bool:
        """Whether the chosen samples are a mode by their forces, and no tail of another one."""
        if self.force is None:
            return False
        y = self.y[chosen]
        virial = -self.force[chosen] * (y - y.mean())
        error = virial.std() / len(y) ** 0.5
        return bool(virial.mean() - _ERRORS * error > _HELD)


def cut_into_modes(counts: Counts) -> tuple[list[Counts], list[float]]:
    """Cut samples into modes from left to right; the modes and the places of the cuts."""
    cut = counts.find_clearest_dip()
    if cut is None:
        return [counts], []
    left, right = counts.y < cut, counts.y >= cut
    if not (left.any() and right.any()):
        return [counts], []
    below, low_cuts = cut_into_modes(counts.select(left))
    above, high_cuts = cut_into_modes(counts.select(right))
    return below + above, [*low_cuts, cut, *high_cuts]


def log_normal(s: Tensor) -> Tensor:
    """Compute log N(s; 0, 1)."""
    return -0.5 * s * s - 0.5 * math.log(2.0 * math.pi)


def _deviation(y: Tensor) -> float:
    return max(float(y.std(correction=0)), _NARROWEST)
