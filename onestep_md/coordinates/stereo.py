"""Stereocentres: atoms with four different neighbours, and which hand they are of."""

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
    found = []
    for i in sorted(graph):
        neighbours = sorted(graph[i])
        if len({kind[j] for j in neighbours}) == len(neighbours) == 4:
            a, b, c = neighbours[:3]
            if np.linalg.det(x[[a, b, c]] - x[i]) < 0:
                a, b = b, a
            found.append((i, a, b, c))
    return found
