"""Torsions that tell the conformers of a molecule apart, and their local symmetry.

Turning a methyl group by a third of a circle, or a phenyl ring by half of one, exchanges atoms
that are alike and leads to the same conformer. A torsion t of n-fold symmetry is therefore looked
at through n t.
"""

import math
from collections.abc import Sequence

import networkx as nx
import numpy as np

from onestep_md.coordinates.domain import Quad
from onestep_md.coordinates.isomers import measure_pyramid
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.coordinates.stereo import rank_atoms
from onestep_md.targets.molecule import Molecule


def find_rotatable_torsions(molecule: Molecule) -> tuple[Quad, ...]:
    """Find one torsion about each bond that turns, and those of rings that change their shape.

    Turns of groups of three hydrogens are found only where nothing else turns.
    """
    isomers, graph = find_molecule_isomers(molecule), nx.Graph(molecule.bonds)
    quads: list[Quad] = []
    seen: list[set[int]] = []
    for ring in isomers.rings:
        for k in range(len(ring)):
            a, i, j, d, *_ = ring[k:] + ring[:k]
            if {i, j} not in seen:
                seen.append({i, j})
                quads.append((a, i, j, d))
    chain = [quad for quad in isomers.torsions if not _turns_hydrogens(molecule, graph, quad)]
    return (*chain, *quads) or isomers.torsions


def _turns_hydrogens(molecule: Molecule, graph: nx.Graph, quad: Quad) -> bool:
    """Whether an end of a torsion is a methyl group or another one of three hydrogens."""
    a, i, j, d = quad
    return any(
        molecule.elements[end] == "H"
        and sum(molecule.elements[k] == "H" for k in graph[centre]) == 3
        and graph.degree[centre] == 4
        for end, centre in ((a, i), (d, j))
    )


def torsion_symmetries(molecule: Molecule, quads: Sequence[Quad]) -> tuple[int, ...]:
    """Find the local symmetry of torsions: how many turns in a circle exchange like atoms alone.

    It is the least common multiple of those of both ends: 3 for three like neighbours besides
    the torsion's axis, 2 for two of them in one plane with it, otherwise 1. Torsions of rings, and
    those that are not about a bond, have none.
    """
    graph, x = nx.Graph(molecule.bonds), molecule.positions
    kinds, lines = rank_atoms(molecule.elements, graph), find_molecule_isomers(molecule).torsions
    bridges = set(map(frozenset, nx.bridges(graph)))
    symmetries = []
    for quad in quads:
        a, i, j, d = quad
        bonded = frozenset((i, j)) in bridges and a in graph[i] and d in graph[j]
        ends = ((i, j), (j, i)) if bonded or quad in lines else ()
        symmetries.append(math.lcm(*(_end_symmetry(graph, kinds, x, *end) for end in ends)))
    return tuple(symmetries)


def is_in_ring(molecule: Molecule, i: int, j: int) -> bool:
    """Whether the bond of two atoms is part of a ring."""
    return not any({i, j} == set(bond) for bond in nx.bridges(nx.Graph(molecule.bonds)))


def _end_symmetry(
    graph: nx.Graph, kinds: dict[int, str], x: np.ndarray, centre: int, other: int
) -> int:
    """Find the symmetry of the end `centre` of an axis that leads to `other`."""
    (axis,) = nx.shortest_path(graph, centre, other)[1:2]
    arms = [k for k in graph[centre] if k != axis]
    alike = len({kinds[k] for k in arms}) == 1
    if alike and (len(arms) == 3 or (len(arms) == 2 and not measure_pyramid(graph, x, centre))):
        return len(arms)
    return 1
