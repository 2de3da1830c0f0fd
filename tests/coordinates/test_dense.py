"""Volumes from dense Jacobians of x are those that the charts say, whatever the coordinates."""

import numpy as np
import pytest
import torch

from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.flat import FlatChart
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.positions import PositionChart
from onestep_md.coordinates.zmatrix import build_zmatrix


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def molecular(elements, bonds, constraints, positions):
    """The chart of small vibrations about positions."""
    coordinates = InternalCoordinates(build_zmatrix(elements, bonds, constraints, positions))
    q, _ = coordinates.from_cartesian(torch.from_numpy(positions)[None])
    noise = normal(500, coordinates.dim)
    noise[:, : coordinates.n_bonds] *= 0.003
    noise[:, coordinates.n_bonds :] *= 0.03
    return MolecularChart.fit(coordinates, (q + noise.where(q > 0, noise.abs())))


def assert_same_volume(chart, n=20):
    s = chart.sample_base(n, torch.Generator().manual_seed(1))
    log_det = chart.to_x(s)[1]
    inside = log_det.isfinite()
    assert inside.sum() > n / 2
    s, log_det = s[inside], log_det[inside]
    along = torch.eye(s.shape[1]).double() + 0.1 * normal(*s.shape, s.shape[1])
    dense = chart.dense_log_det(s, along)
    torch.testing.assert_close(dense, log_det + torch.linalg.slogdet(along)[1], rtol=0, atol=1e-8)
    torch.testing.assert_close(chart.recover(s), s, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("rings", "constrained"), [(0, 0), (0, 4), (2, 0), (1, 3)])
def test_molecules_with_rings_and_constrained_bonds(random_molecule, rings, constrained):
    molecule = random_molecule(3, 12, rings)
    x = molecule.frames[0]
    hydrogens = [b for b in molecule.bonds if "H" in (molecule.elements[i] for i in b)]
    lengths = [(i, j, float(np.linalg.norm(x[i] - x[j]))) for i, j in hydrogens[:constrained]]
    chart = molecular(molecule.elements, molecule.bonds, lengths, x)
    assert chart.coordinates.constrained.shape == (2, min(constrained, len(hydrogens)))
    assert_same_volume(chart)


@pytest.mark.parametrize("elements", ["HH", "OCO", "HCCH", "HOH"])
def test_small_and_straight_molecules(elements):
    n = len(elements)
    x = np.zeros((n, 3))
    x[:, 0] = 0.12 * np.arange(n)
    x[-1, 1] += 0.1 * (elements == "HOH")
    assert_same_volume(molecular(list(elements), [(i, i + 1) for i in range(n - 1)], [], x))


def test_positions_of_atoms(shipped):
    molecule = shipped("alanine")
    coordinates = InternalCoordinates(
        build_zmatrix(molecule.elements, molecule.bonds, (), molecule.positions)
    )
    x = torch.from_numpy(molecule.positions) + 0.01 * normal(300, 22, 3)
    assert_same_volume(PositionChart.fit(x, coordinates, molecule.bonds, []))


def test_particles_and_coordinates_on_the_line():
    basis = torch.linalg.qr(torch.cat([torch.ones(4, 1).double(), normal(4, 3)], dim=1))[0][:, 1:]
    assert_same_volume(CartesianChart.fit(3.0 * normal(100, 6), basis, 2))
    modes = normal(4000, 3) + 8.0 * (normal(4000, 3, seed=1) > 1.0)
    assert_same_volume(FlatChart.fit(modes))
