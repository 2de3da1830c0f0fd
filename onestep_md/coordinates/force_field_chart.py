r"""A chart made from the force field's own terms, for annealing without any dynamics.

Bonds and angles are Gaussian about their rest values with the width sqrt(kT / k) of their term,
stiff torsions (siblings, double bonds) about their angles in the input geometry. Torsions about
bonds that turn follow their own terms, with barriers scaled down so that every well is populated
from the start; pyramids that invert have both forms. Torsions of rings that are not flat are so
wide that every pucker is within reach. All coordinates are independent: crude, but of the right
widths.
"""

from collections.abc import Mapping

import networkx
import numpy as np
import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart, beyond_half_turn, wrap_torsions
from onestep_md.coordinates.internal import InternalCoordinates, third_bend_moments
from onestep_md.coordinates.isomers import Isomers
from onestep_md.coordinates.marginals import GRID, Marginals

_BOND_WIDTH = 0.005  # nm; where the force field has no harmonic term
_ANGLE_WIDTH = 0.08  # rad; likewise
_TORSION_WIDTH = 0.15  # rad; of stiff torsions
_PYRAMID_WIDTH = 0.2  # rad; of the improper torsion of a pyramid that inverts
_HIGHEST_BARRIER = 4.0  # kT; higher ones are scaled down to it
_RING_WIDTH = 0.6  # rad; of torsions in rings of single bonds, whose puckers are 1.2 apart


