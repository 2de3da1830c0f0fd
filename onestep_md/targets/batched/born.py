r"""Generalised Born energies in kJ/mol, by the expressions of a CustomGBForce.

All of OpenMM's models are: HCT, OBC, GBn and GBn2 as they stand in the force, and GBSAOBCForce by
the expressions of OBC2. A value of an atom is a sum over pairs, or a function of values of the
atom itself; an energy is a sum over atoms or over pairs of functions of these values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from onestep_md.targets.batched.pairs import COULOMB, pair_names

_OFFSET = 0.009  # nm, of OBC
# of an atom within another one, OpenMM's own force adds what its expressions leave out
_OBC_INTEGRAL = (
    "select(step(r+sr2-or1), 0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/U^2-1/L^2)+0.5*log(L/U)/r"
    "+2*step(sr2-r-or1)*(1/or1-1/L)), 0); U=r+sr2; L=max(or1, abs(r-sr2))"
)
_OBC_RADIUS = "1/(1/or-tanh(psi-0.8*psi^2+4.85*psi^3)/(or+offset)); psi=I*or"
_OBC_SURFACE = "surface*(or+offset+0.14)^2*((or+offset)/B)^6"


@dataclass(frozen=True)
class BornModel:
    """Expressions and parameters of a model.

    Attributes:
        names: of the parameters of an atom.
        parameters: rows of them.
        constants: values by name.
        tables: discrete functions by name.
        values: (name, expression, whether a sum over pairs) in their order.
        energies: (expression, whether a sum over pairs).
    """

    names: list[str]
    parameters: Sequence[Sequence[float]]
    constants: Mapping[str, float]
    tables: Mapping[str, Tensor]
    values: Sequence[tuple[str, str, bool]]
    energies: Sequence[tuple[str, bool]]


class GeneralisedBorn(nn.Module):
    """Values of all atoms, and the energies of atoms and pairs that depend on them."""

    first: Tensor
    second: Tensor
    single: Tensor
    pair: Tensor
    directed: Tensor

    def __init__(self, model: BornModel):
        super().__init__()
        self._names, self._pair_names = model.names, pair_names(model.names)
        single = stack_parameters(model.parameters, len(model.names))
        i, j = all_pairs(len(model.parameters))
        pair = torch.cat([single[:, i], single[:, j]])
        reverse = torch.cat([single[:, j], single[:, i]])
        self.register_buffer("first", i)
        self.register_buffer("second", j)
        self.register_buffer("single", single)
        self.register_buffer("pair", pair)
        self.register_buffer("directed", torch.cat([pair, reverse], dim=1))
        self._values, self._energies = nn.ModuleDict(), nn.ModuleList()
        self._pairwise = {name: pairwise for name, _, pairwise in model.values}
        for name, text, pairwise in model.values:
            self._values[name] = self._formula(model, text, pairwise, list(self._values))
        self._pairs_of_energies = [pairwise for _, pairwise in model.energies]
        for text, pairwise in model.energies:
            self._energies.append(self._formula(model, text, pairwise, list(self._values)))

    def _formula(self, model: BornModel, text: str, pairwise: bool, values: list[str]) -> Formula:
        names = [*model.names, *values]
        names = ["r", *pair_names(names)] if pairwise else names
        return Formula(text, model.constants, model.tables, names)

    def forward(self, geometry: Geometry) -> Tensor:
        """Energies (batch,)."""
        r = geometry.pair_distances
        atoms = dict(zip(self._names, self.single, strict=True))
        for name, formula in self._values.items():
            shape = (len(geometry.positions), r.shape[1])
            if self._pairwise[name]:
                atoms[name] = self._sum_over_pairs(formula, r, shape)
            else:
                atoms[name] = torch.as_tensor(formula(atoms)).expand(shape)
        pairs = dict(zip(self._pair_names, self.pair, strict=True)) | {"r": r}
        for name in self._values:
            pairs[f"{name}1"] = atoms[name].index_select(0, self.first)
            pairs[f"{name}2"] = atoms[name].index_select(0, self.second)
        energy = geometry.zero
        for formula, pairwise in zip(self._energies, self._pairs_of_energies, strict=True):
            values, length = (pairs, len(r)) if pairwise else (atoms, len(geometry.positions))
            energy = energy + torch.as_tensor(formula(values)).expand(length, r.shape[1]).sum(0)
        return energy

    def _sum_over_pairs(self, formula: nn.Module, r: Tensor, shape: tuple[int, int]) -> Tensor:
        """Sum over the partners of every atom, (atoms, batch)."""
        directed = dict(zip(self._pair_names, self.directed, strict=True))
        terms = formula(directed | {"r": torch.cat([r, r])})
        terms = torch.as_tensor(terms).expand(2 * len(r), shape[1])
        ends = torch.cat([self.first, self.second])
        return r.new_zeros(shape).index_add(0, ends, terms)


def read_custom_born(force: openmm.CustomGBForce) -> GeneralisedBorn:
    """Read a model by its expressions."""
    count = force.getNumPerParticleParameters()
    values = [force.getComputedValueParameters(k) for k in range(force.getNumComputedValues())]
    energies = [force.getEnergyTermParameters(k) for k in range(force.getNumEnergyTerms())]
    kinds = {kind for *_, kind in (*values, *energies)}
    if force.getNumExclusions() and force.ParticlePair in kinds:
        raise TargetError("exclusions are not known")
    model = BornModel(
        names=[*map(force.getPerParticleParameterName, range(count))],
        parameters=[force.getParticleParameters(k) for k in range(force.getNumParticles())],
        constants=read_constants(force),
        tables=read_tables(force),
        values=[(name, text, kind != force.SingleParticle) for name, text, kind in values],
        energies=[(text, kind != force.SingleParticle) for text, kind in energies],
    )
    return GeneralisedBorn(model)


def read_obc2(force: openmm.GBSAOBCForce) -> GeneralisedBorn:
    """Read OpenMM's own force of OBC2, by the same expressions."""
    rows = []
    for k in range(force.getNumParticles()):
        charge, radius, scale = force.getParticleParameters(k)
        radius = radius._value - _OFFSET
        rows.append((charge._value, radius, scale * radius))
    factor = COULOMB * (1.0 / force.getSoluteDielectric() - 1.0 / force.getSolventDielectric())
    surface = 4.0 * torch.pi * force.getSurfaceAreaEnergy()._value
    model = BornModel(
        names=["q", "or", "sr"],
        parameters=rows,
        constants={"factor": factor, "offset": _OFFSET, "surface": surface},
        tables={},
        values=[("I", _OBC_INTEGRAL, True), ("B", _OBC_RADIUS, False)],
        energies=[
            ("-0.5*factor*q^2/B", False),
            (_OBC_SURFACE, False),
            ("-factor*q1*q2/sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))", True),
        ],
    )
    return GeneralisedBorn(model)
