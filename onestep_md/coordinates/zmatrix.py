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
from dataclasses import dataclass
from itertools import combinations

import networkx as nx
import numpy as np

from onestep_md.coordinates.placement import COMFORTABLE, Placement, Row, is_bent
from onestep_md.errors import TargetError

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
        placement = Placement(graph, root, elements, positions, lengths)
        if placement.build():
            loose = _loose_bonds(placement.rows, graph, positions)
            return _assemble(placement.rows, loose, lengths, labels)
        unplaced = min(unplaced, placement.unplaced(), key=len)
    raise TargetError(
        f"no z-matrix for this geometry: {', '.join(labels[i] for i in unplaced)} cannot be "
        "placed, because atoms lie on top of each other.\nMinimise the PDB structure first."
    )


def coordinate_names(zmatrix: ZMatrix) -> tuple[str, ...]:
    """Label the coordinates of a z-matrix with elements and atom numbers, bonds first."""
    free = np.isnan(zmatrix.fixed_length[1:])
    columns = (zmatrix.atom, zmatrix.bond_to, zmatrix.angle_to, zmatrix.torsion_to)
    chains = [[zmatrix.labels[i] for i in row if i >= 0] for row in zip(*columns, strict=True)]
    bonds = [chain[:2] for chain, keep in zip(chains[1:], free, strict=True) if keep]
    rows = zip(zmatrix.proper, zmatrix.closing, zmatrix.straight, strict=True)
    kinds = [
        "flap" if closes else "bend" if straight else "torsion" if proper else "improper"
        for proper, closes, straight in rows
    ]
    angles = [
        f"bond {chain[0]}-{chain[2]}"
        if kind == "flap"
        else f"{'bend' if kind == 'bend' else 'angle'} {'-'.join(chain[:3])}"
        for kind, chain in zip(kinds[2:], chains[2:], strict=True)
    ]
    return (
        *(f"bond {'-'.join(chain)}" for chain in bonds),
        *angles,
        *(f"{kind} {'-'.join(chain)}" for kind, chain in zip(kinds[3:], chains[3:], strict=True)),
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
    """Rank atoms with a bent pair of neighbours, or all: heavy, central, well connected first."""
    reach = nx.eccentricity(graph)

    def rank(atom: int) -> tuple[bool, int, int, int]:
        heavy = sum(elements[other] != "H" for other in graph[atom])
        return elements[atom] == "H", reach[atom], -heavy, atom

    def has_bent_pair(atom: int) -> bool:
        pairs = combinations(graph[atom], 2)
        return any(is_bent(positions, i, atom, k, COMFORTABLE) for i, k in pairs)

    return sorted(list(filter(has_bent_pair, graph)) or graph, key=rank)


def _loose_bonds(
    rows: list[Row], graph: nx.Graph, positions: np.ndarray
) -> tuple[tuple[int, int, float], ...]:
    used = {frozenset((row.atom, row.bond_to)) for row in rows}
    used |= {frozenset((row.atom, row.angle_to)) for row in rows if row.closing}
    loose = [(i, j) for i, j in graph.edges if frozenset((i, j)) not in used]
    return tuple((i, j, float(np.linalg.norm(positions[i] - positions[j]))) for i, j in loose)


def _assemble(
    rows: list[Row],
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
