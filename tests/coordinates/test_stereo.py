"""Stereocentres: which atoms they are, and what becomes of molecules of the wrong hand."""

import numpy as np
import pytest
import torch

from onestep_md.coordinates.molecule import internal_coordinates
from onestep_md.coordinates.stereo import hands, stereocentres, twins

# stereocentres by residue and atom
KNOWN = {
    "alanine": ["ALA:2 CA"],
    "glycine": [],
    "valine": ["VAL:2 CA"],
    "trialanine": ["ALA:2 CA", "ALA:3 CA", "ALA:4 CA"],
    "thymidine": ["DT:1 C1'", "DT:1 C3'", "DT:1 C4'"],
}


@pytest.mark.parametrize("name", KNOWN)
def test_centres_are_the_known_ones(shipped, name):
    files = ("amber14/DNA.OL15.xml",) if name == "thymidine" else ()
    molecule = shipped(name, *files)
    found = stereocentres(molecule.elements, molecule.bonds, molecule.positions)
    names = [f"{molecule.residues[i]} {molecule.atom_names[i]}" for i, *_ in found]
    assert sorted(names) == KNOWN[name]
    for i, *arms in found:
        assert np.linalg.det(molecule.positions[arms] - molecule.positions[i]) > 0


def test_the_wrong_hand_has_no_weight(shipped):
    molecule = shipped("valine")
    coordinates = internal_coordinates(molecule)
    x = torch.from_numpy(molecule.positions)[None]
    both = torch.cat([x, -x])
    assert coordinates.wrong_handed(both).tolist() == [False, True]
    q, log_det = coordinates.from_cartesian(both)
    assert log_det.isfinite().tolist() == [True, False]
    back, again = coordinates.to_cartesian(q)
    assert torch.equal(again.isfinite(), log_det.isfinite())
    assert coordinates.wrong_handed(back).tolist() == [False, True]


def test_a_molecule_without_centres_has_no_hand(shipped):
    molecule = shipped("glycine")
    coordinates = internal_coordinates(molecule)
    x = torch.from_numpy(molecule.positions)[None]
    assert not coordinates.wrong_handed(torch.cat([x, -x])).any()
    assert coordinates.from_cartesian(-x)[1].isfinite().all()


def test_twins_are_hydrogens_of_one_carbon_and_oxygens_of_one_acid(shipped):
    molecule = shipped("valine")
    groups = twins(molecule.elements, molecule.bonds)
    names = sorted(len(group) for group in groups), {molecule.elements[g[0]] for g in groups}
    assert names == ([3, 3, 3, 3], {"H"})  # two caps and two arms
    acid = ("C", "O", "O", "C", "H", "H", "H")
    bonds = [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6)]
    assert sorted(twins(acid, bonds)) == [(1, 2), (4, 5, 6)]


def test_numbers_give_a_hand_to_what_has_two_equal_arms(shipped):
    molecule = shipped("valine")
    arguments = molecule.elements, molecule.bonds, molecule.positions
    found = [f"{molecule.residues[i]} {molecule.atom_names[i]}" for i, *_ in hands(*arguments)]
    assert sorted(found) == ["VAL:2 CA", "VAL:2 CB"]
    assert set(stereocentres(*arguments)) < set(hands(*arguments))
