"""The bonds of a serialized System, which its PDB may lack, and a check that both match.

The density is the System's, so its bonds are the molecule's. A PDB may list none of them (tleap
and acpype write none for a ligand). Those it lists have to be among the System's, and the atoms
have to be the same in the same order. The PDB's own bonds are kept if the System has few or none,
as that of a machine-learned potential.
"""

from pathlib import Path

import networkx
import numpy as np
import openmm
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.checks import label

# covalent radii in nm, doi 10.1039/b801115j; other elements are metals and the like
RADII = {
    "H": 0.031, "D": 0.031, "B": 0.084, "C": 0.076, "N": 0.071, "O": 0.066, "F": 0.057,
    "Si": 0.111, "P": 0.107, "S": 0.105, "Cl": 0.102, "Ge": 0.120, "As": 0.119, "Se": 0.120,
    "Br": 0.120, "Te": 0.138, "I": 0.139,
}  # fmt: skip
_OTHER_RADIUS = 0.15
_BONDED = 1.3  # times the sum of the radii: less than any distance of 1-3 neighbours
_STRETCHED = 1.5  # times its rest length, more than in any plausible input geometry
_SAME_MASS = 0.015  # Da; tables of force fields differ by less, CH2 and N by more
_SAME_TOTAL = 0.5  # Da

Pair = tuple[int, int]


def take_bonds(
    system: openmm.System,
    topology: app.Topology,
    positions: np.ndarray,
    system_path: Path,
    path: Path,
) -> list[str]:
    """Add the System's bonds to the topology of the PDB, and list notes on them.

    Raises:
        TargetError: the System has other atoms than the PDB, or in another order.
    """
    atoms = list(topology.atoms())
    if system.getNumParticles() != len(atoms):
        raise TargetError(
            f"{system_path} has {system.getNumParticles()} particles but {path} has "
            f"{len(atoms)} atoms. Use the PDB that the System was made from; it must "
            "contain every hydrogen, and virtual sites and Drude particles are not supported."
        )
    _check_masses(system, atoms, system_path, path)
    listed = {_pair(a.index, b.index) for a, b in topology.bonds()}
    rest = find_rest_lengths(system, atoms, positions)
    for i, j in sorted(rest.keys() - listed):
        distance = float(np.linalg.norm(positions[i] - positions[j]))
        if distance > _STRETCHED * rest[i, j]:
            raise _mismatch_error(
                f"{system_path} has a bond of {rest[i, j]:.3f} nm between particles {i} and {j}, "
                f"which are {label(atoms[i])} and {label(atoms[j])} in {path}, "
                f"{distance:.3f} nm apart",
                system,
                atoms,
            )
    graph = networkx.Graph(list(rest))
    complete = len(graph) == len(atoms) and networkx.is_connected(graph)
    added = sorted(rest.keys() - listed)
    for i, j in sorted(listed - rest.keys()) if complete else ():
        what = (
            f"{path} has a bond between {label(atoms[i])} and {label(atoms[j])}, which "
            f"{system_path} has not"
        )
        if added:
            raise _mismatch_error(what, system, atoms)
        raise TargetError(
            f"{what}. Delete its CONECT record if it is no chemical bond, or make the System with "
            "this bond."
        )
    for i, j in added:
        topology.addBond(atoms[i], atoms[j])
    return describe_bonds("bonds of the System that the PDB does not list", added, atoms)


def describe_bonds(what: str, pairs: list[Pair], atoms: list[app.topology.Atom]) -> list[str]:
    """Describe some bonds in one note; none where there are none."""
    if not pairs:
        return []
    names = [f"{label(atoms[i])} to {label(atoms[j])}" for i, j in pairs]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what}: {', '.join(names[:3])}{more}"]


def could_bond(a: app.topology.Atom, b: app.topology.Atom, distance: float) -> bool:
    """Whether two atoms at a distance in nm are near enough for a bond."""
    return distance < _BONDED * sum(find_radius(atom.element.symbol) for atom in (a, b))


def find_radius(symbol: str) -> float:
    """Return the covalent radius of an element in nm."""
    return RADII.get(symbol, _OTHER_RADIUS)


def find_rest_lengths(
    system: openmm.System, atoms: list[app.topology.Atom], positions: np.ndarray
) -> dict[Pair, float]:
    """Find bonded pairs and rest lengths in nm, without Urey-Bradley terms and restraints."""
    lengths: dict[Pair, float] = {}
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        lengths[_pair(i, j)] = length.value_in_unit(unit.nanometer)
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, length, _ = force.getBondParameters(k)
                lengths.setdefault(_pair(i, j), length.value_in_unit(unit.nanometer))
        elif isinstance(force, openmm.CustomBondForce):
            # any parameter may be its rest length, so the length in the input stands for it
            for k in range(force.getNumBonds()):
                i, j, _ = force.getBondParameters(k)
                lengths.setdefault(_pair(i, j), float(np.linalg.norm(positions[i] - positions[j])))
    return {
        (i, j): length
        for (i, j), length in lengths.items()
        if could_bond(atoms[i], atoms[j], length)
    }


def _check_masses(
    system: openmm.System, atoms: list[app.topology.Atom], system_path: Path, path: Path
) -> None:
    """Refuse other elements, if all masses of the System are those of elements."""
    masses = _masses(system)
    elements = [app.Element.getByMass(mass) for mass in masses]
    pairs = zip(elements, masses, strict=True)
    if any(e is None or abs(_mass(e) - mass) > _SAME_MASS for e, mass in pairs):
        return  # masses of repartitioned, scaled or united atoms mean nothing
    for atom, element, mass in zip(atoms, elements, masses, strict=True):
        # hydrogen and deuterium are one element
        if element.atomic_number != atom.element.atomic_number:
            raise _mismatch_error(
                f"{label(atom)} is {atom.element.symbol} in {path}, but particle {atom.index} of "
                f"{system_path} has the mass of {element.symbol}, {mass:.3f} Da",
                system,
                atoms,
            )


def _mismatch_error(
    what: str, system: openmm.System, atoms: list[app.topology.Atom]
) -> TargetError:
    """Make the error for reordered atoms or for another molecule."""
    # the total, because hydrogens may be heavier at the cost of their neighbours
    if abs(sum(_masses(system)) - sum(_mass(atom.element) for atom in atoms)) < _SAME_TOTAL:
        return TargetError(
            f"{what}. By their mass they are the same atoms, in another order or with other "
            "bonds. Write the PDB anew with the same atom order as the System, best by "
            "openmm.app.PDBFile.writeFile from the topology that the System was made from, or "
            "make the System from this PDB."
        )
    return TargetError(
        f"{what}. They are of different molecules. Use the PDB that the System was made from, "
        "with the same atom order."
    )


def _masses(system: openmm.System) -> list[float]:
    count = system.getNumParticles()
    return [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(count)]


def _mass(element: app.Element) -> float:
    return element.mass.value_in_unit(unit.dalton)


def _pair(i: int, j: int) -> Pair:
    return (min(i, j), max(i, j))
