"""A molecule as the topology of another program describes it, before it has coordinates."""

from dataclasses import dataclass
from pathlib import Path

import networkx
import openmm
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.checks import WATER, check_particles, label

_SAME_MASS = 0.015  # Da; tables of force fields differ by less


@dataclass(frozen=True)
class Parameters:
    """Energies, atoms and bonds of one molecule.

    Attributes:
        system: forces and masses.
        topology: atoms, residues and bonds in the same order.
        path: the file that messages name.
        names: of the files, for printing.
        notes: what was chosen, one sentence each.
    """

    system: openmm.System
    topology: app.Topology
    path: Path
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_parameters(parameters: Parameters, strip: str) -> None:
    """Refuse boxes, solvent, virtual sites and several molecules; complete the elements.

    Args:
        parameters: of a topology file.
        strip: how to remove other molecules with the program that the file is of.
    """
    topology, path = parameters.topology, parameters.path
    atoms = list(topology.atoms())
    if topology.getPeriodicBoxVectors() is not None:
        raise TargetError(
            f"{path} describes a periodic box. Boxes are refused: the density must be that of one "
            f"molecule in free space. Write it without box and solvent, {strip}."
        )
    residues = list(topology.residues())
    if any(residue.name in WATER for residue in residues) and len(residues) > 1:
        raise TargetError(
            f"{path} contains water. Explicit solvent is refused: the density must be that of one "
            f"molecule. Remove water and ions, {strip}, and name an implicit one as "
            "target.solvent."
        )
    check_particles(parameters.system, topology)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(atoms)))
    graph.add_edges_from((a.index, b.index) for a, b in topology.bonds())
    parts = sorted(networkx.connected_components(graph), key=min)
    if len(parts) > 1:
        names = ", ".join(label(atoms[min(part)]) for part in parts[:4])
        raise TargetError(
            f"{path} holds {len(parts)} molecules that no bond connects (they start at {names}). "
            f"Only one molecule can be sampled: remove the others, {strip}."
        )
    _set_elements(parameters.system, atoms, path)


def _set_elements(system: openmm.System, atoms: list, path: Path) -> None:
    """Set elements by mass, where all masses are those of elements: names may mislead."""
    masses = [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(atoms))]
    elements = [app.Element.getByMass(mass) for mass in masses]
    pairs = list(zip(elements, masses, strict=True))
    if all(e and abs(e.mass.value_in_unit(unit.dalton) - m) < _SAME_MASS for e, m in pairs):
        for atom, element in zip(atoms, elements, strict=True):
            atom.element = element
    for atom in atoms:
        if atom.element is None:
            raise TargetError(
                f"{path}: no chemical element for {label(atom)}, of {masses[atom.index]:g} Da. "
                "Give its atom type an atomic number, or the mass of its element."
            )
