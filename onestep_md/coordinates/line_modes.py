r"""Which modes the samples of one coordinate have, and how smooth the density of each is.

Samples are cut in two at a dip of their smoothed density, and the parts again, as long as a dip is
no noise. It is none where very many samples tell it, where the lower of the two maxima has more
samples than the dip in block after block (relatives, which an annealing leaves side by side, make
a maximum in few blocks alone), or where the forces say so: of samples that a dip of no density
parts from the others,

    - <f (y - <y>)> = 1,    f = d log p / dy,

by partial integration, whatever the shape of their mode. Of the samples beyond a cut through a
tail it is near 0, and so it is of a few relatives somewhere in a tail, which no force holds
together. Called by `line_marginals`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GRID = 2048  # cells of a table
_BANDWIDTHS = tuple(0.64 * 0.5**k for k in range(8))  # that compete, in standard deviations
_MARGIN = 4.0  # of the largest bandwidths beyond the outermost samples
_BLOCKS = 16  # of the samples in their order
_DIP = 0.5  # of the lower of two maxima: what lies between modes is lower
_MANY = 250.0  # samples in the kernel at a maximum that is no noise
_FEW = 8.0  # fewer tell nothing
_CLEAR = 4.0  # standard errors of maximum minus dip, from the scatter over blocks
_WIDE, _SURE = 1.5, 3.0  # a mode of n samples has 3/n of a Gaussian of 1.5 times its width
_HELD, _DOUBT = 0.3, 2.0  # the virial less so many standard errors, of samples held together
_NARROWEST = 1e-6


@dataclass(frozen=True)
class Counts:
    """Samples of a stretch of the line.

    Attributes:
        y: (n,) where they are.
        force: (n,) d log p / dy there, or None where it is not known.
        block: (n,) which part of all samples each belongs to.
        low, step: first node and distance of the nodes of the grid.
        table: (blocks, grid + 1) samples, shared between the two nodes beside each.
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
        """Of samples y (n,) whose relatives are neighbours, or of a part of them."""
        if block is None:
            block = torch.arange(len(y)) * _BLOCKS // len(y)
        margin = _MARGIN * _BANDWIDTHS[0] * _deviation(y)
        low = float(y.min()) - margin
        step = (float(y.max()) + margin - low) / GRID
        position = (y - low) / step
        cell = position.floor().long().clamp(0, GRID - 1)
        table = torch.zeros(_BLOCKS, GRID + 1, dtype=torch.float64)
        # to the two nodes beside it, so that the mean stays
        for node, share in ((cell, cell + 1 - position), (cell + 1, position - cell)):
            table.index_put_((block, node), share, accumulate=True)
        return cls(y, force, block, low, step, table)

    def select(self, chosen: Tensor) -> "Counts":
        """Of the samples (n,) that are chosen."""
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
        """Those that compete, falling, none narrower than a cell."""
        own = [h * _deviation(self.y) for h in _BANDWIDTHS]
        return [h for h in own if h > self.step] or own[:1]

    def convolve(self, bandwidth: float, table: Tensor) -> Tensor:
        """Samples of tables (..., grid + 1) within a Gaussian kernel about every node."""
        distance = torch.arange(-GRID, GRID + 1, dtype=torch.float64) * self.step
        kernel = torch.exp(-0.5 * (distance / bandwidth) ** 2)
        size = 4 * GRID
        both = torch.fft.rfft(table, size) * torch.fft.rfft(kernel, size)
        return torch.fft.irfft(both, size)[..., GRID : 2 * GRID + 1].clamp(min=0.0)

    def smooth(self, bandwidth: float, table: Tensor) -> Tensor:
        """Normalised density (grid + 1,) of a table; zero where that is empty."""
        p = self.convolve(bandwidth, table)
        return p / (p.sum() * self.step).clamp(min=1e-300)

    def floor(self, at: Tensor) -> tuple[float, Tensor]:
        """Share of a wider Gaussian that the density has, and this share of it at points."""
        share = _SURE / (_SURE + self.size)
        width = _WIDE * _deviation(self.y)
        return share, share / width * torch.exp(log_normal((at - self.y.mean()) / width))

    def choose_bandwidth(self) -> float:
        """By the likelihood of either half of the samples under the other half."""
        halves = self.table.unflatten(0, (2, -1)).sum(1)
        nodes = self.low + self.step * torch.arange(GRID + 1, dtype=torch.float64)
        share, floor = self.floor(nodes)

        def likelihood(bandwidth: float) -> float:
            return sum(
                float(
                    halves[k]
                    @ torch.log((1 - share) * self.smooth(bandwidth, halves[1 - k]) + floor)
                )
                for k in (0, 1)
            )

        return max(self.bandwidths, key=likelihood)

    def density(self, at: Tensor) -> Tensor:
        """Normalised density (m,) at points (m,)."""
        p = self.smooth(self.choose_bandwidth(), self.table.sum(0))
        position = ((at - self.low) / self.step).clamp(0.0, GRID)
        cell = position.floor().long().clamp(max=GRID - 1)
        xi = position - cell
        inside = (at >= self.low) & (at <= self.high)
        share, floor = self.floor(at)
        return (1 - share) * torch.where(inside, p[cell] * (1 - xi) + p[cell + 1] * xi, 0) + floor

    def find_clearest_dip(self) -> float | None:
        """Where to cut, if these are samples of several modes."""
        best = self.choose_bandwidth()
        dips = [self._dip(h, h == best) for h in self.bandwidths if h >= best]
        found = [dip for dip in dips if dip is not None]
        return max(found)[1] if found else None

    def _dip(self, bandwidth: float, finest: bool) -> tuple[float, float] | None:
        """How clear the clearest dip is, and where; by wider kernels than the best few tell."""
        p = self.convolve(bandwidth, self.table.sum(0))
        (left, at_left), (right, at_right) = p.cummax(0), p.flip(0).cummax(0)
        right, at_right = right.flip(0), GRID - at_right.flip(0)
        lower, at = torch.minimum(left, right), torch.where(left < right, at_left, at_right)
        dips = ((p < _DIP * lower) & (lower > _FEW)).nonzero().squeeze(-1)
        if not len(dips):
            return None
        noise = (lower[dips] + p[dips]).sqrt()
        by_count = (lower[dips] - p[dips]) / noise
        blocks = self.convolve(bandwidth, self.table)
        excess = blocks[:, at[dips]] - blocks[:, dips]
        by_block = excess.mean(0) * _BLOCKS**0.5 / excess.std(0).clamp(min=1e-12)
        if finest:
            by_block = torch.where(lower[dips] > _MANY, by_count.clamp(min=_CLEAR), by_block)

        def bottom(i: Tensor) -> int:
            same = dips[at[dips] == at[dips[i]]]
            return int(same[p[same].argmin()])

        clearest, node = by_block.argmax(), bottom(by_count.argmax())
        if by_block[clearest] >= _CLEAR:
            return float(by_block[clearest]), self.low + self.step * bottom(clearest)
        cut = self.low + self.step * node
        beyond = self.y < cut if at[node] < node else self.y >= cut
        return (0.0, cut) if self._held_together(beyond) else None

    def _held_together(self, chosen: Tensor) -> bool:
        """Whether forces keep the chosen samples where they are, and not a tail of others."""
        if self.force is None:
            return False
        y = self.y[chosen]
        virial = -self.force[chosen] * (y - y.mean())
        error = virial.std() / len(y) ** 0.5
        return bool(virial.mean() - _DOUBT * error > _HELD)


def cut_into_modes(counts: Counts) -> tuple[list[Counts], list[float]]:
    """The modes of samples from left to right, and where they are cut."""
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
    """Log N(s; 0, 1)."""
    return -0.5 * s * s - 0.5 * math.log(2.0 * math.pi)


def _deviation(y: Tensor) -> float:
    return max(float(y.std(correction=0)), _NARROWEST)
