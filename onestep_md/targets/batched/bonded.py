"""Bonds, angles, torsions and torsion maps of a System; energies in kJ/mol.

Every term is a module from a `Geometry` to energies (batch,).
"""

import numpy as np
import openmm
import torch
from torch import Tensor, nn

from onestep_md.targets.batched.custom import (
    Formula,
    read_constants,
    read_tables,
    stack_parameters,
)
from onestep_md.targets.batched.geometry import Geometry

_TURN = 2.0 * np.pi


class Harmonic(nn.Module):
    """k (q - q0)^2 / 2 of distances or angles q."""

    atoms: Tensor
    rest: Tensor
    stiffness: Tensor

    def __init__(self, coordinate: str, terms: list):
        """Take rows of atoms, rest value and k; `coordinate` names a method of `Geometry`."""
        super().__init__()
        self._coordinate = coordinate
        *atoms, rest, stiffness = zip(*terms, strict=True)
        self.register_buffer("atoms", torch.tensor(atoms))
        self.register_buffer("rest", _column(rest))
        self.register_buffer("stiffness", _column(stiffness))

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        away = getattr(geometry, self._coordinate)(self.atoms) - self.rest
        return (0.5 * self.stiffness * (away * away)).sum(0)


class PeriodicTorsions(nn.Module):
    """k (1 + cos(n phi - phase))."""

    atoms: Tensor
    which: Tensor
    multiple: Tensor
    phase: Tensor
    height: Tensor

    def __init__(self, terms: list):
        """Take rows of four atoms, n, phase and k."""
        super().__init__()
        atoms, which = np.unique([term[:4] for term in terms], axis=0, return_inverse=True)
        _, _, _, _, multiple, phase, height = zip(*terms, strict=True)
        self.register_buffer("atoms", torch.tensor(atoms.T.copy()))
        self.register_buffer("which", torch.tensor(which.ravel()))
        self.register_buffer("multiple", _column(multiple))
        self.register_buffer("phase", _column(phase))
        self.register_buffer("height", _column(height))

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        phi = geometry.torsion(self.atoms).index_select(0, self.which)
        return (self.height * (1.0 + torch.cos(self.multiple * phi - self.phase))).sum(0)


class RyckaertBellemans(nn.Module):
    """The sum of c_n cos(phi - pi)^n, n from 0 to 5."""

    atoms: Tensor
    coefficients: Tensor

    def __init__(self, terms: list):
        """Take rows of four atoms and six coefficients."""
        super().__init__()
        self.register_buffer("atoms", torch.tensor([term[:4] for term in terms]).T.contiguous())
        self.register_buffer("coefficients", stack_parameters([term[4:] for term in terms], 6))

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        cosine = -torch.cos(geometry.torsion(self.atoms))
        energy = torch.zeros_like(cosine)
        for coefficient in self.coefficients.flip(0):
            energy = energy * cosine + coefficient
        return energy.sum(0)


