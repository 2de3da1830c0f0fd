r"""Internal coordinates q = [free bonds | angles | torsions] <-> Cartesian x, with log|det dx/dq|.

Row i of the z-matrix is a point in spherical coordinates (b, theta, phi) about its bonded atom,
so its volume element is b^2 sin(theta) db dtheta dphi. The references of a row are placed before
it, the Jacobian is block triangular, and the rows multiply. Row 0 is the translation dx_0 (V); row
1 has only b, its direction is two rotations; row 2 has b and theta, its azimuth is the third one.
With dOmega the Haar measure of SO(3), of total volume 8 pi^2,

    dx = dx_0 dOmega exp(log_det) dq,  log_det = sum_{i>=1} 2 log b_i + sum_{i>=2} log sin theta_i.

Rigid motion is integrated out and its constant log(8 pi^2 V) is left out, the same for every
conformation: log Z of a molecule is meant up to it. A constrained bond is not in q, its length
enters log_det as a constant: the density of an infinitely stiff spring, from which constrained
dynamics differs by the (for bonds to hydrogen very small) Fixman term.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from onestep_md.coordinates.zmatrix import ZMatrix

_TINY = 1e-24  # nm^2 and nm^4: lengths below 1e-12 have no direction


class InternalCoordinates(nn.Module):
    """The z-matrix map of one molecule; float64, differentiable both ways.

    Attributes:
        n_atoms, n_bonds, n_angles, n_torsions, dim: sizes; `n_bonds` counts free bonds only.
        torsion_proper: (n_torsions,) bool, rotations about bonds; the others are siblings.
        names: label of every coordinate, with element and atom number.
    """

    def __init__(self, zmatrix: ZMatrix):
        super().__init__()
        free = np.isnan(zmatrix.fixed_length[1:])
        self.n_atoms = len(zmatrix.atom)
        self.n_bonds = int(free.sum())
        self.n_angles = self.n_atoms - 2
        self.n_torsions = self.n_atoms - 3
        self.dim = self.n_bonds + self.n_angles + self.n_torsions
        self.names = _names(zmatrix, free)
        self._order = zmatrix.atom.tolist()
        self._third_on_second = bool(zmatrix.bond_to[2] == zmatrix.atom[1])
        self._levels = [
            (start, stop, _references(zmatrix, start, stop)) for start, stop in zmatrix.levels
        ]
        # the bonds of all rows are [q bonds | fixed lengths] taken at `bond_column`
        column = np.empty(self.n_atoms - 1, dtype=np.int64)
        column[free] = np.arange(self.n_bonds)
        column[~free] = self.n_bonds + np.arange((~free).sum())
        self.register_buffer("bond_column", torch.as_tensor(column))
        self.register_buffer("bond_fixed", torch.as_tensor(zmatrix.fixed_length[1:][~free]))
        self.register_buffer("bond_free", torch.as_tensor(np.flatnonzero(free)))
        self.register_buffer("torsion_proper", torch.as_tensor(zmatrix.proper[3:]))
        rows = [zmatrix.atom, zmatrix.bond_to, zmatrix.angle_to, zmatrix.torsion_to]
        self.register_buffer("rows", torch.as_tensor(np.stack(rows).astype(np.int64)))

    def to_cartesian(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Place the atoms.

        The first row's atom is at the origin, the second on the positive x axis, the third in the
        xy plane with y > 0.

        Args:
            q: (batch, dim) bonds in nm, angles and torsions in rad.

        Returns:
            x (batch, atoms, 3) in nm and log|det dx/dq| (batch,). A bond that is not positive or
            an angle outside (0, pi) folds space: log_det is -inf there, x is still finite.
        """
        q = q.double()
        angles = q[:, self.n_bonds : self.n_bonds + self.n_angles]
        torsions = q[:, self.n_bonds + self.n_angles :]
        bonds = self._all_bonds(q[:, : self.n_bonds])

        zero = torch.zeros_like(bonds[:, 0])
        sine, cosine = angles.sin(), angles.cos()
        # where the new atom lies from `bond_to`: along the axis, across it, out of plane
        along = -bonds[:, 1:] * cosine
        across = bonds[:, 2:] * sine[:, 1:] * torsions.cos()
        out = bonds[:, 2:] * sine[:, 1:] * torsions.sin()

        placed: list[Tensor | None] = [None] * self.n_atoms
        first, second, third = self._order[:3]
        placed[first] = torch.stack([zero, zero, zero], dim=-1)
        placed[second] = torch.stack([bonds[:, 0], zero, zero], dim=-1)
        corner, sign = (second, 1.0) if self._third_on_second else (first, -1.0)
        step = [sign * along[:, 0], bonds[:, 1] * sine[:, 0], zero]
        placed[third] = placed[corner] + torch.stack(step, dim=-1)
        for start, stop, references in self._levels:
            c, b, a = (torch.stack([placed[i] for i in column], 1) for column in references)
            axis, plane, normal = _frame(a, b, c)
            new = (
                c
                + along[:, start - 2 : stop - 2, None] * axis
                + across[:, start - 3 : stop - 3, None] * plane
                + out[:, start - 3 : stop - 3, None] * normal
            )
            for row, position in zip(range(start, stop), new.unbind(1), strict=True):
                placed[self._order[row]] = position
        log_det = _log_volume(bonds, angles)
        log_det = torch.where(q.isfinite().all(-1), log_det, -torch.inf)
        return torch.stack(placed, dim=1), log_det

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
        log_det = _log_volume(self._all_bonds(free), angles)
        return torch.cat([free, angles, torsions], dim=-1), log_det

    def _all_bonds(self, free: Tensor) -> Tensor:
        fixed = self.bond_fixed.expand(len(free), -1)
        return torch.cat([free, fixed], dim=-1)[:, self.bond_column]


