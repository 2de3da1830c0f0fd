"""The z-matrix: references placed before use, one rotation per bond, clear refusals."""

import networkx as nx
import numpy as np
import pytest

from onestep_md.coordinates.zmatrix import ZMatrix, build_zmatrix
from onestep_md.errors import TargetError

ALANINE_ELEMENTS = "C H H H C O N H C H C H H H C O N H C H H H".split()
ALANINE_BONDS = [
    *[(0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (4, 6), (6, 7), (6, 8), (8, 9), (8, 10), (10, 11)],
    *[(10, 12), (10, 13), (8, 14), (14, 15), (14, 16), (16, 17), (16, 18), (18, 19), (18, 20)],
    (18, 21),
]
PHI, PSI = frozenset((6, 8)), frozenset((8, 14))
BENZENE_BONDS = [(i, (i + 1) % 6) for i in range(6)] + [(i, i + 6) for i in range(6)]


def methyl(carbon: np.ndarray, direction: float, turn: float = 0.0) -> np.ndarray:
    """Three hydrogens on a carbon of a chain along x that goes on in -direction."""
    angles = turn + np.arange(3) * 2 * np.pi / 3
    ring = np.stack(
        [np.full(3, direction * 0.036), 0.103 * np.cos(angles), 0.103 * np.sin(angles)]
    )
    return carbon + ring.T


def acetonitrile():
    chain = np.array([[0.0, 0, 0], [0.146, 0, 0], [0.262, 0, 0]])
    bonds = [(0, 1), (1, 2), (0, 3), (0, 4), (0, 5)]
    return list("CCNHHH"), bonds, np.concatenate([chain, methyl(chain[0], -1)])


def butyne():
    chain = np.array([[0.0, 0, 0], [0.146, 0, 0], [0.266, 0, 0], [0.412, 0, 0]])
    bonds = [
        (0, 1),
        (1, 2),
        (2, 3),
        *[(0, 4 + i) for i in range(3)],
        *[(3, 7 + i) for i in range(3)],
    ]
    ends = [methyl(chain[0], -1), methyl(chain[3], 1, turn=0.4)]
    return list("CCCC") + ["H"] * 6, bonds, np.concatenate([chain, *ends])


def line(n: int):
    """Atoms in a row, slightly bent as by the digits of a file."""
    x = np.arange(n)[:, None] * np.array([0.12, 0.0, 0.0])
    x[1::2, 1] = 1e-4
    return ["C"] * n, [(i, i + 1) for i in range(n - 1)], x


def polyyne():
    """Two methyls at the far ends of a line of six triple bonds."""
    elements, bonds, x = line(14)
    ends = [methyl(x[0], -1), methyl(x[13], 1, turn=0.4)]
    bonds += [(0, 14 + i) for i in range(3)] + [(13, 17 + i) for i in range(3)]
    return elements + ["H"] * 6, bonds, np.concatenate([x, *ends])


def benzene():
    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    return ["C"] * 6 + ["H"] * 6, BENZENE_BONDS, np.concatenate([0.139 * ring, 0.247 * ring])


MOLECULES = {
    "acetonitrile": acetonitrile,
    "butyne": butyne,
    "benzene": benzene,
    "polyyne": polyyne,
    "diacetylene": lambda: line(6),
    "carbon dioxide": lambda: line(3),
    "hydrogen": lambda: line(2),
}


def references(z: ZMatrix) -> np.ndarray:
    return np.stack([z.bond_to, z.angle_to, z.torsion_to], axis=1)


def axes(z: ZMatrix) -> np.ndarray:
    """Bond about which each torsion turns, (n - 3,) frozensets of atoms."""
    pairs = zip(z.bond_to[3:].tolist(), z.angle_to[3:].tolist(), strict=True)
    return np.array([frozenset(pair) for pair in pairs], dtype=object)


def bend(x: np.ndarray, i: int, j: int, k: int) -> float:
    a, b = x[i] - x[j], x[k] - x[j]
    return float(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def check_is_valid(z: ZMatrix, bonds, x: np.ndarray, on_a_line: bool = False) -> None:
    n = len(x)
    assert sorted(z.atom) == list(range(n))
    graph = nx.Graph(bonds)
    row_of = {atom: row for row, atom in enumerate(z.atom)}
    for row, refs in enumerate(references(z)):
        used = [i for i in refs if i >= 0]
        assert len(used) == min(row, 3)
        assert len({*used, z.atom[row]}) == len(used) + 1
        assert all(row_of[i] < row for i in used)
        if row:
            assert graph.has_edge(z.atom[row], z.bond_to[row])
        if row > 1:
            angle = bend(x, z.atom[row], z.bond_to[row], z.angle_to[row])
            assert angle > 165.0 if z.straight[row] else 5.0 < angle < 175.0
        if row > 2 and not on_a_line:
            assert 5.0 < bend(x, *refs) < 175.0
    # levels tile rows 3..n and never refer into themselves
    assert [0, 0, 3, *(stop for _, stop in z.levels)][-1] == max(n, 3)
    assert [start for start, _ in z.levels] == [3, *(stop for _, stop in z.levels)][:-1]
    for start, stop in z.levels:
        assert all(row_of[i] < start for i in references(z)[start:stop].ravel())


@pytest.mark.parametrize("seed", range(20))
def test_random_molecules_are_valid(seed, random_molecule):
    molecule = random_molecule(seed, 4 + 2 * seed, rings=seed % 4)
    z = build_zmatrix(molecule.elements, molecule.bonds, [], molecule.frames[0])
    check_is_valid(z, molecule.bonds, molecule.frames[0])


@pytest.mark.parametrize("name", MOLECULES)
def test_linear_groups_and_rings_are_valid(name):
    elements, bonds, x = MOLECULES[name]()
    on_a_line = name in ("polyyne", "diacetylene")
    check_is_valid(build_zmatrix(elements, bonds, [], x), bonds, x, on_a_line)


def test_what_is_bent_is_the_reference_of_what_is_not():
    """One rotation about the line between two methyls, and no other torsion turns."""
    for molecule, straight in ((acetonitrile, 1), (butyne, 2)):
        elements, bonds, x = molecule()
        z = build_zmatrix(elements, bonds, [], x)
        assert z.straight.sum() == straight and not z.straight[:3].any()
        assert z.proper.sum() == straight - 1
    elements, bonds, x = line(5)
    z = build_zmatrix(elements, bonds, [], x)
    assert z.straight.tolist() == [False, False, True, True, True] and not z.proper.any()


def test_every_bond_of_a_ring_is_a_coordinate():
    elements, bonds, x = benzene()
    z = build_zmatrix(elements, bonds, [], x)
    rows = list(zip(z.atom.tolist(), z.bond_to.tolist(), z.angle_to.tolist(), strict=True))
    found = {frozenset(row[:2]) for row in rows[1:]}
    found |= {frozenset((row[0], row[2])) for row, yes in zip(rows, z.closing, strict=True) if yes}
    assert found == {frozenset(bond) for bond in bonds}
    assert z.closing.sum() == 1 and not z.proper[z.closing].any()
    # hydrogens are placed relative to the ring, so the only rotations are its own
    assert all(elements[atom] != "H" for atom in z.atom[z.proper])


@pytest.mark.parametrize("seed", range(20))
def test_every_inner_bond_of_a_tree_turns_once(seed, random_molecule):
    molecule = random_molecule(100 + seed, 30)
    z = build_zmatrix(molecule.elements, molecule.bonds, [], molecule.frames[0])
    graph = nx.Graph(molecule.bonds)
    turning = axes(z)[z.proper[3:]]
    inner = {frozenset(bond) for bond in molecule.bonds if all(graph.degree[i] > 1 for i in bond)}
    assert len(turning) == len(set(turning))
    assert set(turning) == inner
    # every other torsion places a sibling: both atoms hang on the same one
    for row in 3 + np.flatnonzero(~z.proper[3:]):
        assert z.torsion_to[row] in graph[z.bond_to[row]]


def test_alanine_dipeptide_turns_about_seven_bonds():
    rng = np.random.default_rng(3)
    z = build_zmatrix(ALANINE_ELEMENTS, ALANINE_BONDS, [], rng.normal(size=(22, 3)))
    turning = set(axes(z)[z.proper[3:]])
    assert len(turning) == 7 and {PHI, PSI} < turning
    heavy = [ALANINE_ELEMENTS[atom] != "H" for atom in z.atom]
    assert heavy[:6] == [True] * 6  # the levels sort the rest


def test_trans_ligands_do_not_turn_a_bond_twice():
    # square planar: the hydride opposite to one oxygen must refer to another one, whose bond to
    # the metal already has its rotation
    x = np.array(
        [[0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, -0.2, 0], [-0.15, 0, 0]]
        + [[0.25, 0.02, 0.12], [0.02, 0.25, 0.12], [0.03, -0.25, 0.12]]
    )
    bonds = [*[(0, i) for i in range(1, 5)], (1, 5), (2, 6), (3, 7)]
    z = build_zmatrix("Pt O O O H C C C".split(), bonds, [], x)
    check_is_valid(z, bonds, x)
    assert set(axes(z)[z.proper[3:]]) == {frozenset((0, i)) for i in (1, 2, 3)}
    assert z.proper.sum() == 3


def test_centre_without_inner_bonds_has_no_rotation():
    x = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.063
    z = build_zmatrix(list("CHHHH"), [(0, i) for i in range(1, 5)], [], x)
    assert z.atom[0] == 0 and not z.proper.any()


def test_constrained_bonds_are_marked():
    x = np.random.default_rng(5).normal(size=(22, 3))
    hydrogens = [(i, j, 0.1 + 0.001 * j) for i, j in ALANINE_BONDS if ALANINE_ELEMENTS[j] == "H"]
    z = build_zmatrix(ALANINE_ELEMENTS, ALANINE_BONDS, hydrogens, x)
    fixed = dict(zip(z.atom.tolist(), z.fixed_length, strict=True))
    assert {j: length for j, length in fixed.items() if np.isfinite(length)} == {
        j: length for _, j, length in hydrogens
    }


@pytest.mark.parametrize("cut", range(6))
def test_a_constrained_ring_bond_is_never_the_cut_one(cut):
    elements, bonds, x = benzene()
    pair = BENZENE_BONDS[cut]
    z = build_zmatrix(elements, bonds, [(*pair, 0.14)], x)
    (row,) = np.flatnonzero(np.isfinite(z.fixed_length))
    assert {z.atom[row], z.bond_to[row]} == set(pair)
    check_is_valid(z, bonds, x)


def test_refuses_what_it_cannot_place():
    x = np.random.default_rng(0).normal(size=(22, 3))
    with pytest.raises(TargetError, match="a single atom"):
        build_zmatrix(["O"], [], [], x[:1])
    with pytest.raises(TargetError, match="nothing to sample"):
        build_zmatrix(["Cl", "H"], [(0, 1)], [(0, 1, 0.13)], x[:2])
    with pytest.raises(TargetError, match="2 separate parts.*O2, H4"):
        build_zmatrix(list("OOOHH"), [(0, 1), (1, 3), (2, 4)], [], x[:5])
    with pytest.raises(TargetError, match="H1-H2 is constrained but is not a bond"):
        build_zmatrix(ALANINE_ELEMENTS, ALANINE_BONDS, [(1, 2, 0.17)], x)
    elements, bonds, flat = benzene()
    with pytest.raises(TargetError, match="the ring .*C3"):
        build_zmatrix(elements, bonds, [(*pair, 0.14) for pair in BENZENE_BONDS[:6]], flat)
    with pytest.raises(TargetError, match="finite positions"):
        build_zmatrix(ALANINE_ELEMENTS, ALANINE_BONDS, [], np.where(x > 1, np.nan, x))


def test_refuses_atoms_on_top_of_each_other_and_names_them():
    elements, bonds, x = acetonitrile()
    x[5] = x[0]  # a hydrogen on top of its carbon
    with pytest.raises(TargetError, match="H5 cannot be placed.*on top"):
        build_zmatrix(elements, bonds, [], x)
