r"""Large rings that close: three of their torsions follow the others to second order.

A ring of N atoms has N bonds, N angles and N - 6 torsions. A z-matrix cuts it and keeps three
angles too few and three torsions too many, so that those angles g are functions of the other
coordinates r. They are stiff and r is soft: along torsions that vary by d the angles bend by d^2,
which is more than their thermal width. A Gaussian of r, of whatever covariance, hardly closes
the ring. So three torsions b stand back, and the angles to second order about the middle of a
conformer, at g = g0,

    y = J_r d + J_b e + 1/2 (d, e_0)^T H (d, e_0),   e_0 = -J_b^{-1} J_r d,

take their places. y is linear in the deviations e of b, which leaves an inverse in closed form,
and a volume, |det J_b|, that does not change, whatever the last term is: in it d is bounded, so
that what lies far from a conformer is not sent farther.
"""

import itertools
from collections.abc import Sequence

import networkx
import torch
from torch import Tensor, nn

from onestep_md.coordinates.base import multiply_each
from onestep_md.coordinates.internal import InternalCoordinates

_SMALLEST = 8  # atoms of a ring; smaller ones have fewer soft torsions than angles that depend
_FAR = 0.8  # rad; bound of d in the second order
_LEAST_LEVER = 0.05  # singular value of J_b below which three torsions do not close a ring


class RingClosure(nn.Module):
    """The map between deviations of z-matrix coordinates, and those with y in the places of b.

    Attributes:
        bound: (3,) which coordinates are b.
        free: (n,) which others y depends on.
        offset: (conformers, coordinates) deviations where the map starts: d = line + offset.
        lever: (conformers, 3, 3) J_b.
        linear: (conformers, 3, n) -J_b^{-1} J_r.
        quadratic: (conformers, 3, n, n) the matrix between d and d, twice the second-order part
            of y.
        log_det: (conformers,) log|det| of `open`.
    """

    bound: Tensor
    free: Tensor
    offset: Tensor
    lever: Tensor
    linear: Tensor
    quadratic: Tensor

    def __init__(
        self,
        bound: Tensor,
        free: Tensor,
        offset: Tensor,
        lever: Tensor,
        linear: Tensor,
        quadratic: Tensor,
    ):
        super().__init__()
        self.register_buffer("bound", bound)
        self.register_buffer("free", free)
        self.register_buffer("offset", offset)
        self.register_buffer("lever", lever)
        self.register_buffer("linear", linear)
        self.register_buffer("quadratic", quadratic)
        self.log_det = torch.linalg.slogdet(lever)[1]
        self._inverse = torch.linalg.inv(lever)

    def close(self, line: Tensor, conformer: Tensor) -> Tensor:
        """Replace y by b in deviations (batch, coordinates) from conformers (batch,)."""
        moved = line + self.offset[conformer]
        d = moved[:, self.free]
        e = _times(self._inverse[conformer], moved[:, self.bound] - self._bend(d, conformer))
        return line.index_copy(1, self.bound, e + _times(self.linear[conformer], d))

    def open(self, line: Tensor, conformer: Tensor) -> Tensor:
        """Replace b by y, the inverse of `close`."""
        offset = self.offset[conformer]
        d = line[:, self.free] + offset[:, self.free]
        e = line[:, self.bound] - _times(self.linear[conformer], d)
        y = _times(self.lever[conformer], e) + self._bend(d, conformer)
        return line.index_copy(1, self.bound, y - offset[:, self.bound])

    def shifted(self, offset: Tensor) -> "RingClosure":
        """Return the same map with other offsets."""
        return RingClosure(self.bound, self.free, offset, self.lever, self.linear, self.quadratic)

    def _bend(self, d: Tensor, conformer: Tensor) -> Tensor:
        d = _FAR * torch.tanh(d / _FAR)
        product = multiply_each(d, self.quadratic.flatten(1, 2), conformer)
        return 0.5 * _times(product.unflatten(1, (-1, d.shape[1])), d)


