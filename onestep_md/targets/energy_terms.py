"""The energy of the input geometry by terms of the force field, and what the molecule is made of.

Whoever has the same molecule in another program compares them term by term. Each force of the
System is evaluated alone, on the Reference platform in double precision.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import openmm

from onestep_md.targets.molecule import Molecule
from onestep_md.targets.reference_energy import ReferenceEnergy

_NAMES = {
    "HarmonicAngleForce": "angles",
    "PeriodicTorsionForce": "torsions",
    "RBTorsionForce": "torsions",
    "CustomTorsionForce": "torsions, custom",
    "CMAPTorsionForce": "CMAP",
    "GBSAOBCForce": "generalised Born",
    "CustomGBForce": "generalised Born",
    "CustomNonbondedForce": "pairs, custom",
}
_ORDER = (
    "bonds", "Urey-Bradley", "angles", "torsions", "torsions, custom", "CMAP", "Lennard-Jones",
    "pairs, custom", "Coulomb", "generalised Born",
)  # fmt: skip


def split_energy(molecule: Molecule) -> dict[str, float]:
    """Evaluate every term at the input geometry; their sum is the energy.

    Returns:
        Energies in kT by the names of the terms, without those that are zero.
    """
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    terms: dict[str, float] = {}
    for force in system.getForces():
        for name, energy in _parts(force, molecule):
            terms[name] = terms.get(name, 0.0) + energy / molecule.kT
    names = sorted(terms, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    return {name: terms[name] for name in names if terms[name]}


def net_charge(molecule: Molecule) -> float | None:
    """Return the sum of the charges in e; None for a System without point charges."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            count = force.getNumParticles()
            charges = [force.getParticleParameters(i)[0]._value for i in range(count)]
            return float(sum(charges))
    return None


def hill_formula(elements: Sequence[str]) -> str:
    """Return the sum formula: carbon, hydrogen, then by the alphabet; without carbon by it alone.

    >>> hill_formula(["O", "C", "H", "H"])
    'CH2O'
    """
    counts = Counter(elements)
    first = [symbol for symbol in ("C", "H") if symbol in counts and "C" in counts]
    symbols = first + sorted(counts.keys() - set(first))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in symbols)


def _parts(force: openmm.Force, molecule: Molecule) -> Iterator[tuple[str, float]]:
    """Yield names and energies in kJ/mol of the parts of one force."""
    whole = _energy(force, molecule)
    name = type(force).__name__
    if isinstance(force, openmm.HarmonicBondForce):
        bonded = _energy(_without_other_pairs(force, set(molecule.bonds)), molecule)
        yield "bonds", bonded
        if bonded != whole:
            yield "Urey-Bradley", whole - bonded
    elif isinstance(force, openmm.NonbondedForce) and not force.getNumParticleParameterOffsets():
        dispersion = _energy(_without_charges(force), molecule)
        yield "Lennard-Jones", dispersion
        yield "Coulomb", whole - dispersion
    else:
        yield _NAMES.get(name, name), whole


def _without_other_pairs(
    force: openmm.HarmonicBondForce, bonds: set[tuple[int, int]]
) -> openmm.HarmonicBondForce:
    """Copy a force without the pairs that no bond connects."""
    copy = openmm.XmlSerializer.clone(force)
    for k in range(copy.getNumBonds()):
        i, j, length, stiffness = copy.getBondParameters(k)
        if (min(i, j), max(i, j)) not in bonds:
            copy.setBondParameters(k, i, j, length, 0.0 * stiffness)
    return copy


def _without_charges(force: openmm.NonbondedForce) -> openmm.NonbondedForce:
    copy = openmm.XmlSerializer.clone(force)
    for i in range(copy.getNumParticles()):
        copy.setParticleParameters(i, 0.0, *copy.getParticleParameters(i)[1:])
    for k in range(copy.getNumExceptions()):
        i, j, _, sigma, epsilon = copy.getExceptionParameters(k)
        copy.setExceptionParameters(k, i, j, 0.0, sigma, epsilon)
    return copy


def _energy(force: openmm.Force, molecule: Molecule) -> float:
    """Evaluate one force alone at the input geometry, in kJ/mol."""
    system = openmm.System()
    for _ in molecule.elements:
        system.addParticle(1.0)
    system.addForce(openmm.XmlSerializer.clone(force))
    return ReferenceEnergy(system).evaluate(molecule.positions)
