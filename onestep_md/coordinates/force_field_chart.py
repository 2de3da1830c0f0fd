r"""A chart made from the force field's own terms, for annealing without any dynamics.

Bonds and angles are Gaussian about their rest values with the width sqrt(kT / k) of their term,
stiff torsions (siblings, double bonds) about those of the input geometry, and rotatable torsions
are uniform: independent, crude, but in the right units, and no conformation is preferred. Torsions
of rings that are not flat are so wide that every pucker is within reach.
"""

import math

import networkx
import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart, wrap
from onestep_md.coordinates.internal import InternalCoordinates, third_bend

_BOND_WIDTH = 0.005  # nm; where the force field has no harmonic term
_ANGLE_WIDTH = 0.08  # rad; the same
_TORSION_WIDTH = 0.15  # rad; of stiff torsions
_RING_WIDTH = 0.6  # rad; of torsions in rings of single bonds: two puckers are 1.2 apart


class ForceFieldChart(Chart):
    """s = (q - rest) / width on the line, s = q on circles."""

    def __init__(
        self,
        coordinates: InternalCoordinates,
        q: Tensor,
        bonds: dict[frozenset[int], tuple[float, float]],
        angles: dict[tuple[int, frozenset[int]], tuple[float, float]],
        stiff: frozenset[frozenset[int]],
    ):
        """Take the terms.

        Args:
            coordinates: the z-matrix map of the molecule.
            q: (1, dim) internal coordinates of the input geometry.
            bonds, angles: rest value and force constant / kT, see `targets.terms`.
            stiff: bonds that no torsion turns about.
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
                rest[column], width[column] = third_bend(float(width[column]))
            else:  # X and Y
                for part in (column, first + i - 1):
                    rest[part], width[part] = 0.0, width[column]
        rings = networkx.Graph(row[:2] for row in rows[1:])
        rings.add_edges_from(bonds)
        in_ring = set(map(frozenset, rings.edges)) - set(map(frozenset, networkx.bridges(rings)))
        rotatable = torch.zeros(coordinates.dim, dtype=torch.bool)
        turning = zip(coordinates.torsion_proper, coordinates.closing[1:], rows[3:], strict=True)
        for column, (proper, closing, (atom, a, b, _)) in enumerate(turning, first):
            if closing:
                single = stiff.isdisjoint((frozenset((atom, a)), frozenset((atom, b))))
            else:
                single = bool(proper) and frozenset((a, b)) not in stiff
            if single and (closing or frozenset((a, b)) in in_ring):
                width[column] = _RING_WIDTH
            else:
                rotatable[column] = single
        self.register_buffer("line", (~rotatable).nonzero().squeeze(-1))
        self.register_buffer("circle", rotatable.nonzero().squeeze(-1))
        self.register_buffer("rest", rest[self.line])
        self.register_buffer("width", width[self.line])
        self.register_buffer("is_stiff_torsion", self.line >= first)

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
        q[:, self.circle] = s[:, self.n_linear :]
        x, log_det = self.coordinates.to_cartesian(q)
        outside = ((deviation.abs() >= math.pi) & self.is_stiff_torsion).any(-1)
        return x, torch.where(outside, -torch.inf, log_det + self.width.log().sum())

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, log_det = self.coordinates.from_cartesian(x)
        deviation = q[:, self.line] - self.rest
        deviation = torch.where(self.is_stiff_torsion, wrap(deviation), deviation)
        s = torch.cat([deviation / self.width, q[:, self.circle]], dim=-1)
        return s, log_det + self.width.log().sum()