def find_closure(
    coordinates: InternalCoordinates,
    middles: Tensor,
    line: Tensor,
    rings: Sequence[Sequence[int]],
) -> RingClosure | None:
    """Expand the dependent angles of a large ring about the middle of each conformer.

    Args:
        coordinates: the z-matrix map.
        middles: (conformers, dim) internal coordinates.
        line: (n,) numbers of the coordinates that may depend on each other.
        rings: atoms of every ring that has shapes to sample.

    Returns:
        None unless there is one large ring, and three torsions that close it in each conformer.
    """
    large = [ring for ring in rings if len(ring) >= _SMALLEST]
    triples = find_dependent_angles(coordinates, large[0]) if len(large) == 1 else []
    if len(triples) != 3:
        return None
    first, second, used = _derivatives(coordinates, middles, line, triples)
    torsions = (line[used] >= coordinates.n_bonds + coordinates.n_angles).nonzero().squeeze(-1)
    choices = list(itertools.combinations(torsions.tolist(), 3))
    levers = [torch.linalg.svdvals(first[:, :, list(choice)])[:, -1].min() for choice in choices]
    if not levers or max(levers) < _LEAST_LEVER:
        return None
    bound = torch.tensor(choices[int(torch.stack(levers).argmax())])
    free = torch.ones(len(used), dtype=torch.bool).index_fill(0, bound, False)
    free = free.nonzero().squeeze(-1)
    lever = first[:, :, bound]
    linear = -torch.linalg.solve(lever, first[:, :, free])
    # how all move with d, to first order
    along = second.new_zeros(len(middles), len(used), len(free))
    along[:, free, torch.arange(len(free))], along[:, bound] = 1.0, linear
    quadratic = along.mT[:, None] @ second @ along[:, None]
    offset = middles.new_zeros(len(middles), len(line))
    return RingClosure(used[bound], used[free], offset, lever, linear, quadratic)


def find_dependent_angles(
    coordinates: InternalCoordinates, ring: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Find the angles (atom, corner, atom) of a ring that are no coordinates, if none cuts it."""
    graph, known = networkx.Graph(), set()
    for i, (atom, bond_to, angle_to, _) in enumerate(coordinates.rows.T.tolist()):
        if i:
            graph.add_edge(atom, bond_to)
        if i > 1 and coordinates.closing[i - 2]:
            graph.add_edge(atom, angle_to)
        elif i > 1:
            known.add((bond_to, frozenset((atom, angle_to))))
    cycles = networkx.cycle_basis(graph.subgraph(ring))
    if len(cycles) != 1:  # a bond of it is no coordinate
        return []
    cycle = cycles[0]
    corners = zip(cycle[-1:] + cycle[:-1], cycle, cycle[1:] + cycle[:1], strict=True)
    return [(a, b, c) for a, b, c in corners if (b, frozenset((a, c))) not in known]


def measure_angles(x: Tensor, triples: Sequence[tuple[int, int, int]]) -> Tensor:
    """Measure angles (batch, n) at the corners of triples in conformations (batch, atoms, 3)."""
    a, b, c = torch.tensor(triples).T
    one, other = x[:, a] - x[:, b], x[:, c] - x[:, b]
    across = torch.linalg.cross(one, other).norm(dim=-1)
    return torch.atan2(across, (one * other).sum(-1))


def _derivatives(
    coordinates: InternalCoordinates,
    q: Tensor,
    line: Tensor,
    triples: Sequence[tuple[int, int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    """First and second derivatives of angles in those coordinates (m,) of the line that count."""
    q = q.detach().requires_grad_()
    angles = measure_angles(coordinates.to_cartesian(q)[0], triples)
    first = torch.stack(
        [torch.autograd.grad(g.sum(), q, create_graph=True)[0][:, line] for g in angles.unbind(1)],
        dim=1,
    )
    used = (first.detach().abs().amax((0, 1)) > 1e-9).nonzero().squeeze(-1)
    rows = [
        torch.autograd.grad(row.sum(), q, retain_graph=True)[0][:, line[used]]
        for row in first[:, :, used].flatten(1).unbind(1)
    ]
    second = torch.stack(rows, dim=1).unflatten(1, (len(triples), -1))
    return first.detach()[:, :, used], second, used


def _times(matrices: Tensor, rows: Tensor) -> Tensor:
    """Multiply vectors (batch, n) by matrices (batch, m, n)."""
    return (matrices @ rows[..., None]).squeeze(-1)
