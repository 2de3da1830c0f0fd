"""The chart of atoms from a Gaussian: its volume is that of internal coordinates; chirality."""

import math

import numpy as np
import pytest
import torch

from onestep_md.coordinates.alignment import kabsch_rotation
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.molecule import build_internal_coordinates
from onestep_md.coordinates.positions import PositionChart
from onestep_md.coordinates.stereo import find_equivalent_atoms, find_tetrahedral_centres
from onestep_md.coordinates.zmatrix import build_zmatrix


def normal(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def coordinates(shipped):
    molecule = shipped("alanine")
    centres = find_tetrahedral_centres(molecule.elements, molecule.bonds, molecule.positions)
    return build_internal_coordinates(molecule, centres)


@pytest.fixture(scope="module")
def frames(shipped):
    """Vibrations of alanine in all orientations, anywhere."""
    x = torch.from_numpy(shipped("alanine").positions) + 0.01 * normal(300, 22, 3)
    turn = torch.linalg.qr(normal(300, 3, 3, seed=2))[0]
    turn = turn * torch.linalg.det(turn)[:, None, None]
    return x @ turn + normal(300, 1, 3, seed=3)


@pytest.fixture(scope="module")
def chart(frames, coordinates, shipped):
    molecule = shipped("alanine")
    groups = find_equivalent_atoms(molecule.elements, molecule.bonds)
    return PositionChart.fit(frames, coordinates, molecule.bonds, groups)


def test_states_of_frames_are_inverted_and_normal(chart, frames):
    s, log_det = chart.from_x(frames)
    assert s.shape == (300, chart.n_linear) and chart.n_linear == 43 * 3 and chart.n_circular == 0
    x, again = chart.to_x(s)
    torch.testing.assert_close(x, frames - frames.mean(1, keepdim=True))
    torch.testing.assert_close(again, log_det)
    assert log_det.isfinite().all() and torch.equal(chart.from_x(frames)[0], s)


def test_the_base_has_the_covariance_of_the_frames(frames, coordinates):
    chart = PositionChart.fit(frames, coordinates, [], [])
    rows = chart.from_x(frames)[0][:, : chart.free].unflatten(-1, (-1, 3))
    covariance = torch.einsum("bik,bjk->ij", rows, rows) / (3 * len(rows))
    torch.testing.assert_close(covariance, torch.eye(21, dtype=torch.float64))


def test_log_z_is_that_of_internal_coordinates():
    """Four atoms on springs to their centre, by quadrature over bonds, angles and the torsion."""
    stiffness, chain = 4.0, [(0, 1), (1, 2), (2, 3)]
    coordinates = InternalCoordinates(build_zmatrix("HOOH", chain, (), normal(4, 3).numpy()))
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(12))
    ends = 3 * [(0.0, 4.0)] + 2 * [(0.0, math.pi)] + [(-math.pi, math.pi)]
    q = torch.cartesian_prod(*(low + 0.5 * (high - low) * (nodes + 1) for low, high in ends))
    cell = torch.cartesian_prod(*(0.5 * (high - low) * weights for low, high in ends)).prod(-1)
    x, log_det = coordinates.to_cartesian(q)

    def energy(x):
        return 0.5 * stiffness * (x - x.mean(1, keepdim=True)).square().sum((1, 2))

    log_z = math.log((cell * (log_det - energy(x)).exp()).sum())

    chart = PositionChart.fit(normal(50_000, 4, 3) / math.sqrt(stiffness), coordinates, chain, [])
    z = chart.sample_base(20_000, torch.Generator().manual_seed(0))
    x, log_det = chart.to_x(z)
    log_w = -energy(x) - (chart.log_base(z) - log_det)
    assert log_w.std() < 0.05  # the base is the target, but for its fit
    assert float(torch.logsumexp(log_w, 0)) - math.log(20_000) == pytest.approx(log_z, abs=1e-3)


def test_log_z_of_two_atoms_is_that_of_their_bond():
    """r^2 dr: Z = int r^2 exp(-r^2) dr = sqrt(pi) / 4."""
    coordinates = InternalCoordinates(build_zmatrix("HH", [(0, 1)], (), normal(2, 3).numpy()))
    chart = PositionChart.fit(normal(500, 2, 3, seed=5), coordinates, [(0, 1)], [])
    s = chart.sample_base(20_000, torch.Generator().manual_seed(6))
    x, log_det = chart.to_x(s)
    energy = (x[:, 0] - x[:, 1]).square().sum(-1)
    w = (log_det - energy - chart.log_base(s)).exp()
    assert abs(w.mean() - math.sqrt(math.pi) / 4.0) < 4.0 * w.std() / len(w) ** 0.5 < 0.02


def test_copies_of_equivalent_atoms_are_alike_and_counted(chart, frames, coordinates, shipped):
    molecule = shipped("alanine")
    groups = find_equivalent_atoms(molecule.elements, molecule.bonds)
    covariance = chart.spread @ chart.spread.T
    for group in groups:  # exchanged, they have the same covariance
        order = torch.arange(22)
        order[list(group)] = torch.tensor(group).roll(1)
        torch.testing.assert_close(covariance[order][:, order], covariance)
    # three methyls: eight copies
    alone = PositionChart.fit(frames, coordinates, molecule.bonds, [])
    volumes = [
        c.log_volume - 3 * torch.linalg.svdvals(c.spread).log().sum() for c in (alone, chart)
    ]
    assert float(volumes[0] - volumes[1]) == pytest.approx(3 * math.log(2.0))


def test_the_mirror_image_lies_outside(chart, frames):
    s, _ = chart.from_x(frames)
    mirrored = s * torch.tensor([1.0, 1.0, -1.0]).repeat(chart.n_linear // 3)
    x, log_det = chart.to_x(mirrored)
    assert (log_det == -torch.inf).all() and chart.coordinates.domain.has_inverted_centre(x).all()
    assert (chart.pull_back(mirrored, torch.ones_like(x)) == 0.0).all()


def test_pull_back_is_the_gradient_of_the_log_density(chart, frames):
    point = chart.from_x(frames[:20])[0].requires_grad_()
    x, log_det = chart.to_x(point)
    grad_u = x.detach().sin()  # of -sum cos x
    (expected,) = torch.autograd.grad((x.cos().sum((1, 2)) + log_det).sum(), point)
    torch.testing.assert_close(chart.pull_back(point.detach(), grad_u), expected)
    again = chart.pull_back_frames(point.detach(), x.detach(), grad_u)
    torch.testing.assert_close(again, expected)


def test_nearest_image_undoes_a_rotation(chart):
    s = chart.sample_base(30, torch.Generator().manual_seed(5))
    turn = kabsch_rotation(normal(30, 5, 3), normal(30, 5, 3, seed=2))
    z = (s.unflatten(-1, (-1, 3)) @ turn).flatten(1)
    torch.testing.assert_close(chart.align(z, s), s, rtol=0, atol=1e-10)
    other = chart.sample_base(30, torch.Generator().manual_seed(6))
    image = chart.align(other, s)
    near = (image - s)[:, : chart.free], (other - s)[:, : chart.free]
    spread = (
        chart.spread @ near[0].unflatten(-1, (-1, 3)),
        chart.spread @ near[1].unflatten(-1, (-1, 3)),
    )
    assert (spread[0].flatten(1).norm(dim=1) < spread[1].flatten(1).norm(dim=1)).all()
    torch.testing.assert_close(chart.log_base(image), chart.log_base(other))
