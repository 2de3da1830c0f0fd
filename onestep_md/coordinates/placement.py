"""The rows of a z-matrix: one spanning tree of the bonds, grown atom by atom from its root."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

# Degrees from 0 and 180. The first is a comfortable distance for a vibrating angle, and angles
# nearer to 180 are straight. The second is the least for a reference, if there is another one.
COMFORTABLE, _LEAST = 15.0, 5.0


@dataclass(frozen=True)
class Row:
    """One row of a z-matrix, see `zmatrix.ZMatrix`; -1 where a reference is not defined."""

    atom: int
    bond_to: int = -1
    angle_to: int = -1
    torsion_to: int = -1
    proper: bool = False
    closing: bool = False
    straight: bool = False


class Placement:
    """Grows the rows of one spanning tree from one root."""

    def __init__(
        self,
        graph: nx.Graph,
        root: int,
        elements: Sequence[str],
        positions: np.ndarray,
        lengths: dict[frozenset[int], float],
    ):
        """Choose a spanning tree; `lengths` are those of constrained bonds in nm."""
        self.graph, self.root, self.positions = graph, root, positions
        self.tree, self.parent = _spanning_tree(graph, root, lengths)
        depth = nx.single_source_shortest_path_length(self.tree, root)
        weight = _heavy_descendants(self.parent, depth, elements)
        cut = set().union(*(edge for edge in graph.edges if not self.tree.has_edge(*edge)))
        # heavy atoms first, level by level, rings closed before anything hangs on them, the long
        # branch before the short one
        self.rank = {
            i: (elements[i] == "H", depth[i], i not in cut, -weight[i], i)
            for i in range(len(elements))
        }
        self.rows: list[Row] = []
        self.placed: dict[int, int] = {}  # atom -> row
        self.first_on_axis: dict[tuple[int, int | None], int] = {}
        self.turning: set[frozenset[int]] = set()  # bonds that have their proper torsion

    def unplaced(self) -> list[int]:
        """List the atoms without a row."""
        return [i for i in self.graph if i not in self.placed]

    def build(self) -> bool:
        """Place every atom; False if some cannot be placed."""
        self._place(Row(self.root))
        frontier = set(self.tree[self.root])
        while frontier:
            row = self._next_row(sorted(frontier, key=self.rank.__getitem__))
            if row is None:
                return False
            self._place(row)
            frontier.remove(row.atom)
            frontier.update(j for j in self.tree[row.atom] if j not in self.placed)
        return True

    def _next_row(self, atoms: list[int]) -> Row | None:
        for margin, least in ((COMFORTABLE, _LEAST), (_LEAST, _LEAST), (_LEAST, 0.0)):
            for atom in atoms:
                row = self._find_row(atom, margin, least)
                if row is not None:
                    return row
        return None

    def _place(self, row: Row) -> None:
        self.placed[row.atom] = len(self.rows)
        self.rows.append(row)
        if row.closing:
            for bond, first in (
                ((row.atom, row.bond_to), row.angle_to),
                ((row.bond_to, self.parent.get(row.bond_to)), row.atom),
                ((row.angle_to, self.parent.get(row.angle_to)), row.atom),
            ):
                self.first_on_axis.setdefault(bond, first)
        elif row.angle_to >= 0 and not row.straight:
            self.first_on_axis.setdefault((row.bond_to, row.angle_to), row.atom)
        if row.proper:
            self.turning.add(frozenset((row.bond_to, row.angle_to)))

    def _find_row(self, atom: int, margin: float, least: float) -> Row | None:
        """Choose the references of an atom, if there are any, of angles beyond the margins."""
        bond_to = self.parent[atom]
        if len(self.rows) == 1:
            return Row(atom, bond_to)
        if len(self.rows) > 2 and (row := self._find_closing_row(atom, margin)):
            return row
        around = [i for i in self.graph[bond_to] if i in self.placed]
        around.sort(key=lambda i: (not self.tree.has_edge(bond_to, i), self.placed[i]))
        bent = [i for i in around if is_bent(self.positions, atom, bond_to, i, margin)]
        straight = [i for i in around if _is_straight(self.positions, atom, bond_to, i)]
        if len(self.rows) == 2:
            if bent:
                return Row(atom, bond_to, bent[0])
            # only where no atom of the molecule is bent
            in_line = straight and margin < COMFORTABLE
            return Row(atom, bond_to, straight[0], straight=True) if in_line else None
        for angle_to in bent + straight:
            row = self._find_torsion(atom, bond_to, angle_to, least)
            if row is not None:
                return row if angle_to in bent else replace(row, proper=False, straight=True)
        return None

    def _find_torsion(self, atom: int, bond_to: int, angle_to: int, least: float) -> Row | None:
        first = self.first_on_axis.get((bond_to, angle_to))
        others = self._candidates(angle_to, excluded=(bond_to, angle_to))
        for torsion_to in others if first is None else [first]:
            if is_bent(self.positions, bond_to, angle_to, torsion_to, least):
                proper = first is None and self._turns(atom, bond_to, angle_to, torsion_to)
                return Row(atom, bond_to, angle_to, torsion_to, proper)
        return None

    def _find_closing_row(self, atom: int, margin: float) -> Row | None:
        bond_to = self.parent[atom]
        for other in self.graph[atom]:
            if other == bond_to or other not in self.placed:
                continue
            if not is_bent(self.positions, atom, bond_to, other, margin):
                continue
            for torsion_to in self._candidates(bond_to, excluded=(bond_to, other)):
                if is_bent(self.positions, bond_to, other, torsion_to, _LEAST):
                    return Row(atom, bond_to, other, torsion_to, closing=True)
        return None

    def _turns(self, atom: int, bond_to: int, angle_to: int, torsion_to: int) -> bool:
        """Whether this is the rotation about a bond, or about several in a straight line."""
        chain = [atom, bond_to, *nx.shortest_path(self.graph, angle_to, torsion_to)]
        inner = zip(chain[1:], chain[2:], chain[3:-1], strict=False)
        straight = all(_is_straight(self.positions, *three) for three in inner)
        is_path = len(set(chain)) == len(chain)
        return is_path and straight and frozenset(chain[1:3]) not in self.turning

    def _candidates(self, centre: int, excluded: tuple[int, ...]) -> Iterable[int]:
        """List placed references around an atom: neighbours in the tree, in rings, the rest."""

        def usable(atoms: Iterable[int]) -> list[int]:
            chosen = (i for i in atoms if i in self.placed and i not in excluded)
            ring = {i: not self.tree.has_edge(centre, i) for i in chosen}
            return sorted(ring, key=lambda i: (ring[i], self.placed[i]))

        yield from usable(self.graph[centre])
        for shell in list(nx.bfs_layers(self.graph, centre))[2:]:  # only next to linear groups
            yield from usable(shell)


def is_bent(positions: np.ndarray, i: int, j: int, k: int, margin: float) -> bool:
    """Whether the angle i-j-k is defined and `margin` degrees away from 0 and 180."""
    angle = _angle(positions, i, j, k)
    return margin <= angle <= 180.0 - margin


def _is_straight(positions: np.ndarray, i: int, j: int, k: int) -> bool:
    return _angle(positions, i, j, k) > 180.0 - COMFORTABLE


def _angle(positions: np.ndarray, i: int, j: int, k: int) -> float:
    """Compute the angle i-j-k in degrees; nan where atoms coincide."""
    a, b = positions[i] - positions[j], positions[k] - positions[j]
    if not (a.any() and b.any()):
        return float("nan")
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def _spanning_tree(
    graph: nx.Graph, root: int, lengths: dict[frozenset[int], float]
) -> tuple[nx.Graph, dict[int, int]]:
    """Build a breadth-first tree that never cuts a constrained bond."""
    shallow = {frozenset(edge) for edge in nx.bfs_edges(graph, root)}
    weighted = nx.Graph()
    for i, j in graph.edges:
        pair = frozenset((i, j))
        weighted.add_edge(i, j, weight=0 if pair in lengths else 1 if pair in shallow else 2)
    tree = nx.minimum_spanning_tree(weighted)
    return tree, {child: above for above, child in nx.bfs_edges(tree, root)}


def _heavy_descendants(
    parent: dict[int, int], depth: dict[int, int], elements: Sequence[str]
) -> dict[int, int]:
    count = {i: int(elements[i] != "H") for i in depth}
    for atom in sorted(parent, key=lambda i: -depth[i]):
        count[parent[atom]] += count[atom]
    return count