class TorsionMaps(nn.Module):
    """Energies of two torsions by periodic bicubic splines."""

    atoms: Tensor
    first: Tensor

    def __init__(self, maps: list[np.ndarray], terms: list):
        """Take maps (n, n), the first torsion first, and rows of a map's number and 8 atoms."""
        super().__init__()
        which, *atoms = zip(*terms, strict=True)
        tables = [_bicubic(energy) for energy in maps]
        starts = np.cumsum([0, *(len(table) for table in tables)])
        self.register_buffer("atoms", torch.tensor(atoms))
        self.register_buffer("first", torch.tensor([[starts[k]] for k in which]))
        self.register_buffer("points", torch.tensor([[len(maps[k])] for k in which]))
        self.register_buffer("coefficients", torch.tensor(np.concatenate(tables)))

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        index, s = self._place(geometry.torsion(self.atoms[:4]))
        other, t = self._place(geometry.torsion(self.atoms[4:]))
        c = self.get_buffer("coefficients")[self.first + index * self.get_buffer("points") + other]
        energy = torch.zeros_like(s)
        for row in reversed(c.unbind(-2)):
            inner = torch.zeros_like(t)
            for coefficient in reversed(row.unbind(-1)):
                inner = inner * t + coefficient
            energy = energy * s + inner
        return energy.sum(0)

    def _place(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Return grid points below torsions, and how far beyond them these lie, in spacings."""
        points = self.get_buffer("points")
        place = torch.remainder(phi, _TURN) * points / _TURN
        index = place.detach().nan_to_num().long().clamp(max=points - 1)
        return index, place - index


class CustomBonded(nn.Module):
    """An expression of one distance, angle or torsion."""

    atoms: Tensor
    parameters_: Tensor

    def __init__(self, coordinate: str, variable: str, force, terms: list, names: list[str]):
        """Take rows of atoms and parameters; `coordinate` names a method of `Geometry`."""
        super().__init__()
        self._coordinate, self._variable, self._names = coordinate, variable, names
        text, tables = force.getEnergyFunction(), {}
        if hasattr(force, "getNumTabulatedFunctions"):
            tables = read_tables(force)
        self._formula = Formula(text, read_constants(force), tables, [variable, *names])
        atoms = [term[:-1] for term in terms]
        self.register_buffer("atoms", torch.tensor(atoms).T.contiguous())
        rows = [term[-1] for term in terms]
        self.register_buffer("parameters_", stack_parameters(rows, len(names)))

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        coordinate = getattr(geometry, self._coordinate)(self.atoms)
        values = dict(zip(self._names, self.parameters_, strict=True))
        energy = self._formula(values | {self._variable: coordinate})
        return (energy + torch.zeros_like(coordinate)).sum(0)


def read_bonds(force: openmm.HarmonicBondForce) -> Harmonic | None:
    """Read harmonic bonds."""
    count, rows = force.getNumBonds(), map(force.getBondParameters, range(force.getNumBonds()))
    return Harmonic("distance", [_numbers(row) for row in rows]) if count else None


def read_angles(force: openmm.HarmonicAngleForce) -> Harmonic | None:
    """Read harmonic angles."""
    count, rows = force.getNumAngles(), map(force.getAngleParameters, range(force.getNumAngles()))
    return Harmonic("angle", [_numbers(row) for row in rows]) if count else None


def read_torsions(force: openmm.PeriodicTorsionForce) -> PeriodicTorsions | None:
    """Read periodic torsions; those without height may be of atoms on a line."""
    rows = [_numbers(force.getTorsionParameters(k)) for k in range(force.getNumTorsions())]
    rows = [row for row in rows if row[-1]]
    return PeriodicTorsions(rows) if rows else None


def read_rb_torsions(force: openmm.RBTorsionForce) -> RyckaertBellemans | None:
    """Read Ryckaert-Bellemans torsions; those without height may be of atoms on a line."""
    rows = [_numbers(force.getTorsionParameters(k)) for k in range(force.getNumTorsions())]
    rows = [row for row in rows if any(row[4:])]
    return RyckaertBellemans(rows) if rows else None


def read_maps(force: openmm.CMAPTorsionForce) -> TorsionMaps | None:
    """Read torsion maps, whose first torsion counts fastest."""
    maps = []
    for k in range(force.getNumMaps()):
        size, energy = force.getMapParameters(k)
        maps.append(np.array(_numbers(energy)).reshape(size, size).T)
    rows = [force.getTorsionParameters(k) for k in range(force.getNumTorsions())]
    return TorsionMaps(maps, rows) if rows else None


def read_custom_bonds(force: openmm.CustomBondForce) -> CustomBonded | None:
    """Read bonds by an expression."""
    names = [*map(force.getPerBondParameterName, range(force.getNumPerBondParameters()))]
    rows = [force.getBondParameters(k) for k in range(force.getNumBonds())]
    return CustomBonded("distance", "r", force, rows, names) if rows else None


def read_custom_angles(force: openmm.CustomAngleForce) -> CustomBonded | None:
    """Read angles by an expression."""
    names = [*map(force.getPerAngleParameterName, range(force.getNumPerAngleParameters()))]
    rows = [force.getAngleParameters(k) for k in range(force.getNumAngles())]
    return CustomBonded("angle", "theta", force, rows, names) if rows else None


def read_custom_torsions(force: openmm.CustomTorsionForce) -> CustomBonded | None:
    """Read torsions by an expression."""
    names = [*map(force.getPerTorsionParameterName, range(force.getNumPerTorsionParameters()))]
    rows = [force.getTorsionParameters(k) for k in range(force.getNumTorsions())]
    return CustomBonded("torsion", "theta", force, rows, names) if rows else None


def _numbers(row) -> list:
    """Strip units, which are OpenMM's own."""
    return [getattr(value, "_value", value) for value in getattr(row, "_value", row)]


def _column(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def _bicubic(energy: np.ndarray) -> np.ndarray:
    """Fit periodic cubic splines along both axes of a map (n, n).

    Returns:
        Coefficients (n n, 4, 4) of powers of the distances, in spacings, from each grid point.
    """
    n = len(energy)
    ahead = np.roll(np.eye(n), 1, axis=1)
    # slopes d of a cubic spline: d[i-1] + 4 d[i] + d[i+1] = 3 (f[i+1] - f[i-1])
    slope = np.linalg.solve(ahead.T + 4.0 * np.eye(n) + ahead, 3.0 * (ahead - ahead.T))
    # powers from values and slopes at both ends, by Hermite
    ends = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [-3, 3, -2, -1], [2, -2, 1, 1]], dtype=float)
    along = np.einsum("pe,eik->ipk", ends, np.stack([np.eye(n), ahead, slope, ahead @ slope]))
    return np.einsum("ipk,jql,kl->ijpq", along, along, energy).reshape(n * n, 4, 4)
