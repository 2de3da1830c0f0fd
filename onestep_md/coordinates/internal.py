r"""Internal coordinates q = [free bonds | angles | torsions] <-> Cartesian x, with log|det dx/dq|.

Row i of the z-matrix is a point in spherical coordinates (b, theta, phi) about its bonded atom,
so its volume element is b^2 sin(theta) db dtheta dphi. The references of a row are placed before
it, the Jacobian is block triangular, and the rows multiply. Row 0 is the translation dx_0 (V); row
1 has only b, its direction is two rotations; row 2 has b and theta, its azimuth is the third one.
With dOmega the Haar measure of SO(3), of total volume 8 pi^2,

    dx = dx_0 dOmega exp(log_det) dq,  log_det = sum_{i>=1} 2 log b_i + sum_{i>=2} log sin theta_i.

Rigid motion is integrated out and its constant log(8 pi^2 V) is left out, the same for every
conformation: log Z of a molecule is meant up to it. Two atoms have no third rotation: there it is
log(4 pi V).

An atom that closes a ring is located by two bonds, b to one neighbour and r to another one at the
distance R of the first, and r stands for theta: r^2 = b^2 + R^2 - 2 b R cos(theta), so that
dtheta = r dr / (b R sin theta).

An atom that continues a bond in a straight line (theta = pi) is located by X and Y instead of
theta and phi: by the equal-area map (X, Y) = R (cos phi, sin phi), R = 2 cos(theta/2), of the
sphere without the point backwards onto a disc of radius 2 (Lambert's projection), so that

    sin(theta) dtheta dphi = dX dY,  (X, Y) ~ Gaussian for a harmonic bend.

In row 2, which has no phi, a harmonic R has the density R exp(-k R^2 / 2). q = R^(5/9), nearly
Gaussian then, stands for it: R dR = 9/5 q^(13/5) dq.

A bond whose atom closes two rings at once is no coordinate. It is between half and twice its
length in the input; other conformations are outside of the domain.

A constrained bond is not in q, and its length enters log_det as a constant. This is the density of
an infinitely stiff spring; that of constrained dynamics differs by the Fixman term, which is very
small for bonds to hydrogen.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from onestep_md.coordinates.domain import Domain, Quad
from onestep_md.coordinates.zmatrix import ZMatrix, coordinate_names

_POWER = 5.0 / 9.0  # of R in row 2: the Weibull distribution that is left has no skewness
_TINY = 1e-24  # nm^2 and nm^4: lengths below 1e-12 have no direction


class InternalCoordinates(nn.Module):
    """The z-matrix map of one molecule; float64, differentiable both ways.

    Attributes:
        n_atoms, n_bonds, n_angles, n_torsions, dim: sizes; `n_bonds` counts free bonds only, and
            not those that close a ring, which are among the angles.
        closing: (n_angles,) bool, which of the angles are lengths of closing bonds.
        straight: (n_angles,) bool, which of them are deviations from a straight line, as are the
            torsions of the same rows.
        torsion_proper: (n_torsions,) bool, rotations about bonds; the others are siblings.
        names: label of every coordinate, with element and atom number.
        domain: conformations of the isomer that is held; all others have no volume.
    """

    bond_column: Tensor
    bond_fixed: Tensor
    bond_free: Tensor
    closing: Tensor
    straight: Tensor
    _is_third: Tensor
    torsion_proper: Tensor
    rows: Tensor

    def __init__(
        self,
        zmatrix: ZMatrix,
        centres: Sequence[Quad] = (),
        held_bonds: Sequence[Quad] = (),
        cis: Sequence[bool] = (),
    ):
        """Take a z-matrix, and the centres and bonds that `isomers.Isomers` holds."""
        super().__init__()
        free = np.isnan(zmatrix.fixed_length[1:])
        self.n_atoms = len(zmatrix.atom)
        self.n_bonds = int(free.sum())
        self.n_angles = self.n_atoms - 2
        self.n_torsions = max(0, self.n_atoms - 3)
        self.dim = self.n_bonds + self.n_angles + self.n_torsions
        self.zmatrix = zmatrix
        self.names = coordinate_names(zmatrix)
        self._order = zmatrix.atom.tolist()
        self._third_on_second = bool((zmatrix.bond_to[2:3] == zmatrix.atom[1]).all())
        closing = zmatrix.closing
        self._levels = [
            (start, stop, _references(zmatrix, start, stop), bool(closing[start:stop].any()))
            for start, stop in zmatrix.levels
        ]
        self._has_rings, self._has_lines = bool(closing.any()), bool(zmatrix.straight.any())
        # the bonds of all rows are [q bonds | fixed lengths] taken at `bond_column`
        column = np.empty(self.n_atoms - 1, dtype=np.int64)
        column[free] = np.arange(self.n_bonds)
        column[~free] = self.n_bonds + np.arange((~free).sum())
        self.register_buffer("bond_column", torch.as_tensor(column))
        self.register_buffer("bond_fixed", torch.as_tensor(zmatrix.fixed_length[1:][~free]))
        self.register_buffer("bond_free", torch.as_tensor(np.flatnonzero(free)))
        self.register_buffer("closing", torch.as_tensor(closing[2:]))
        self.register_buffer("straight", torch.as_tensor(zmatrix.straight[2:]))
        self.register_buffer("_is_third", torch.arange(self.n_angles) == 0)
        self.register_buffer("torsion_proper", torch.as_tensor(zmatrix.proper[3:]))
        rows = [zmatrix.atom, zmatrix.bond_to, zmatrix.angle_to, zmatrix.torsion_to]
        self.register_buffer("rows", torch.as_tensor(np.stack(rows).astype(np.int64)))
        self.domain = Domain(centres, held_bonds, cis, zmatrix.loose)

    @property
    def members(self) -> Tensor:
        """Atoms (dim, 4) that define each coordinate, the placed one first; -1: fewer."""
        rows = self.rows.T
        count = torch.arange(4, device=rows.device)
        bonds = rows[1:][self.bond_free]
        # X and Y depend on all four atoms
        angles = torch.where(self.straight, 4, 3)[:, None] if self._has_lines else 3
        table = [(bonds, 2), (rows[2:], angles), (rows[3:], 4)]
        return torch.cat([torch.where(count < n, part, -1) for part, n in table])

    @property
    def periodic(self) -> Tensor:
        """Mask (n_torsions,) of the torsions that are angles, and no deviations from lines."""
        return ~self.straight[1:] if self._has_lines else torch.ones_like(self.torsion_proper)

    @property
    def constrained(self) -> Tensor:
        """Pairs of atoms (2, constraints) at a fixed distance."""
        fixed = torch.ones(self.n_atoms - 1, dtype=torch.bool)
        fixed[self.bond_free] = False
        return self.rows[:2, 1:][:, fixed]

    def to_cartesian(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Place the atoms.

        The first row's atom is at the origin, the second on the positive x axis, the third in the
        xy plane with y > 0.

        Args:
            q: (batch, dim) bonds in nm, angles and torsions in rad.

        Returns:
            x (batch, atoms, 3) in nm and log|det dx/dq| (batch,). A bond that is not positive, an
            angle outside (0, pi) or a ring too wide to be closed folds space, and a conformation
            outside of the domain is another isomer: log_det is -inf there, x is still finite.
        """
        q = q.double()
        angles = q[:, self.n_bonds : self.n_bonds + self.n_angles]
        torsions = q[:, self.n_bonds + self.n_angles :]
        bonds = self._all_bonds(q[:, : self.n_bonds])

        zero = torch.zeros_like(bonds[:, 0])
        # the new atom seen from `bond_to`: along the axis, and off it in two directions
        along, off = -bonds[:, 1:] * angles.cos(), bonds[:, 1:] * angles.sin()
        across, out = torsions.cos(), torsions.sin()
        log_det = self._log_volume(bonds, angles, torsions)
        if self._has_lines:
            x, y = self._deviations(angles, torsions)
            bend = x * x + y * y  # R^2, and cos(theta) = R^2 / 2 - 1
            turned = bonds[:, 1:] * (1.0 - 0.25 * bend).clamp(min=_TINY).sqrt()
            along = torch.where(self.straight, bonds[:, 1:] * (1.0 - 0.5 * bend), along)
            # off the axis in two directions, except for row 2, which lies in the plane
            off = torch.where(self.straight, turned * torch.where(self._is_third, x, 1.0), off)
            across = torch.where(self.straight[1:], x[:, 1:], across)
            out = torch.where(self.straight[1:], y[:, 1:], out)

        placed: dict[int, Tensor] = {}
        first, second = self._order[:2]
        placed[first] = torch.stack([zero, zero, zero], dim=-1)
        placed[second] = torch.stack([bonds[:, 0], zero, zero], dim=-1)
        if self.n_angles:
            corner, sign = (second, 1.0) if self._third_on_second else (first, -1.0)
            step = [sign * along[:, 0], off[:, 0], zero]
            placed[self._order[2]] = placed[corner] + torch.stack(step, dim=-1)
        for start, stop, references, closes in self._levels:
            c, b, a = (torch.stack([placed[i] for i in column], 1) for column in references)
            axis, plane, normal = _frame(a, b, c)
            rows, turns = slice(start - 2, stop - 2), slice(start - 3, stop - 3)
            on_axis, off_axis = along[:, rows], off[:, rows]
            if closes:
                closing, bond = self.closing[rows], bonds[:, start - 1 : stop - 1]
                foot, height, log_turn = _triangle(bond, angles[:, rows], _norm(c - b))
                on_axis = torch.where(closing, -foot, on_axis)
                off_axis = torch.where(closing, height, off_axis)
                log_det = log_det + torch.where(closing, log_turn, 0.0).sum(-1)
            new = (
                c
                + on_axis[..., None] * axis
                + (off_axis * across[:, turns])[..., None] * plane
                + (off_axis * out[:, turns])[..., None] * normal
            )
            for row, position in zip(range(start, stop), new.unbind(1), strict=True):
                placed[self._order[row]] = position
        x = torch.stack([placed[i] for i in range(self.n_atoms)], dim=1)
        inside = q.isfinite().all(-1) & self.domain.contains(x)
        return x, torch.where(inside, log_det, -torch.inf)

    def from_cartesian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Measure the coordinates; the inverse of `to_cartesian` up to rigid motion.

        Args:
            x: (batch, atoms, 3) in nm.

        Returns:
            q (batch, dim), torsions in [-pi, pi) with the IUPAC sign, and the SAME
            log|det dx/dq| (batch,) as `to_cartesian` gives at q.
        """
        x = x.double()
        atom, bond_to, angle_to, torsion_to = self.rows
        bond = x[:, bond_to[1:]] - x[:, atom[1:]]
        axis = x[:, angle_to[2:]] - x[:, bond_to[2:]]
        last = x[:, torsion_to[3:]] - x[:, angle_to[3:]]
        lengths = _norm(bond)
        cross = torch.linalg.cross(bond[:, 1:], axis)
        angles = torch.atan2(_norm(cross), -(bond[:, 1:] * axis).sum(-1))
        # tan(phi) = |b2| b1.(b2 x b3) / (b1 x b2).(b2 x b3)
        turned = torch.linalg.cross(axis[:, 1:], last)
        y = _norm(axis[:, 1:]) * (bond[:, 2:] * turned).sum(-1)
        torsions = torch.atan2(y, (cross[:, 1:] * turned).sum(-1))
        torsions = torch.where(torsions >= math.pi, torsions - 2.0 * math.pi, torsions)
        free = lengths[:, self.bond_free]
        if self._has_rings:
            angles = torch.where(self.closing, _norm(bond[:, 1:] + axis), angles)
        if self._has_lines:
            radius = 2.0 * torch.cos(0.5 * angles)
            both = [radius[:, :1] ** _POWER, radius[:, 1:] * torsions.cos()]
            angles = torch.where(self.straight, torch.cat(both, dim=-1), angles)
            sideways = radius[:, 1:] * torsions.sin()
            torsions = torch.where(self.straight[1:], sideways, torsions)
        log_det = self._log_volume(self._all_bonds(free), angles, torsions)
        if self._has_rings:
            _, _, log_turn = _triangle(lengths[:, 1:], angles, _norm(axis))
            log_det = log_det + torch.where(self.closing, log_turn, 0.0).sum(-1)
        log_det = torch.where(self.domain.contains(x), log_det, -torch.inf)
        return torch.cat([free, angles, torsions], dim=-1), log_det

    def _deviations(self, angles: Tensor, torsions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute X and Y of straight rows, (batch, n_angles); R and 0 in row 2."""
        radius = torch.where(angles > 0, angles, 1.0) ** (1.0 / _POWER)
        y = torch.cat([torch.zeros_like(angles[:, :1]), torsions], dim=-1)
        return torch.where(self._is_third, radius, angles), y

    def _log_volume(self, bonds: Tensor, angles: Tensor, torsions: Tensor) -> Tensor:
        """Compute the volume element without the part of closing bonds; -inf out of range."""
        if not self._has_lines:
            return _log_volume(bonds, angles, self.closing)
        total = _log_volume(bonds, torch.where(self.straight, 0.5 * math.pi, angles), self.closing)
        x, y = self._deviations(angles, torsions)
        inside = ~self.straight | (x * x + y * y < 4.0)
        if self.straight[0]:
            third = angles[:, 0]
            inside[:, 0] &= third > 0
            log_third = torch.where(third > 0, third, 1.0).log()
            total = total + (2.0 / _POWER - 1.0) * log_third - math.log(_POWER)
        return torch.where(inside.all(-1), total, -torch.inf)

    def _all_bonds(self, free: Tensor) -> Tensor:
        fixed = self.bond_fixed.expand(len(free), -1)
        return torch.cat([free, fixed], dim=-1)[:, self.bond_column]


