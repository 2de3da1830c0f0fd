"""A z-matrix for any single connected molecule, built from its bonds and one geometry.

Every atom hangs on an already placed neighbour (`bond_to`) and is located by a bond length, an
angle with `angle_to` and a torsion with `torsion_to`. Only the first atom on a bond axis
carries the rotation about it; its siblings are placed relative to that first one, which leaves
them a stiff improper near +-120 or 180 degrees. `internal.py` turns rows into coordinates.

The tree spans the bond graph, so rings are cut. The atom that closes a ring lies between two
placed neighbours, `bond_to` and `angle_to`, and the length of its second bond stands for the
angle: every bond of a ring is a coordinate, and the torsion about the line between the two
neighbours is the flap of its envelope. What else hangs on these three atoms is placed relative to
the ring. An atom that closes two rings at once, as in cubane, has a bond more than it has
coordinates; such bonds are `loose`.

An atom that continues a bond in a straight line, as in nitriles, has no torsion about it: its
angle is 180 degrees, where angle and torsion are polar coordinates at their pole. It is located by
its deviation from the line in two directions. In molecules that are linear as a whole the frame of
these directions is what the thermal bending of the first three atoms makes of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import networkx as nx
import numpy as np

from onestep_md.errors import TargetError

# Degrees from 0 and 180. The first is a comfortable distance for a vibrating angle, nearer to 180
# is straight; the second the least that is accepted of a reference, where there is any other.
_COMFORTABLE, _LEAST = 15.0, 5.0
_ROOTS_TRIED = 8


@dataclass(frozen=True, eq=False)
class ZMatrix:
    """Rows in placement order; atom numbers are those of the molecule, -1 where not defined.

    Attributes:
        atom: (n,) the atom this row places.
        bond_to: (n,) its bonded reference; -1 in row 0.
        angle_to: (n,) its angle reference; -1 in rows 0 and 1.
        torsion_to: (n,) its torsion reference; -1 in rows 0 to 2.
        proper: (n,) bool, the torsion is the one rotation about a bond between four bonded atoms;
            the others place siblings, or atoms that close a ring or are next to linear groups.
        closing: (n,) bool, the atom closes a ring: a bond joins it to `angle_to` as well.
        straight: (n,) bool, the atom continues the bond from `angle_to` to `bond_to` in a line.
        loose: (i, j, nm) bonds of no row, with their lengths in the given geometry.
        fixed_length: (n,) constrained bond length in nm, nan where the bond is free.
        levels: (start, stop) row ranges from row 3 on; rows of a range need only earlier ranges.
        labels: element and number of every atom, in the order of the molecule.
    """

    atom: np.ndarray
    bond_to: np.ndarray
    angle_to: np.ndarray
    torsion_to: np.ndarray
    proper: np.ndarray
    closing: np.ndarray
    straight: np.ndarray
    loose: tuple[tuple[int, int, float], ...]
    fixed_length: np.ndarray
    levels: tuple[tuple[int, int], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    atom: int
    bond_to: int = -1
    angle_to: int = -1
    torsion_to: int = -1
    proper: bool = False
    closing: bool = False
    straight: bool = False


def build_zmatrix(
    elements: Sequence[str],
    bonds: Iterable[tuple[int, int]],
    constraints: Iterable[tuple[int, int, float]],
    positions: np.ndarray,
) -> ZMatrix:
    """Choose placement order and references for every atom.

    Args:
        elements: element symbol of every atom.
        bonds: bonded pairs of atom numbers.
        constraints: (i, j, nm) fixed distances; each must be a bond.
        positions: (atoms, 3) nm, a reasonable geometry, used to stay away from straight lines.

    Raises:
        TargetError: a single atom, several molecules, a constraint that is not a bond of the
            tree, no free coordinate, or atoms that lie on top of each other.
    """
    labels = tuple(f"{element}{i}" for i, element in enumerate(elements))
    graph = _bond_graph(labels, bonds)
    lengths = _constrained_lengths(graph, labels, constraints)
    positions = np.asarray(positions, dtype=np.float64)
    if positions.shape != (len(labels), 3) or not np.isfinite(positions).all():
        raise TargetError(
            f"the input geometry is not {len(labels)} finite positions; repair the PDB file."
        )
    unplaced = list(graph)
    for root in _roots(graph, elements, positions)[:_ROOTS_TRIED]:
        builder = _Builder(graph, root, elements, positions, lengths)
        if builder.build():
            loose = _loose_bonds(builder.rows, graph, positions)
            return _assemble(builder.rows, loose, lengths, labels)
        unplaced = min(unplaced, builder.unplaced(), key=len)
    raise TargetError(
        f"no z-matrix for this geometry: {', '.join(labels[i] for i in unplaced)} cannot be "
        "placed, because atoms lie on top of each other.\nMinimise the PDB structure first."
    )


def _bond_graph(labels: tuple[str, ...], bonds: Iterable[tuple[int, int]]) -> nx.Graph:
    if len(labels) < 2:
        raise TargetError("a single atom has no internal coordinates: there is nothing to sample.")
    graph = nx.Graph()
    graph.add_nodes_from(range(len(labels)))
    graph.add_edges_from((int(i), int(j)) for i, j in bonds)
    parts = sorted(nx.connected_components(graph), key=len, reverse=True)
    if len(parts) > 1:
        stray = ", ".join(labels[i] for i in sorted(parts[1])[:8])
        raise TargetError(
            f"the bonds do not connect the atoms: {len(parts)} separate parts, one of them "
            f"{stray}.\nGive a PDB with one molecule, and CONECT records for residues that are "
            "not standard."
        )
    return graph


def _constrained_lengths(
    graph: nx.Graph, labels: tuple[str, ...], constraints: Iterable[tuple[int, int, float]]
) -> dict[frozenset[int], float]:
    lengths = {}
    for i, j, length in constraints:
        if not graph.has_edge(i, j):
            raise TargetError(
                f"the distance {labels[i]}-{labels[j]} is constrained but is not a bond; only "
                "constrained bonds can be dropped.\nBuild the System with constraints on bonds "
                "to hydrogen only, or with none."
            )
        lengths[frozenset((int(i), int(j)))] = float(length)
    if len(lengths) == 1 and len(labels) == 2:
        raise TargetError(
            "the only bond of the molecule is constrained: there is nothing to sample. Build the "
            "System without constraints."
        )
    cycles = nx.cycle_basis(nx.Graph(tuple(pair) for pair in lengths))
    if cycles:
        ring = ", ".join(labels[i] for i in cycles[0])
        raise TargetError(
            f"all bonds of the ring {ring} are constrained; one of them cannot be a z-matrix "
            "bond.\nBuild the System with constraints on bonds to hydrogen only, or with none."
        )
    return lengths


def _roots(graph: nx.Graph, elements: Sequence[str], positions: np.ndarray) -> list[int]:
    """Atoms with a bent pair of neighbours, or all: heavy and central first, well connected."""
    reach = nx.eccentricity(graph)

    def rank(atom: int) -> tuple[bool, int, int, int]:
        heavy = sum(elements[other] != "H" for other in graph[atom])
        return elements[atom] == "H", reach[atom], -heavy, atom

    def is_bent(atom: int) -> bool:
        pairs = combinations(graph[atom], 2)
        return any(_bent(positions, i, atom, k, _COMFORTABLE) for i, k in pairs)

    return sorted(list(filter(is_bent, graph)) or graph, key=rank)


class _Builder:
    """Grows the rows of one spanning tree from one root."""

    def __init__(
        self,
        graph: nx.Graph,
        root: int,
        elements: Sequence[str],
        positions: np.ndarray,
        lengths: dict[frozenset[int], float],
    ):
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
        self.rows: list[_Row] = []
        self.placed: dict[int, int] = {}  # atom -> row
        self.first_on_axis: dict[tuple[int, int | None], int] = {}
        self.turning: set[frozenset[int]] = set()  # bonds that have their proper torsion

    def unplaced(self) -> list[int]:
        return [i for i in self.graph if i not in self.placed]

    def build(self) -> bool:
        """Place every atom; False when some cannot be placed."""
        self._place(_Row(self.root))
        frontier = set(self.tree[self.root])
        while frontier:
            row = self._next_row(sorted(frontier, key=self.rank.__getitem__))
            if row is None:
                return False
            self._place(row)
            frontier.remove(row.atom)
            frontier.update(j for j in self.tree[row.atom] if j not in self.placed)
        return True

    def _next_row(self, atoms: list[int]) -> _Row | None:
        for margin, least in ((_COMFORTABLE, _LEAST), (_LEAST, _LEAST), (_LEAST, 0.0)):
            for atom in atoms:
                row = self._find_row(atom, margin, least)
                if row is not None:
                    return row
        return None

    def _place(self, row: _Row) -> None:
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

    def _find_row(self, atom: int, margin: float, least: float) -> _Row | None:
        """References of an atom, or None; those of its torsion are bent by `least` or more."""
        bond_to = self.parent[atom]
        if len(self.rows) == 1:
            return _Row(atom, bond_to)
        if len(self.rows) > 2 and (row := self._find_closing_row(atom, margin)):
            return row
        around = [i for i in self.graph[bond_to] if i in self.placed]
        around.sort(key=lambda i: (not self.tree.has_edge(bond_to, i), self.placed[i]))
        bent = [i for i in around if _bent(self.positions, atom, bond_to, i, margin)]
        straight = [i for i in around if _straight(self.positions, atom, bond_to, i)]
        if len(self.rows) == 2:
            if bent:
                return _Row(atom, bond_to, bent[0])
            # only where no atom of the molecule is bent
            found = straight and margin < _COMFORTABLE
            return _Row(atom, bond_to, straight[0], straight=True) if found else None
        for angle_to in bent + straight:
            row = self._find_torsion(atom, bond_to, angle_to, least)
            if row is not None:
                return row if angle_to in bent else replace(row, proper=False, straight=True)
        return None

    def _find_torsion(self, atom: int, bond_to: int, angle_to: int, least: float) -> _Row | None:
        first = self.first_on_axis.get((bond_to, angle_to))
        others = self._candidates(angle_to, excluded=(bond_to, angle_to))
        for torsion_to in others if first is None else [first]:
            if _bent(self.positions, bond_to, angle_to, torsion_to, least):
                proper = first is None and self._turns(atom, bond_to, angle_to, torsion_to)
                return _Row(atom, bond_to, angle_to, torsion_to, proper)
        return None

    def _find_closing_row(self, atom: int, margin: float) -> _Row | None:
        bond_to = self.parent[atom]
        for other in self.graph[atom]:
            if other == bond_to or other not in self.placed:
                continue
            if not _bent(self.positions, atom, bond_to, other, margin):
                continue
            for torsion_to in self._candidates(bond_to, excluded=(bond_to, other)):
                if _bent(self.positions, bond_to, other, torsion_to, _LEAST):
                    return _Row(atom, bond_to, other, torsion_to, closing=True)
        return None

    def _turns(self, atom: int, bond_to: int, angle_to: int, torsion_to: int) -> bool:
        """Whether this is the rotation about a bond, or about several in a straight line."""
        chain = [atom, bond_to, *nx.shortest_path(self.graph, angle_to, torsion_to)]
        inner = zip(chain[1:], chain[2:], chain[3:-1], strict=False)
        straight = all(_straight(self.positions, *three) for three in inner)
        is_path = len(set(chain)) == len(chain)
        return is_path and straight and frozenset(chain[1:3]) not in self.turning

    def _candidates(self, centre: int, excluded: tuple[int, ...]) -> Iterable[int]:
        """Placed references around an atom: its neighbours in the tree, in the ring, the rest."""

        def usable(atoms: Iterable[int]) -> list[int]:
            chosen = (i for i in atoms if i in self.placed and i not in excluded)
            ring = {i: not self.tree.has_edge(centre, i) for i in chosen}
            return sorted(ring, key=lambda i: (ring[i], self.placed[i]))

        yield from usable(self.graph[centre])
        for shell in list(nx.bfs_layers(self.graph, centre))[2:]:  # only next to linear groups
            yield from usable(shell)


def _bent(positions: np.ndarray, i: int, j: int, k: int, margin: float) -> bool:
    """Whether the angle i-j-k stays `margin` degrees away from 0 and 180; 0: whether it is one."""
    angle = _angle(positions, i, j, k)
    return margin <= angle <= 180.0 - margin


def _straight(positions: np.ndarray, i: int, j: int, k: int) -> bool:
    return _angle(positions, i, j, k) > 180.0 - _COMFORTABLE


def _angle(positions: np.ndarray, i: int, j: int, k: int) -> float:
    """Degrees; nan where atoms coincide."""
    a, b = positions[i] - positions[j], positions[k] - positions[j]
    if not (a.any() and b.any()):
        return float("nan")
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def _spanning_tree(
    graph: nx.Graph, root: int, lengths: dict[frozenset[int], float]
) -> tuple[nx.Graph, dict[int, int]]:
    """Breadth-first tree, except that constrained bonds are never the ones that are cut."""
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


def _loose_bonds(
    rows: list[_Row], graph: nx.Graph, positions: np.ndarray
) -> tuple[tuple[int, int, float], ...]:
    found = {frozenset((row.atom, row.bond_to)) for row in rows}
    found |= {frozenset((row.atom, row.angle_to)) for row in rows if row.closing}
    loose = [(i, j) for i, j in graph.edges if frozenset((i, j)) not in found]
    return tuple((i, j, float(np.linalg.norm(positions[i] - positions[j]))) for i, j in loose)


def _assemble(
    rows: list[_Row],
    loose: tuple[tuple[int, int, float], ...],
    lengths: dict[frozenset[int], float],
    labels: tuple[str, ...],
) -> ZMatrix:
    """Sort the rows by level, so that every level is one contiguous range."""
    level: dict[int, int] = {}
    for number, row in enumerate(rows):
        needs = [level[i] for i in (row.bond_to, row.angle_to, row.torsion_to) if i >= 0]
        level[row.atom] = max(needs, default=-1) + 1 if number < 3 else max([2, *needs]) + 1
    rows = sorted(rows, key=lambda row: level[row.atom])  # stable: keeps the placement order
    starts = [i for i in range(3, len(rows)) if level[rows[i].atom] != level[rows[i - 1].atom]]
    stops = [*starts, len(rows)][1:]
    fixed = [lengths.get(frozenset((row.atom, row.bond_to)), np.nan) for row in rows]
    return ZMatrix(
        atom=np.array([row.atom for row in rows]),
        bond_to=np.array([row.bond_to for row in rows]),
        angle_to=np.array([row.angle_to for row in rows]),
        torsion_to=np.array([row.torsion_to for row in rows]),
        proper=np.array([row.proper for row in rows]),
        closing=np.array([row.closing for row in rows]),
        straight=np.array([row.straight for row in rows]),
        loose=loose,
        fixed_length=np.array(fixed, dtype=np.float64),
        levels=tuple(zip(starts, stops, strict=True)),
        labels=labels,
    )
