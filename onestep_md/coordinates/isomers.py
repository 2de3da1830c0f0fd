"""Isomers of a molecule: what an ensemble samples, and what it holds as in the input geometry.

One rule decides for every bond and every atom, before anything is simulated:

* stereocentres are held: four-valent atoms without two equivalent end atoms, and all pyramids of
  S, P, As and Se; nitrogen and oxygen invert, so their pyramids are sampled.
* double bonds are held: no simulation turns them.
* amide bonds, C(=O)-N or C(=S)-N, are held unless the configuration samples them.
* conjugated single bonds, planar on both sides with a twofold barrier, are sampled unless the
  configuration holds them.
* every other bond outside of rings is sampled, whatever its barrier, and so are shapes of rings.

log Z is that of the domain in which everything held is as in the input.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from onestep_md.coordinates.stereo import find_stereocentres, pyramid_volume, rank_atoms

DOUBLE_BARRIER = 120.0  # kJ/mol; amides have 80 to 95, C=C 160 and more
CONJUGATED_BARRIER = 30.0  # kJ/mol; of esters and acids, dienes, enones
_DOUBLE_LENGTHS = {"CC": 0.140, "CN": 0.131, "NN": 0.130, "CO": 0.128, "CS": 0.165}  # nm, at most
_SMALL_RING = 8  # atoms; smaller rings hold their own double bonds and amides
_PLANAR = 0.3  # of |volume| of three unit vectors; of a tetrahedral pyramid it is 0.77
_INVERTING = {"N", "O"}
_HELD = {"none": (), "amides": ("amides",), "conjugated": ("amides", "conjugated")}
_NOUNS = {"amides": "amide", "double": "double bond", "conjugated": "conjugated bond"}


@dataclass(frozen=True)
class Isomers:
    """Held and sampled parts of a molecule.

    Attributes:
        centres: (centre, a, b, c) of every held stereocentre, of positive volume in the input.
        held_bonds: (a, i, j, d) torsions about bonds i-j that stay cis or trans as in the input.
        cis: which of `held_bonds` are cis there, a and d on one side.
        turning: bonds (i, j), i < j, outside of rings that turn.
        torsions: (a, i, j, d) of every bond of `turning`; i and j are the ends of a straight line
            where the bond is part of one.
        inverting: atoms whose pyramid of three bonds inverts.
        rings: atoms of every ring that has shapes to sample, in order around it.
        held: words for what is held, for printing.
        sampled: words for what is sampled.
    """

    centres: tuple[tuple[int, int, int, int], ...]
    held_bonds: tuple[tuple[int, int, int, int], ...]
    cis: tuple[bool, ...]
    turning: tuple[tuple[int, int], ...]
    torsions: tuple[tuple[int, int, int, int], ...]
    inverting: tuple[int, ...]
    rings: tuple[tuple[int, ...], ...]
    held: tuple[str, ...]
    sampled: tuple[str, ...]

    def line(self) -> str:
        """One line, "held: 1 stereocentre; sampled: 3 torsions, 1 ring"."""
        held, sampled = (", ".join(words) or "nothing" for words in (self.held, self.sampled))
        return f"held: {held}; sampled: {sampled}"


def find_isomers(
    elements: Sequence[str],
    bonds: Sequence[tuple[int, int]],
    positions: np.ndarray,
    barriers: Mapping[tuple[int, int], float],
    held: str = "amides",
) -> Isomers:
    """Apply the rule.

    Args:
        elements: chemical symbols of the n atoms.
        bonds: pairs of atoms.
        positions: (n, 3) input geometry in nm.
        barriers: (i, j), i < j -> barrier in kJ/mol of the torsion terms about the bond, for
            bonds outside of rings that have any; lengths decide about the others.
        held: kinds of bonds besides double ones: none, amides, or conjugated, which holds both.
    """
    graph = nx.Graph()
    graph.add_nodes_from(range(len(elements)))
    graph.add_edges_from(bonds)
    kinds = _Bonds(graph, elements, positions, barriers)
    rings = nx.minimum_cycle_basis(graph)
    small = {
        frozenset((ring[k - 1], ring[k])) for ring in rings if len(ring) < _SMALL_RING
        for k in range(len(ring)) if graph.has_edge(ring[k - 1], ring[k])
    }  # fmt: skip
    acyclic = {frozenset(bond) for bond in nx.bridges(graph)}
    named: dict[str, list[tuple[int, int]]]
    named = {"double": [], "amides": [], "conjugated": [], "turning": []}
    for bond in sorted((min(bond), max(bond)) for bond in graph.edges):
        inner = graph.degree[bond[0]] > 1 and graph.degree[bond[1]] > 1
        if inner and frozenset(bond) not in small and not kinds.is_linear(bond):
            kind = kinds.kind(bond)
            if frozenset(bond) in acyclic or kind in ("double", "amides"):
                named[kind].append(bond)
    keep = named["double"] + [bond for group in _HELD[held] for bond in named[group]]
    turning = [bond for group in named.values() for bond in group if bond not in keep]
    turning = sorted(turning + kinds.linear_axes(acyclic))
    quads = [kinds.quad(bond) for bond in keep]
    cis = [bool(_side(positions, quad) > 0) for quad in quads]
    centres = find_stereocentres(elements, bonds, positions)
    inverting = [
        i for i in graph if elements[i] in _INVERTING and measure_pyramid(graph, positions, i)
    ]
    which = dict(zip(keep, cis, strict=True))
    flexible = _flexible_rings(graph, inverting, rings)
    sampled = {"torsion": len(turning), "ring": len(flexible), "inversion": len(inverting)}
    return Isomers(
        centres=tuple(centres),
        held_bonds=tuple(quads),
        cis=tuple(cis),
        turning=tuple(turning),
        torsions=tuple(kinds.quad(bond) for bond in turning),
        inverting=tuple(inverting),
        rings=flexible,
        held=_held_words(graph, rank_atoms(elements, graph), named, centres, which),
        sampled=tuple(_count(n, noun) for noun, n in sampled.items() if n),
    )


class _Bonds:
    """Classifies the bonds of one molecule."""

    def __init__(
        self,
        graph: nx.Graph,
        elements: Sequence[str],
        positions: np.ndarray,
        barriers: Mapping[tuple[int, int], float],
    ):
        self.graph, self.elements, self.x, self.barriers = graph, elements, positions, barriers

    def kind(self, bond: tuple[int, int]) -> str:
        """Classify a bond: "double", "amides", "conjugated" or "turning"."""
        barrier, (i, j) = self.barriers.get(bond), bond
        if self._is_amide(i, j) or self._is_amide(j, i):
            return "amides"
        if not (self._is_planar(i) and self._is_planar(j)):
            return "turning"
        if self._is_double(bond) if barrier is None else barrier > DOUBLE_BARRIER:
            return "double"
        return "conjugated" if (barrier or 0.0) > CONJUGATED_BARRIER else "turning"

    def is_linear(self, bond: tuple[int, int]) -> bool:
        """Whether an end is part of a straight line, so that the bond has no torsion."""
        return any(self._is_linear_atom(i) for i in bond)

    def linear_axes(self, acyclic: set[frozenset[int]]) -> list[tuple[int, int]]:
        """List the first bond of each acyclic straight line with neighbours at both ends."""
        linear = [i for i in self.graph if self._is_linear_atom(i)]
        axes = []
        for line in nx.connected_components(self.graph.subgraph(linear)):
            first, *others = sorted(
                (end, i) for i in line for end in self.graph[i] if end not in line
            )
            ends = [end for end, _ in (first, *others)]
            if frozenset(first) in acyclic and all(self.graph.degree[end] > 1 for end in ends):
                axes.append((min(first), max(first)))
        return axes

    def _is_linear_atom(self, i: int) -> bool:
        return self.graph.degree[i] == 2 and not _bent(self.x, self.graph, i)

    def quad(self, bond: tuple[int, int]) -> tuple[int, int, int, int]:
        """Choose the torsion (a, i, j, d) of the main neighbours of a bond, or of its line."""
        (a, i), (d, j) = self._end(*reversed(bond)), self._end(*bond)
        return a, i, j, d

    def _end(self, before: int, i: int) -> tuple[int, int]:
        """Find the end of the line that leads on from a bond, and its main neighbour there."""
        while self._is_linear_atom(i):
            (after,) = set(self.graph[i]) - {before}
            before, i = i, after
        return self._main_neighbour(i, before), i

    def _main_neighbour(self, i: int, other: int) -> int:
        around = set(self.graph[i]) - {other}
        # an amide is cis or trans by its carbon atoms, not by its oxygen
        heavy = [a for a in around if self.elements[a] == "C"] or [
            a for a in around if self.elements[a] != "H"
        ]
        return min(heavy or around)

    def _is_amide(self, c: int, n: int) -> bool:
        if (self.elements[c], self.elements[n]) != ("C", "N"):
            return False
        if self.graph.degree[c] != 3 or self.graph.degree[n] != 3:
            return False
        return any(self.elements[o] in "OS" and self.graph.degree[o] == 1 for o in self.graph[c])

    def _is_planar(self, i: int) -> bool:
        """Whether the atom has two or three neighbours in one plane."""
        return self.graph.degree[i] in (2, 3) and not measure_pyramid(self.graph, self.x, i)

    def _is_double(self, bond: tuple[int, int]) -> bool:
        i, j = bond
        if "C" in (self.elements[i], self.elements[j]) and 3 not in (
            self.graph.degree[k] for k in bond if self.elements[k] == "C"
        ):
            return False
        pair = "".join(sorted(self.elements[k] for k in bond))
        return bool(np.linalg.norm(self.x[i] - self.x[j]) < _DOUBLE_LENGTHS.get(pair, 0.0))


def _bent(x: np.ndarray, graph: nx.Graph, i: int) -> bool:
    a, b = (x[k] - x[i] for k in graph[i])
    sine = np.linalg.norm(np.cross(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b))
    return bool(sine > np.sin(np.radians(15.0)) or a @ b > 0)


def measure_pyramid(graph: nx.Graph, x: np.ndarray, i: int) -> float:
    """Compute the volume of the unit vectors to three neighbours; zero if planar, or not three."""
    if graph.degree[i] != 3:
        return 0.0
    volume = pyramid_volume(i, graph, x)
    return volume if abs(volume) > _PLANAR else 0.0


def _side(x: np.ndarray, quad: tuple[int, int, int, int]) -> float:
    """Compute a positive multiple of the cosine of a torsion."""
    a, i, j, d = (x[k] for k in quad)
    axis = (j - i) / np.linalg.norm(j - i)
    one, other = a - i, d - j
    return float(one @ other - (one @ axis) * (other @ axis))


def _count(n: int, noun: str, plural: str = "") -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def _held_words(
    graph: nx.Graph,
    kind: Mapping[int, str],
    named: Mapping[str, list[tuple[int, int]]],
    centres: Sequence[tuple[int, int, int, int]],
    cis: Mapping[tuple[int, int], bool],
) -> tuple[str, ...]:
    """Count stereocentres, and bonds by kind and by cis or trans where these differ."""
    alike = [graph.degree[i] == 3 > len({kind[k] for k in graph[i]}) for i, *_ in centres]
    counts = {"stereocentre": alike.count(False), "pyramid": alike.count(True)}
    words = [_count(n, noun) for noun, n in counts.items() if n]
    for key, noun in _NOUNS.items():
        counted = {"": 0, "cis ": 0, "trans ": 0}
        for bond in named[key]:
            if bond in cis:
                which = "cis " if cis[bond] else "trans "
                counted[which if _has_isomers(bond, graph, kind) else ""] += 1
        words += [_count(n, which + noun) for which, n in counted.items() if n]
    return tuple(words)


def _has_isomers(bond: tuple[int, int], graph: nx.Graph, kind: Mapping[int, str]) -> bool:
    """Whether cis and trans differ, that is, no end has two equivalent neighbours."""
    ends = [[kind[k] for k in graph[i] if k not in bond] for i in bond]
    return all(len(set(end)) == len(end) for end in ends)


def _flexible_rings(
    graph: nx.Graph, inverting: list[int], rings: list[list[int]]
) -> tuple[tuple[int, ...], ...]:
    """Find rings of four atoms or more that are neither planar nor faces of a cage."""
    shared = Counter(i for ring in rings for i in ring)
    return tuple(
        tuple(nx.cycle_basis(graph.subgraph(ring))[0])
        for ring in rings
        if len(ring) > 3
        and sum(graph.degree[i] != 3 or i in inverting for i in ring) > 1
        and any(shared[i] == 1 for i in ring)
    )
