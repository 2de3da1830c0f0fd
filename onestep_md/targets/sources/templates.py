"""Bonds of residues that a PDB lists without, from the templates of the force field."""

import networkx
import numpy as np
from openmm import app

from onestep_md.targets.system_bonds import Pair, could_bond, describe_bonds


def add_template_bonds(
    forcefield: app.ForceField, topology: app.Topology, positions: np.ndarray
) -> list[str]:
    """Complete residues whose atoms are not connected, and list notes on the bonds.

    The template has the name of the residue and the same names of atoms. Its bonds to other
    residues are to the nearest atom that is near enough for one.

    Args:
        forcefield: with the templates.
        topology: gets the bonds.
        positions: (atoms, 3) in nm.
    """
    atoms = list(topology.atoms())
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(atoms)))
    graph.add_edges_from((a.index, b.index) for a, b in topology.bonds())
    added: list[Pair] = []
    for residue in topology.residues():
        index = {atom.name: atom.index for atom in residue.atoms()}
        if networkx.is_connected(graph.subgraph(index.values())):
            continue
        template = forcefield._templates.get(residue.name)
        if template is None or sorted(atom.name for atom in template.atoms) != sorted(index):
            continue
        own = [index[atom.name] for atom in template.atoms]
        pairs = [(own[i], own[j]) for i, j in template.bonds]
        for k in template.externalBonds:
            pairs += _outer_bond(own[k], atoms, positions)
        for i, j in pairs:
            if not graph.has_edge(i, j):
                graph.add_edge(i, j)
                added.append((min(i, j), max(i, j)))
    for i, j in sorted(added):
        topology.addBond(atoms[i], atoms[j])
    what = "bonds of the force field's templates that the PDB does not list"
    return describe_bonds(what, sorted(added), atoms)


def _outer_bond(i: int, atoms: list[app.topology.Atom], positions: np.ndarray) -> list[Pair]:
    """Find the bond of an atom to the nearest atom of another residue; none if all are far."""
    others = [atom.index for atom in atoms if atom.residue is not atoms[i].residue]
    if not others:
        return []
    distances = np.linalg.norm(positions[others] - positions[i], axis=1)
    j = others[int(distances.argmin())]
    return [(i, j)] if could_bond(atoms[i], atoms[j], float(distances.min())) else []