class ForceFieldChart(Chart):
    """s = (q - rest) / width on the line, flattened torsions on circles."""

    line: Tensor
    circle: Tensor
    rest: Tensor
    width: Tensor
    is_stiff_torsion: Tensor

    def __init__(
        self,
        coordinates: InternalCoordinates,
        q: Tensor,
        isomers: Isomers,
        bonds: Mapping[frozenset[int], tuple[float, float]],
        angles: Mapping[tuple[int, frozenset[int]], tuple[float, float]],
        stiff: frozenset[frozenset[int]],
        profiles: Mapping[tuple[int, int], np.ndarray],
    ):
        """Take the terms.

        Args:
            coordinates: the z-matrix map of the molecule.
            q: (1, dim) internal coordinates of the input geometry.
            isomers: bonds that turn and atoms that invert.
            bonds, angles: rest value and force constant / kT, see `targets.terms`.
            stiff: bonds of rings that no torsion turns about.
            profiles: bond (i, j), i < j -> energies / kT of its torsion terms on an even grid of
                turns from the input geometry.
        """
        super().__init__()
        self.coordinates = coordinates
        first = coordinates.n_bonds + coordinates.n_angles
        rest, width = q[0].clone(), torch.full_like(q[0], _TORSION_WIDTH)
        rows = coordinates.rows.T.tolist()  # (atom, bond_to, angle_to, torsion_to)
        for column, row in enumerate(coordinates.bond_free.tolist()):
            known = bonds.get(frozenset(rows[row + 1][:2]))
            width[column] = _BOND_WIDTH
            if known:
                rest[column], width[column] = known[0], known[1] ** -0.5
        for i, row in enumerate(rows[2:]):
            column, closes = coordinates.n_bonds + i, coordinates.closing[i]
            ends = frozenset((row[0], row[2]))
            known = bonds.get(ends) if closes else angles.get((row[1], ends))
            width[column] = _BOND_WIDTH if closes else _ANGLE_WIDTH
            if known:
                rest[column], width[column] = known[0], known[1] ** -0.5
        for i in coordinates.straight.nonzero().squeeze(-1).tolist():
            column = coordinates.n_bonds + i
            if i == 0:
                rest[column], width[column] = third_bend_moments(float(width[column]))
            else:  # X and Y
                for part in (column, first + i - 1):
                    rest[part], width[part] = 0.0, width[column]
        graph = networkx.Graph(row[:2] for row in rows[1:])
        graph.add_edges_from(bonds)
        bridges = set(map(frozenset, networkx.bridges(graph)))
        held = {frozenset(quad[1:3]) for quad in isomers.held_bonds}
        densities = {}  # of the torsions that are circles
        kinds = zip(coordinates.torsion_proper, coordinates.closing[1:], rows[3:], strict=True)
        for column, (proper, closing, (atom, a, b, c)) in enumerate(kinds, first):
            bond = frozenset((a, b))
            if closing:
                if stiff.isdisjoint((frozenset((atom, a)), frozenset((atom, b)))):
                    width[column] = _RING_WIDTH
            elif proper and bond in bridges - held:
                profile = profiles.get((min(bond), max(bond)))
                densities[column] = _turning_density(profile, rest[column])
            elif proper and bond not in bridges | stiff:
                width[column] = _RING_WIDTH
            elif a in isomers.inverting and {atom, b, c} == set(graph[a]):
                densities[column] = _inverting_density(rest[column])
        circle = torch.tensor(sorted(densities), dtype=torch.long)
        line = torch.ones(coordinates.dim, dtype=torch.bool).index_fill(0, circle, False)
        self.register_buffer("line", line.nonzero().squeeze(-1))
        self.register_buffer("circle", circle)
        self.register_buffer("rest", rest[self.line])
        self.register_buffer("width", width[self.line])
        self.register_buffer("is_stiff_torsion", self.line >= first)
        tables = np.array([densities[column] for column in circle.tolist()]).reshape(-1, GRID)
        self.marginals = Marginals.from_densities(torch.from_numpy(tables))

    @property
    def n_linear(self) -> int:
        return len(self.line)

    @property
    def n_circular(self) -> int:
        return len(self.circle)

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        q = s.new_empty(len(s), self.coordinates.dim)
        deviation = self.width * s[:, : self.n_linear]
        q[:, self.line] = self.rest + deviation
        q[:, self.circle], log_density = self.marginals.quantile(s[:, self.n_linear :])
        x, log_det = self.coordinates.to_cartesian(q)
        log_det = log_det + self.width.log().sum() - log_density.sum(-1)
        outside = beyond_half_turn(deviation, self.is_stiff_torsion)
        return x, torch.where(outside, -torch.inf, log_det)

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, log_det = self.coordinates.from_cartesian(x)
        deviation = wrap_torsions(q[:, self.line] - self.rest, self.is_stiff_torsion)
        circle, log_density = self.marginals.cumulative(q[:, self.circle])
        s = torch.cat([deviation / self.width, circle], dim=-1)
        return s, log_det + self.width.log().sum() - log_density.sum(-1)


def _turning_density(profile: np.ndarray | None, start: Tensor) -> np.ndarray:
    """Compute the density of a torsion on the grid of `marginals`, every well within reach.

    It is the Boltzmann factor of the profile, with barriers scaled down to a few kT.
    """
    if profile is None:
        return np.full(GRID, 1.0 / (2.0 * np.pi))
    turns = np.arange(GRID) * (2.0 * np.pi / GRID) - np.pi - float(start)
    grid = np.arange(len(profile)) * (2.0 * np.pi / len(profile))
    energy = np.interp(turns, grid, profile, period=2.0 * np.pi)
    p = np.exp(-energy * min(1.0, _HIGHEST_BARRIER / max(profile.max(), 1e-12)))
    return p / (p.sum() * 2.0 * np.pi / GRID)


def _inverting_density(start: Tensor) -> np.ndarray:
    """Compute the density of a pyramid's improper torsion on the grid, both forms alike."""
    angles = np.arange(GRID) * (2.0 * np.pi / GRID) - np.pi
    forms = (
        np.exp((np.cos(angles - centre) - 1.0) / _PYRAMID_WIDTH**2) for centre in (start, -start)
    )
    one, other = (np.asarray(form, dtype=np.float64) for form in forms)
    p = one + other
    return p / (p.sum() * 2.0 * np.pi / GRID)
