"""Stereocentres and their chirality, and equivalent atoms."""

from collections.abc import Sequence

import networkx as nx
import numpy as np

_PYRAMIDAL = {"S", "P", "As", "Se"}  # with three neighbours; pyramids of N and O invert


def find_stereocentres(
    elements: Sequence[str], bonds: Sequence[tuple[int, int]], x: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Find stereocentres, each with three neighbours in the order of positive volume in x.

    They are atoms with four different neighbours, atoms of rings that make the ring's
    substituents cis or trans, and pyramids of S, P, As and Se. Two neighbours are different if the
    elements around them are, however far away. Some of these centres have equal arms and are none
    to a chemist: their inversion leads to the same molecule with its atoms exchanged. Dynamics may
    reach that or not, and log Z is that of one of the two.

    Args:
        elements: chemical symbols of the n atoms.
        bonds: pairs of atoms.
        x: (n, 3) geometry with the wanted chirality.

    Returns:
        (centre, a, b, c) of each.
    """
    graph = nx.Graph(bonds)
    kind = rank_atoms(elements, graph)
    centres, in_rings = [], []
    rings = nx.cycle_basis(graph)
    for i in graph:
        arms, kinds = graph.degree[i], {kind[j] for j in graph[i]}
        ring_arms = [kind[j] for j in graph[i] if any({i, j} <= set(ring) for ring in rings)]
        if len(kinds) == arms == 4 or _is_pyramid(i, elements, graph, x):
            centres.append(i)
        # the two ways around a ring may be alike, and cis and trans still differ
        elif arms == 4 and len(kinds) == 3 and len(ring_arms) == 2 and len(set(ring_arms)) == 1:
            in_rings.append(i)
    if len(centres) + len(in_rings) > 1:
        centres += in_rings
    return _order_arms(centres, graph, x)


def rank_atoms(elements: Sequence[str], graph: nx.Graph) -> dict[int, str]:
    """Name atoms, equal names for the same elements around them at every distance."""
    kind = dict(enumerate(elements))
    for _ in elements:  # refined until it cannot change any more
        around = {i: (kind[i], sorted(kind[j] for j in graph[i])) for i in graph}
        names = {repr(seen): repr(k) for k, seen in enumerate(sorted(around.values()))}
        kind = {i: names[repr(seen)] for i, seen in around.items()}
    return kind


def _is_pyramid(i: int, elements: Sequence[str], graph: nx.Graph, x: np.ndarray) -> bool:
    """Whether the atom and its three neighbours are a pyramid that does not invert."""
    if elements[i] not in _PYRAMIDAL or graph.degree[i] != 3:
        return False
    return abs(pyramid_volume(i, graph, x)) > 0.1


def pyramid_volume(i: int, graph: nx.Graph, x: np.ndarray) -> float:
    """Determinant of the unit vectors from an atom to its three neighbours; x is (n, 3)."""
    arms = x[sorted(graph[i])] - x[i]
    return float(np.linalg.det(arms / np.linalg.norm(arms, axis=1, keepdims=True)))


def find_equivalent_atoms(
    elements: Sequence[str], bonds: Sequence[tuple[int, int]]
) -> list[tuple[int, ...]]:
    """Group equivalent atoms: one element, bonded to the same atom and to no other."""
    graph = nx.Graph(bonds)
    groups: dict[tuple[int, str], list[int]] = {}
    for i in sorted(graph):
        if graph.degree[i] == 1:
            (parent,) = graph[i]
            groups.setdefault((parent, elements[i]), []).append(i)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def find_tetrahedral_centres(
    elements: Sequence[str], bonds: Sequence[tuple[int, int]], x: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Find all atoms with four neighbours of which no two are equivalent atoms.

    Prochiral centres are among them, such as the CB of valine: atom numbers tell its two equal
    arms apart, and dynamics does not exchange these. The result is like `find_stereocentres`.
    """
    graph, alike = (
        nx.Graph(bonds),
        {i for group in find_equivalent_atoms(elements, bonds) for i in group},
    )
    return _order_arms(
        [i for i in graph if graph.degree[i] == 4 and not alike & set(graph[i])], graph, x
    )


def _order_arms(
    centres: Sequence[int], graph: nx.Graph, x: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Give every centre three of its neighbours in the order of positive volume in x."""
    ordered = []
    for i in sorted(centres):
        a, b, c = sorted(graph[i])[:3]
        if np.linalg.det(x[[a, b, c]] - x[i]) < 0:
            a, b = b, a
        ordered.append((i, a, b, c))
    return ordered
