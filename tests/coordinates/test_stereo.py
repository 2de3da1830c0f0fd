"""Stereocentres: which atoms they are, and what becomes of molecules of the wrong hand."""

import numpy as np
import pytest
import torch

from onestep_md.coordinates.stereo import stereocentres
from onestep_md.energy_exploration import internal_coordinates

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
