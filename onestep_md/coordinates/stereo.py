"""Stereocentres: atoms with four different neighbours, which hand they are of; and twins."""

from collections.abc import Sequence

import networkx as nx
import numpy as np


def stereocentres(
    elements: Sequence[str], bonds: Sequence[tuple[int, int]], x: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Centre and three neighbours of each, counted so that their volume is positive in x.

    Neighbours are different where the elements around them, as far as the molecule goes, are.

    Args:
        elements: chemical symbols of the n atoms.
        bonds: pairs of atoms.
        x: (n, 3) geometry that has the wanted hands.
    """
    graph = nx.Graph(bonds)
    kind = dict(enumerate(elements))
    for _ in elements:  # refined until it cannot change any more
        around = {i: (kind[i], sorted(kind[j] for j in graph[i])) for i in graph}
        names = {repr(seen): repr(k) for k, seen in enumerate(sorted(around.values()))}
        kind = {i: names[repr(seen)] for i, seen in around.items()}
    return _counted(
        [i for i in graph if len({kind[j] for j in graph[i]}) == graph.degree[i] == 4], graph, x
    )


def twins(elements: Sequence[str], bonds: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Groups of atoms of one element that are bonded to the same atom and to no other."""
    graph = nx.Graph(bonds)
    groups = {}
    for i in sorted(graph):
        if graph.degree[i] == 1:
            (parent,) = graph[i]
            groups.setdefault((parent, elements[i]), []).append(i)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def hands(
    elements: Sequence[str], bonds: Sequence[tuple[int, int]], x: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Like `stereocentres`, of all atoms with four neighbours of which no two are twins.

    Also where two neighbours are alike, as at the CB of valine: their numbers tell them apart, and
    dynamics does not exchange them.
    """
    graph, alike = nx.Graph(bonds), {i for group in twins(elements, bonds) for i in group}
    return _counted(
        [i for i in graph if graph.degree[i] == 4 and not alike & set(graph[i])], graph, x
    )


def _counted(
    centres: Sequence[int], graph: nx.Graph, x: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Every centre and three of its neighbours, so that their volume is positive in x."""
    found = []
    for i in sorted(centres):
        a, b, c, _ = sorted(graph[i])
        if np.linalg.det(x[[a, b, c]] - x[i]) < 0:
            a, b = b, a
        found.append((i, a, b, c))
    return found
