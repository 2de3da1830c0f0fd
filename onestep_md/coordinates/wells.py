"""Wells of torsions of a weighted ensemble, which tell its conformers apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from onestep_md.coordinates.base import wrap
from onestep_md.coordinates.marginals import GRID, smooth_density

_BANDWIDTH = 0.20  # rad; narrower bumps are not wells
_LOWEST_BARRIER = 0.3  # kT above the shallower of two wells; below it they are one
_FEWEST = 5.0  # effective samples under the kernel at the top of a well; fewer are no well
_ERRORS = 4.0  # of log p at the lower top; a barrier within so many of them is none


@dataclass(frozen=True)
class Wells:
    """Wells of n torsions, each looked at through its multiple by its symmetry.

    Attributes:
        symmetries: (n,) turns in a circle that exchange like atoms alone.
        table: (n, GRID) number of the well of each node of the grid over the multiple, from 0.
    """

    symmetries: np.ndarray
    table: np.ndarray

    @classmethod
    def fit(
        cls,
        angles: np.ndarray,
        weight: np.ndarray,
        symmetries: Sequence[int],
        images: np.ndarray | None = None,
    ) -> "Wells":
        """Fit to weighted frames.

        Args:
            angles: (frames, m) torsions in rad, n of them and then others that they become by
                symmetries of the molecule.
            weight: (frames,) weights that sum to one.
            symmetries: (n,) local symmetries of the torsions.
            images: (k, n) columns of `angles` that the torsions become by each symmetry of the
                molecule; their marginals are averaged. None without symmetries.
        """
        turns = np.array(symmetries, dtype=int)
        if images is None:
            images = np.arange(len(turns))[None]
        of_column = np.ones(angles.shape[1], dtype=int)
        of_column[images] = turns
        multiples = wrap(torch.from_numpy(angles * of_column.astype(float)))
        densities = smooth_density(multiples, torch.from_numpy(weight), _BANDWIDTH).numpy()
        effective = 1.0 / float(weight @ weight)
        averages = densities[images].mean(axis=0)
        table = np.array([_number_wells(p, effective) for p in averages], dtype=int)
        return cls(turns, table.reshape(-1, GRID))

    @property
    def counts(self) -> np.ndarray:
        """Numbers of wells (n,)."""
        return self.table.max(axis=1) + 1

    def number(self, angles: np.ndarray) -> np.ndarray:
        """Number the wells (frames, n) of torsions (frames, n) in rad."""
        multiples = wrap(torch.from_numpy(angles * self.symmetries)).numpy()
        nodes = np.rint((multiples + math.pi) * GRID / (2.0 * math.pi)).astype(int) % GRID
        return np.take_along_axis(self.table, nodes.T, axis=1).T

    def mean(self, angles: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Average torsions (frames, n) in rad by weights (frames,), in degrees."""
        turned = weight @ np.exp(1j * self.symmetries * angles)
        return np.degrees(np.angle(turned) / self.symmetries)


def _number_wells(p: np.ndarray, effective: float) -> np.ndarray:
    """Number the wells of the nodes (GRID,) of a marginal (GRID,), split at its barriers."""
    barriers = _find_barriers(p, effective)
    if len(barriers) < 2:
        return np.zeros(len(p), dtype=int)
    # the last well goes on through the cut
    return np.searchsorted(barriers, np.arange(len(p)), side="right") % len(barriers)


def _find_barriers(p: np.ndarray, effective: float) -> list[int]:
    """Find the minima of a marginal on a circle that are deep enough, in rising order.

    A density p smoothed by a Gaussian kernel of bandwidth h from n samples has the variance
    p / (2 sqrt(pi) h n), and the kernel covers sqrt(2 pi) h p n of them.
    """
    barriers = np.flatnonzero((p <= np.roll(p, 1)) & (p < np.roll(p, -1))).tolist()
    while len(barriers) > 1:
        # top of the well that follows each barrier; the one before it has the top before
        ends = [*barriers[1:], barriers[0] + len(p)]
        tops = [
            p.take(range(*well), mode="wrap").max() for well in zip(barriers, ends, strict=True)
        ]
        lower = np.minimum(tops, np.roll(tops, 1))
        near = effective * lower * math.sqrt(2.0 * math.pi) * _BANDWIDTH
        lowest = np.maximum(_LOWEST_BARRIER, _ERRORS / np.sqrt(math.sqrt(2.0) * near))
        with np.errstate(divide="ignore"):
            heights = np.log(lower / p[barriers])
        excess = np.where(near < _FEWEST, -np.inf, heights - lowest)
        if excess.min() >= 0.0:
            break
        del barriers[int(excess.argmin())]
    return barriers
