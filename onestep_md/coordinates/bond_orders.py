"""Bond orders and formal charges of a molecule with all its hydrogens, by valence alone.

Each atom has a valence to fill. What its single bonds leave open is filled by double and triple
bonds, as many as there can be: a matching of the open valences along bonds, of the largest weight.
Nitrogen may give its lone pair to a further bond, at a lower weight, and is then positive; what
stays open is a negative charge. Aromatic bonds come out as one of their Kekule structures.
"""

from collections.abc import Sequence

import networkx as nx

_VALENCES = {"H": 1, "B": 3, "C": 4, "N": 3, "O": 2, "Si": 4, "P": 3, "S": 2, "Se": 2}
_EXPANDED = {("S", 3): 4, ("S", 4): 6, ("P", 4): 5}  # with oxygen or sulfur at an end
_SHARED, _LONE_PAIR, _LONE_PAIR_TO_END = 10, 4, 3  # weights of a further bond


def find_bond_orders(
    elements: Sequence[str], bonds: Sequence[tuple[int, int]]
) -> tuple[dict[tuple[int, int], int], tuple[int, ...]]:
    """Find the orders of bonds and the formal charges of atoms (n,).

    Metals and other elements without a usual valence have single bonds and no charge.
    """
    graph = nx.Graph(bonds)
    graph.add_nodes_from(range(len(elements)))
    unfilled, charges = {}, [0] * len(elements)
    for i in graph:
        unfilled[i] = _valence(i, elements, graph) - graph.degree[i]
        if unfilled[i] < 0:  # ammonium, oxonium, sulfonium; borate
            charges[i], unfilled[i] = (-1 if elements[i] == "B" else 1), 0
    orders = dict.fromkeys(bonds, 1)
    for i, j, lone_pair in _match(elements, graph, unfilled):
        orders[(i, j) if (i, j) in orders else (j, i)] += 1
        unfilled[j] -= 1
        if lone_pair:
            charges[i] += 1
        else:
            unfilled[i] -= 1
    for i in graph:
        charges[i] -= unfilled[i]
    return orders, tuple(charges)


def _valence(i: int, elements: Sequence[str], graph: nx.Graph) -> int:
    element, degree = elements[i], graph.degree[i]
    ends = any(elements[k] in "OS" and graph.degree[k] == 1 for k in graph[i])
    if ends and (element, degree) in _EXPANDED:
        return _EXPANDED[element, degree]
    # halogens have one bond at an end; of the others nothing is known
    return _VALENCES.get(element, degree)


def _match(
    elements: Sequence[str], graph: nx.Graph, unfilled: dict[int, int]
) -> list[tuple[int, int, bool]]:
    """Match open valences: bonds (i, j) that gain one, and whether i gives a lone pair to it."""
    between = nx.Graph()
    for i, j in graph.edges:
        for a in range(unfilled[i]):
            for b in range(unfilled[j]):
                between.add_edge((i, a), (j, b), weight=_SHARED)
        for giver, taker in ((i, j), (j, i)):
            if elements[giver] == "N" and graph.degree[giver] < 4:
                end = graph.degree[taker] == 1
                weight = _LONE_PAIR_TO_END if end else _LONE_PAIR
                for b in range(unfilled[taker]):
                    between.add_edge((giver, "lone pair"), (taker, b), weight=weight)
    found = []
    for one, other in nx.max_weight_matching(between):
        first, second = (other, one) if other[1] == "lone pair" else (one, other)
        found.append((first[0], second[0], first[1] == "lone pair"))
    return found
