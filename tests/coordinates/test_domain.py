"""Conformations outside of the domain of a molecule have no volume."""

import math

import numpy as np
import pytest
import torch

from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.molecule import build_internal_coordinates
from onestep_md.coordinates.zmatrix import build_zmatrix


def test_the_mirror_image_has_no_volume(shipped):
    molecule = shipped("valine")
    coordinates = build_internal_coordinates(molecule)
    x = torch.from_numpy(molecule.positions)[None]
    both = torch.cat([x, -x])
    assert coordinates.domain.has_inverted_centre(both).tolist() == [False, True]
    q, log_det = coordinates.from_cartesian(both)
    assert log_det.isfinite().tolist() == [True, False]
    back, again = coordinates.to_cartesian(q)
    assert torch.equal(again.isfinite(), log_det.isfinite())
    assert coordinates.domain.has_inverted_centre(back).tolist() == [False, True]


def test_a_molecule_without_centres_has_no_chirality(shipped):
    molecule = shipped("glycine")
    coordinates = build_internal_coordinates(molecule)
    x = torch.from_numpy(molecule.positions)[None]
    assert not coordinates.domain.has_inverted_centre(torch.cat([x, -x])).any()
    assert coordinates.from_cartesian(-x)[1].isfinite().all()


def test_a_bond_of_no_coordinate_keeps_its_length_within_a_factor_of_two():
    """The last corner of a cube closes two rings, and has one bond more than coordinates."""
    corners = np.array(list(np.ndindex(2, 2, 2)))
    pairs = [(i, j) for i in range(8) for j in range(i)]
    bonds = [(i, j) for i, j in pairs if abs(corners[i] - corners[j]).sum() == 1]
    z = build_zmatrix(["C"] * 8, bonds, [], 0.15 * corners)
    ((i, j, length),) = z.loose
    assert length == pytest.approx(0.15)
    coordinates = InternalCoordinates(z)
    rng = np.random.default_rng(0)
    x = torch.as_tensor(0.15 * corners + 0.01 * rng.normal(size=(500, 8, 3)))
    q, inside = coordinates.from_cartesian(x)
    assert inside.isfinite().all()
    noise = torch.randn(q.shape, generator=torch.Generator().manual_seed(1)).double()
    x, log_det = coordinates.to_cartesian(q + torch.where(torch.arange(18) < 13, 0.0, noise))
    stretch = (x[:, i] - x[:, j]).norm(dim=-1) / length
    torn = (stretch < 0.5) | (stretch > 2.0)
    assert 10 < torn.sum() < 490 and (log_det[torn] == -math.inf).all()
    assert log_det[~torn].isfinite().any()
    again = coordinates.from_cartesian(x)[1]
    assert (again[torn] == -math.inf).all()
