"""Symmetries of a molecule: exchanges of like atoms that leave its bonds and its isomer alone.

The energy does not change when like atoms are exchanged, so that conformations which such an
exchange maps onto each other are one to a chemist: the two ends of hexane are alike, and the
eighteen atoms of a crown ether can be numbered in twelve ways. A symmetry maps every torsion onto
another one, or onto itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import networkx as nx
import numpy as np
import torch
from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

from onestep_md.coordinates.domain import Domain, Quad
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.coordinates.stereo import find_tetrahedral_centres, rank_atoms
from onestep_md.targets.molecule import Molecule

_MOST = 5000  # automorphisms that are looked at


@dataclass(frozen=True)
class Images:
    """What symmetries make of t torsions.

    Attributes:
        quads: all different torsions that they become, they themselves first.
        columns: (symmetries, t) places among `quads` of what every torsion becomes; in the first
            row the torsions stay where they are.
        complete: whether these are all symmetries; some molecules have too many.
    """

    quads: tuple[Quad, ...]
    columns: np.ndarray
    complete: bool = True

    @property
    def count(self) -> int | None:
        """Number of symmetries that torsions tell apart; None if there are too many."""
        return len(self.columns) if self.complete else None


def find_images(molecule: Molecule, quads: Sequence[Quad], alike: Sequence[int]) -> Images:
    """Find what the symmetries of a molecule make of its torsions.

    Args:
        molecule: the molecule.
        quads: torsions.
        alike: their local symmetries, see `rotors.torsion_symmetries`; of a torsion that has one,
            it does not matter which of the like atoms at its ends are meant.
    """
    kinds = rank_atoms(molecule.elements, nx.Graph(molecule.bonds))
    permutations = _find_permutations(molecule, kinds)

    def key(quad: Quad, symmetry: int) -> tuple:
        a, i, j, d = quad
        ends = (kinds[a], kinds[d]) if symmetry > 1 else (a, d)
        # in one of its two directions, which have the same angle
        return min((i, j, *ends), (j, i, *ends[::-1]))

    places = {key(*entry): k for k, entry in enumerate(zip(quads, alike, strict=True))}
    images, rows = list(quads), {tuple(range(len(quads))): None}
    for permutation in [] if permutations is None else permutations.tolist():
        row = []
        for quad, symmetry in zip(quads, alike, strict=True):
            a, i, j, d = (permutation[k] for k in quad)
            place = places.setdefault(key((a, i, j, d), symmetry), len(images))
            if place == len(images):
                images.append((a, i, j, d))
            row.append(place)
        rows[tuple(row)] = None
    return Images(tuple(images), np.array(list(rows), dtype=int), permutations is not None)


def _find_permutations(molecule: Molecule, kinds: Mapping[int, str]) -> np.ndarray | None:
    """Find the permutations (n, atoms) of atoms that are symmetries; None if there are too many.

    Atoms at an end are no part of the search: they follow the atom that they are bonded to. Of two
    hydrogens it does not matter which becomes which, as CH2 turned inside out is the same group.
    """
    graph, n = nx.Graph(molecule.bonds), len(molecule.elements)
    nx.set_node_attributes(graph, kinds, "kind")
    core = graph.subgraph([i for i in graph if graph.degree[i] > 1])
    ends = {
        i: sorted((k for k in graph[i] if k not in core), key=lambda k: (kinds[k], k))
        for i in core
    }
    matcher = GraphMatcher(core, core, categorical_node_match("kind", None))
    found = list(islice(matcher.isomorphisms_iter(), _MOST + 1)) if len(core) else []
    if len(found) > _MOST:
        return None
    permutations = np.tile(np.arange(n), (len(found), 1))
    for permutation, mapping in zip(permutations, found, strict=True):
        for i, image in mapping.items():
            permutation[i] = image
            permutation[ends[i]] = ends[image]
    inside = _build_domain(molecule).contains(torch.from_numpy(molecule.positions[permutations]))
    return permutations[inside.numpy()]


def _build_domain(molecule: Molecule) -> Domain:
    """Build the domain whose centres are all atoms that no conformation turns inside out."""
    isomers = find_molecule_isomers(molecule)
    centres = find_tetrahedral_centres(molecule.elements, molecule.bonds, molecule.positions)
    return Domain([*isomers.centres, *centres], isomers.held_bonds, isomers.cis, ())