def _references(zmatrix: ZMatrix, start: int, stop: int) -> tuple[list[int], ...]:
    columns = (zmatrix.bond_to, zmatrix.angle_to, zmatrix.torsion_to)
    return tuple(column[start:stop].tolist() for column in columns)


def _names(zmatrix: ZMatrix, free: np.ndarray) -> tuple[str, ...]:
    columns = (zmatrix.atom, zmatrix.bond_to, zmatrix.angle_to, zmatrix.torsion_to)
    chains = [[zmatrix.labels[i] for i in row if i >= 0] for row in zip(*columns, strict=True)]
    bonds = [chain[:2] for chain, keep in zip(chains[1:], free, strict=True) if keep]
    angles = [chain[:3] for chain in chains[2:]]
    kinds = ["torsion" if proper else "improper" for proper in zmatrix.proper[3:]]
    return (
        *(f"bond {'-'.join(chain)}" for chain in bonds),
        *(f"angle {'-'.join(chain)}" for chain in angles),
        *(f"{kind} {'-'.join(chain)}" for kind, chain in zip(kinds, chains[3:], strict=True)),
    )


def _norm(v: Tensor) -> Tensor:
    """Length with a zero, not a nan, gradient where v vanishes."""
    square = (v * v).sum(-1)
    safe = torch.where(square > 0, square, 1.0)
    return torch.where(square > 0, safe.sqrt(), 0.0)


def _frame(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right-handed axes at c: along b->c, in the plane away from the axis, normal to the plane."""
    axis = c - b
    axis = axis * (axis * axis).sum(-1, keepdim=True).clamp(min=_TINY).rsqrt()
    normal = torch.linalg.cross(b - a, axis)
    normal = normal * (normal * normal).sum(-1, keepdim=True).clamp(min=_TINY).rsqrt()
    return axis, torch.linalg.cross(normal, axis), normal


def _log_volume(bonds: Tensor, angles: Tensor) -> Tensor:
    """Sum of 2 log b and log sin theta, -inf outside their ranges, with finite gradients."""
    bond_ok = bonds > 0
    angle_ok = (angles > 0) & (angles < math.pi)
    log_b = torch.where(bond_ok, bonds, 1.0).log()
    log_sine = torch.where(angle_ok, angles, 0.5 * math.pi).sin().log()
    total = 2.0 * log_b.sum(-1) + log_sine.sum(-1)
    return torch.where(bond_ok.all(-1) & angle_ok.all(-1), total, -torch.inf)
