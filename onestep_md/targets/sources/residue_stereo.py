"""The isomer that the names of a peptide's atoms mean: stereocentres, prochiral ones, amides.

Residues are L, and atoms have the numbers of IUPAC, which tell HB2 from HB3 and CG1 from CG2.
Residues from mirrored templates have everything the other way round.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from openmm import app

from onestep_md.targets.checks import label
from onestep_md.targets.sources.building import Isomer, Quad

_ARMS = ("N", "C", "CB")  # of CA, counterclockwise in L residues, seen from its hydrogen
_REMOTENESS = "ABGDEZH"  # Greek letters in names, from the backbone on
# side chains with a branch at a tetrahedral atom; those that go round the other way than the
# hydrogens of a methylene do, seen from the backbone
_BRANCHED = {("VAL", "CB"), ("LEU", "CG"), ("THR", "CB"), ("ILE", "CB"), ("HYP", "CG")}
_OTHERWISE = {("ILE", "CB"), ("HYP", "CG")}


def find_isomer(
    topology: app.Topology, kinds: Sequence[str], mirrored: Sequence[bool], cis: bool
) -> tuple[Isomer, list[str]]:
    """Find what the geometry has to be.

    Args:
        topology: with all bonds.
        kinds: of every residue the L residue that it is or mirrors, such as ALA.
        mirrored: which residues are D.
        cis: whether amides are cis, as in rings too small for others.

    Returns:
        The isomer, and labels of stereocentres that no rule here is about.
    """
    around: dict[app.topology.Atom, list[app.topology.Atom]] = {
        atom: [] for atom in topology.atoms()
    }
    for a, b in topology.bonds():
        around[a].append(b)
        around[b].append(a)
    centres, unknown = [], []
    for atom, arms in around.items():
        hydrogens = sum(_is_hydrogen(arm) for arm in arms)
        if len(arms) != 4:
            continue
        place = (kinds[atom.residue.index], atom.name)
        first, second, *others = sorted(arms, key=lambda arm: _order(atom, arm))
        if (atom.name == "CA" and hydrogens < 2) or place in _OTHERWISE:
            first, second = second, first
        if not mirrored[atom.residue.index]:
            first, second = second, first
        ordered = (atom, first, second, *others)
        centres.append(tuple(each.index for each in ordered))
        if hydrogens < 2 and atom.name != "CA" and place not in _BRANCHED:
            unknown.append(label(atom))
    amides = tuple(_find_amides(topology, around))
    return Isomer(tuple(centres), amides, (cis,) * len(amides)), unknown


def find_hand(index: Mapping[str, int], positions: np.ndarray) -> str | None:
    """Tell a residue to be L or D by its alpha carbon; None if it has no CA, N, C or CB.

    Args:
        index: of its atoms, by their names.
        positions: (atoms, 3) in nm.
    """
    if not {"CA", *_ARMS} <= index.keys():
        return None
    arms = positions[[index[name] for name in _ARMS]] - positions[index["CA"]]
    return "L" if np.linalg.det(arms) > 0.0 else "D"


def _order(centre: app.topology.Atom, arm: app.topology.Atom) -> tuple:
    """Order the neighbours of an atom: N and C of CA, away from the backbone, hydrogens last."""
    if _is_hydrogen(arm):
        # programs that count the hydrogens of a methylene from one mean 3 by it
        return 2, 0, arm.name[:-1] + arm.name[-1].replace("1", "3")
    if centre.name == "CA" and arm.name in ("N", "C"):
        return 0, "NC".index(arm.name), arm.name
    return 1, measure_remoteness(arm.name), arm.name


def measure_remoteness(name: str) -> int:
    """Count the Greek letters up to that of an atom; names without one are after all."""
    letter = name[1:2]
    known = letter and letter in _REMOTENESS
    return _REMOTENESS.index(letter) if known else len(_REMOTENESS)


def _find_amides(
    topology: app.Topology, around: dict[app.topology.Atom, list[app.topology.Atom]]
) -> list[Quad]:
    """Find the torsions of bonds C-N between residues that have carbon at both ends."""
    quads = []
    for bond in topology.bonds():
        c, n = sorted(bond, key=lambda atom: atom.name)
        if (c.name, n.name) != ("C", "N") or c.residue is n.residue:
            continue
        ends = [
            # the ring of proline has a second carbon on N
            sorted((a for a in around[atom] if a.element.symbol == "C" and a is not other),
                   key=lambda a: a.name != "CA")
            for atom, other in ((c, n), (n, c))
        ]  # fmt: skip
        if all(ends):
            quads.append((ends[0][0].index, c.index, n.index, ends[1][0].index))
    return quads


def _is_hydrogen(atom: app.topology.Atom) -> bool:
    return atom.element.symbol == "H"
