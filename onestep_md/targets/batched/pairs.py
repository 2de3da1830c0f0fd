"""Lennard-Jones, Coulomb and custom interactions of all pairs without a cutoff, in kJ/mol."""

import openmm
import torch
from torch import Tensor, nn

from onestep_md.errors import TargetError
from onestep_md.targets.batched.custom import (
    Formula,
    read_constants,
    read_tables,
    stack_parameters,
)
from onestep_md.targets.batched.geometry import Geometry, all_pairs

COULOMB = 138.93545764438198  # kJ nm / mol / e^2, of OpenMM


class LennardJonesAndCoulomb(nn.Module):
    """4 epsilon ((sigma / r)^12 - (sigma / r)^6) + q1 q2 / (4 pi eps0 r)."""

    pairs: Tensor
    squared_sigma: Tensor
    epsilon: Tensor
    charge: Tensor

    def __init__(self, force: openmm.NonbondedForce):
        super().__init__()
        rows = [force.getParticleParameters(k) for k in range(force.getNumParticles())]
        charge, sigma, epsilon = torch.tensor(
            [[value._value for value in row] for row in rows], dtype=torch.float64
        ).T
        i, j = all_pairs(len(rows))
        charge = charge[i] * charge[j]
        sigma, epsilon = (sigma[i] + sigma[j]) / 2, (epsilon[i] * epsilon[j]).sqrt()
        place = {pair: k for k, pair in enumerate(zip(i.tolist(), j.tolist(), strict=True))}
        for k in range(force.getNumExceptions()):
            first, second, *own = force.getExceptionParameters(k)
            at = place[min(first, second), max(first, second)]
            charge[at], sigma[at], epsilon[at] = (value._value for value in own)
        kept = (charge != 0) | (epsilon != 0)
        self.register_buffer("pairs", kept.nonzero()[:, 0])
        self.register_buffer("squared_sigma", sigma[kept, None].square())
        self.register_buffer("epsilon", 4.0 * epsilon[kept, None])
        self.register_buffer("charge", COULOMB * charge[kept, None])

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        inverse = 1.0 / geometry.pair_distances.index_select(0, self.pairs)
        square = self.squared_sigma * (inverse * inverse)
        sixth = square * square * square
        return (self.epsilon * (sixth * sixth - sixth) + self.charge * inverse).sum(0)


class CustomPairs(nn.Module):
    """An expression of the distance of a pair and the parameters of both atoms."""

    pairs: Tensor
    parameters_: Tensor

    def __init__(self, force: openmm.CustomNonbondedForce):
        super().__init__()
        if force.getNumInteractionGroups():
            raise TargetError("interaction groups are not known")
        if getattr(force, "getNumComputedValues", int)():
            raise TargetError("computed values are not known")
        own = [*map(force.getPerParticleParameterName, range(force.getNumPerParticleParameters()))]
        rows = [force.getParticleParameters(k) for k in range(force.getNumParticles())]
        excluded = {tuple(sorted(_exclusion(force, k))) for k in range(force.getNumExclusions())}
        i, j = all_pairs(len(rows))
        ends = zip(i.tolist(), j.tolist(), strict=True)
        kept = [k for k, pair in enumerate(ends) if pair not in excluded]
        self._names = pair_names(own)
        constants, tables = read_constants(force), read_tables(force)
        self._formula = Formula(force.getEnergyFunction(), constants, tables, ["r", *self._names])
        single = stack_parameters(rows, len(own))
        self.register_buffer("pairs", torch.tensor(kept, dtype=torch.long))
        self.register_buffer("parameters_", torch.cat([single[:, i[kept]], single[:, j[kept]]]))

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        r = geometry.pair_distances.index_select(0, self.pairs)
        values = dict(zip(self._names, self.parameters_, strict=True))
        return (self._formula(values | {"r": r}) + torch.zeros_like(r)).sum(0)


def read_pairs(force: openmm.NonbondedForce) -> LennardJonesAndCoulomb:
    """Read Lennard-Jones and Coulomb interactions, all at their own parameters."""
    if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
        raise TargetError("offsets of parameters are not known")
    if not getattr(force, "getIncludeDirectSpace", lambda: True)():
        raise TargetError("it leaves out pairs in direct space, which is not known")
    return LennardJonesAndCoulomb(force)


def pair_names(names: list[str]) -> list[str]:
    """Name values of the first and of the second atom of a pair: q1, ..., q2, ..."""
    return [f"{name}{number}" for number in (1, 2) for name in names]


def _exclusion(force: openmm.CustomNonbondedForce, k: int) -> list[int]:
    return force.getExclusionParticles(k)
