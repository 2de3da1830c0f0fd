"""Stereocentres and equivalent atoms of known molecules."""

import numpy as np
import pytest
from labels import residue_labels

from onestep_md.coordinates.stereo import (
    find_equivalent_atoms,
    find_stereocentres,
    find_tetrahedral_centres,
)

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
    found = find_stereocentres(molecule.elements, molecule.bonds, molecule.positions)
    residues = residue_labels(molecule)
    names = [f"{residues[i]} {molecule.atom_names[i]}" for i, *_ in found]
    assert sorted(names) == KNOWN[name]
    for i, *arms in found:
        assert np.linalg.det(molecule.positions[arms] - molecule.positions[i]) > 0


def test_equivalent_atoms_are_hydrogens_of_one_carbon_and_oxygens_of_one_acid(shipped):
    molecule = shipped("valine")
    groups = find_equivalent_atoms(molecule.elements, molecule.bonds)
    names = sorted(len(group) for group in groups), {molecule.elements[g[0]] for g in groups}
    assert names == ([3, 3, 3, 3], {"H"})  # two caps and two arms
    acid = ("C", "O", "O", "C", "H", "H", "H")
    bonds = [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6)]
    assert sorted(find_equivalent_atoms(acid, bonds)) == [(1, 2), (4, 5, 6)]


def test_prochiral_centres_are_tetrahedral_centres_too(shipped):
    molecule = shipped("valine")
    arguments = molecule.elements, molecule.bonds, molecule.positions
    residues = residue_labels(molecule)
    found = [
        f"{residues[i]} {molecule.atom_names[i]}" for i, *_ in find_tetrahedral_centres(*arguments)
    ]
    assert sorted(found) == ["VAL:2 CA", "VAL:2 CB"]
    assert set(find_stereocentres(*arguments)) < set(find_tetrahedral_centres(*arguments))