def third_bend_moments(width: float) -> tuple[float, float]:
    """Compute mean and standard deviation of the coordinate of a straight row 2.

    Args:
        width: standard deviation of the bend in each of its two directions, in rad.
    """
    scale = (math.sqrt(2.0) * width) ** _POWER
    mean = math.gamma(1.0 + 0.5 * _POWER)
    return scale * mean, scale * math.sqrt(math.gamma(1.0 + _POWER) - mean * mean)


def _references(zmatrix: ZMatrix, start: int, stop: int) -> tuple[list[int], ...]:
    columns = (zmatrix.bond_to, zmatrix.angle_to, zmatrix.torsion_to)
    return tuple(column[start:stop].tolist() for column in columns)


def _norm(v: Tensor) -> Tensor:
    """Compute lengths, with a gradient of zero instead of nan where v vanishes."""
    square = (v * v).sum(-1)
    safe = torch.where(square > 0, square, 1.0)
    return torch.where(square > 0, safe.sqrt(), 0.0)


def _frame(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Build right-handed axes at c: along b->c, in the plane off the axis, normal to the plane."""
    axis = c - b
    axis = axis * (axis * axis).sum(-1, keepdim=True).clamp(min=_TINY).rsqrt()
    normal = torch.linalg.cross(b - a, axis)
    normal = normal * (normal * normal).sum(-1, keepdim=True).clamp(min=_TINY).rsqrt()
    return axis, torch.linalg.cross(normal, axis), normal


def _triangle(b: Tensor, r: Tensor, span: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place the corner at distances b and r from the ends of a side `span`; all of one shape.

    Returns:
        the foot of the corner on the side, from the first end, its height, and the logarithm of
        sin(theta) dtheta/dr = r / (b span), theta the angle at the first end; -inf if none exists.
    """
    span = span.clamp(min=_TINY**0.5)
    foot = 0.5 * (b * b + span * span - r * r) / span
    square = b * b - foot * foot
    exists = (square > 0) & (b > 0) & (r > 0)
    height = torch.where(exists, square, 1.0).sqrt()
    ratio = torch.where(exists, r / (b * span), 1.0)
    return foot, height, torch.where(exists, ratio.log(), -torch.inf)


def _log_volume(bonds: Tensor, angles: Tensor, closing: Tensor) -> Tensor:
    """Sum 2 log b and log sin theta, -inf outside their ranges, with finite gradients."""
    bond_ok = bonds > 0
    angle_ok = (angles > 0) & (angles < math.pi)
    log_b = torch.where(bond_ok, bonds, 1.0).log()
    log_sine = torch.where(angle_ok & ~closing, angles, 0.5 * math.pi).sin().log()
    total = 2.0 * log_b.sum(-1) + log_sine.sum(-1)
    return torch.where(bond_ok.all(-1) & angle_ok.all(-1), total, -torch.inf)
