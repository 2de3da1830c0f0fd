"""The bonded terms of a force field: rest values and force constants of bonds and angles.

They describe a molecule before any simulation; `coordinates.force_field_chart` makes a base
density of them.
"""

from collections import defaultdict
from dataclasses import dataclass

import openmm

from onestep_md.targets.molecule import Molecule

_STIFF_BARRIER = 30.0  # kJ/mol, sum over the torsion terms of a bond; above it does not rotate


@dataclass(frozen=True)
class BondedTerms:
    """Equilibrium values and reduced force constants.

    Attributes:
        bonds: {i, j} -> (length in nm, k in kT/nm^2).
        angles: the middle atom and {i, j} -> (angle in rad, k in kT/rad^2).
        stiff: bonds {i, j} about which a torsion does not rotate.
    """

    bonds: dict[frozenset[int], tuple[float, float]]
    angles: dict[tuple[int, frozenset[int]], tuple[float, float]]
    stiff: frozenset[frozenset[int]]


def read_bonded_terms(molecule: Molecule) -> BondedTerms:
    """Read the terms of a System; force fields with other functional forms give empty tables."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    bonds, angles = {}, {}
    barriers: defaultdict[frozenset[int], float] = defaultdict(float)
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, length, stiffness = force.getBondParameters(k)
                bonds[frozenset((i, j))] = _reduce(length, stiffness, molecule)
        elif isinstance(force, openmm.HarmonicAngleForce):
            for k in range(force.getNumAngles()):
                i, middle, j, angle, stiffness = force.getAngleParameters(k)
                angles[middle, frozenset((i, j))] = _reduce(angle, stiffness, molecule)
        elif isinstance(force, openmm.PeriodicTorsionForce):
            for k in range(force.getNumTorsions()):
                _, i, j, _, _, _, height = force.getTorsionParameters(k)
                barriers[frozenset((i, j))] += abs(height._value)
    stiff = frozenset(bond for bond, height in barriers.items() if height > _STIFF_BARRIER)
    return BondedTerms(bonds, angles, stiff)


def _reduce(rest, stiffness, molecule: Molecule) -> tuple[float, float]:
    # OpenMM's own units are nm, rad and kJ/mol
    return rest._value, stiffness._value / molecule.kT
