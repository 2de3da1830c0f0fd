"""What is held and what is sampled, by one rule; another isomer has no weight."""

import dataclasses

import numpy as np
import pytest
import torch

from onestep_md.coordinates.isomers import find_isomers
from onestep_md.coordinates.molecule import build_internal_coordinates, find_molecule_isomers
from onestep_md.targets.torsion_profiles import turn_atoms


def planar(chain, rest):
    """Coordinates in nm of a planar molecule, a zigzag chain and more atoms of given places."""
    zigzag = [[0.125 * i, 0.07 * (i % 2), 0.0] for i in range(chain)]
    return np.array(zigzag + rest)


# 2-butene, one hydrogen for each methyl: C0-C1=C2-C3, H on C1 and C2
BUTENE = (
    ("C", "C", "C", "C", "H", "H", "H", "H"),
    [(0, 1), (1, 2), (2, 3), (1, 4), (2, 5), (0, 6), (3, 7)],
    planar(4, [[0.125, 0.18, 0], [0.25, -0.11, 0], [-0.1, 0, 0.04], [0.4, 0.16, 0.05]]),
)


@pytest.mark.parametrize(
    ("barrier", "held", "words"),
    [
        (222.0, "amides", ("1 trans double bond",)),
        (222.0, "none", ("1 trans double bond",)),
        (60.0, "amides", ()),
        (60.0, "conjugated", ("1 trans conjugated bond",)),
        (10.0, "conjugated", ()),
    ],
)
def test_barriers_tell_double_from_conjugated_and_single_bonds(barrier, held, words):
    isomers = find_isomers(*BUTENE, {(1, 2): barrier}, held)
    assert isomers.held == words
    assert ((1, 2) in isomers.turning) == (not words)
    assert isomers.held_bonds == ((0, 1, 2, 3),)[: len(words)]


def test_without_torsion_terms_lengths_tell_double_bonds():
    elements, bonds, x = BUTENE
    short = x - 0.012 * np.isin(np.arange(8), (2, 3, 5, 7))[:, None] * [1.0, 0.0, 0.0]
    assert find_isomers(elements, bonds, short, {}).held == ("1 trans double bond",)
    assert find_isomers(elements, bonds, x, {}).held == ()


@pytest.mark.parametrize(
    ("name", "held", "line"),
    [
        ("alanine", "amides", "held: 1 stereocentre, 2 trans amides; sampled: 5 torsions"),
        ("alanine", "none", "held: 1 stereocentre; sampled: 7 torsions"),
        ("thymidine", "amides", "held: 3 stereocentres; sampled: 5 torsions, 1 ring"),
    ],
)
def test_shipped_molecules(shipped, name, held, line):
    files = ("amber14/DNA.OL15.xml",) if name == "thymidine" else ()
    molecule = dataclasses.replace(shipped(name, *files), held=held)
    assert find_molecule_isomers(molecule).line() == line


def test_a_turned_amide_has_no_weight_and_is_counted(shipped):
    molecule = shipped("alanine")
    coordinates = build_internal_coordinates(molecule)
    amide = next(t for t in molecule.torsions if t.barrier > 80.0)
    angles = np.radians([0.0, 60.0, 120.0, 180.0])
    x = torch.from_numpy(turn_atoms(molecule.positions, amide.bond, amide.moving, angles))
    assert coordinates.domain.violations(x)["a turned bond"].tolist() == [False, False, True, True]
    assert coordinates.domain.contains(x).tolist() == [True, True, False, False]
    q, log_det = coordinates.from_cartesian(x)
    assert log_det.isfinite().tolist() == [True, True, False, False]
    assert torch.equal(coordinates.to_cartesian(q)[1].isfinite(), log_det.isfinite())


def test_a_ring_holds_cis_and_trans(ring):
    elements, bonds, x = ring
    isomers = find_isomers(elements, bonds, x, {})
    assert [centre for centre, *_ in isomers.centres] == [0, 3]
    assert isomers.held == ("2 stereocentres",)


def test_pyramids_of_sulfur_are_held_and_those_of_nitrogen_invert():
    x = np.array([[0, 0, 0], [0.15, 0, -0.06], [-0.08, 0.13, -0.06], [-0.07, -0.12, -0.06]])
    bonds = [(0, 1), (0, 2), (0, 3)]
    sulfoxide = find_isomers(("S", "O", "C", "H"), bonds, x, {})
    assert sulfoxide.held == ("1 stereocentre",) and not sulfoxide.inverting
    # with equal arms no stereocentre, but exchanged arms are another domain
    phosphine = find_isomers(("P", "H", "H", "H"), bonds, x, {})
    assert phosphine.held == ("1 pyramid",) and len(phosphine.centres) == 1
    amine = find_isomers(("N", "O", "C", "H"), bonds, x, {})
    assert amine.held == () and amine.sampled == ("1 inversion",) and amine.inverting == (0,)


@pytest.fixture
def ring():
    """1,4-difluorocyclohexane, cis, without most of its hydrogens' geometry being good."""
    elements = ["C"] * 6 + ["F", "H"] * 2 + ["H"] * 8
    angle = np.arange(6) * np.pi / 3
    height = 0.025 * (-1.0) ** np.arange(6)
    carbons = 0.15 * np.stack([np.cos(angle), np.sin(angle), height / 0.15], 1)
    bonds = [(i, (i + 1) % 6) for i in range(6)]
    x = list(carbons)
    for carbon, names in ((0, (6, 7)), (3, (8, 9))):
        for atom, up in zip(names, (0.1, -0.1), strict=True):
            bonds.append((carbon, atom))
            x.append(carbons[carbon] * 1.4 + [0, 0, up])
    for k, carbon in enumerate((1, 2, 4, 5)):
        for side in range(2):
            bonds.append((carbon, 10 + 2 * k + side))
            x.append(carbons[carbon] * 1.4 + [0, 0, 0.09 * (-1) ** side])
    return elements, bonds, np.array(x)


def test_a_straight_line_between_two_groups_is_one_torsion():
    """2-butyne, and propyne, whose line ends in hydrogen."""
    x = [[0.15 * i, 0, 0] for i in range(4)] + [[-0.04, 0.1, 0], [0.49, 0.07, 0.07]]
    bonds = [(0, 1), (1, 2), (2, 3), (0, 4), (3, 5)]
    butyne = find_isomers("CCCCHH", bonds, np.array(x), {})
    assert butyne.sampled == ("1 torsion",) and butyne.turning == ((0, 1),)
    propyne = find_isomers("CCCHH", [*bonds[:3], (0, 4)], np.array(x[:5]), {})
    assert propyne.sampled == ()
