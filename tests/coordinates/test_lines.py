"""Internal coordinates of atoms in a straight line: round trips and log-determinants."""

import numpy as np
import pytest
import torch
from shapes import distances, signed_volumes
from torch.autograd.functional import jacobian

from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.zmatrix import build_zmatrix

LINES = [(2, 0), (3, 0), (4, 0), (6, 0), (4, 3)]  # atoms in a row, hydrogens of a methyl there


@pytest.fixture
def build_line():
    def build(n: int, hydrogens: int):
        """Coordinates and 64 frames of a line that bends by some 6 degrees."""
        rng = np.random.default_rng(n)
        x = np.zeros((n + hydrogens, 3))
        x[:n, 0] = 0.12 * np.arange(n)
        turn = 2 * np.pi * np.arange(hydrogens) / 3
        x[n:] = np.stack([0 * turn - 0.036, 0.1 * np.cos(turn), 0.1 * np.sin(turn)], axis=1)
        bonds = [(i, i + 1) for i in range(n - 1)] + [(0, n + i) for i in range(hydrogens)]
        elements = ["C"] * n + ["H"] * hydrogens
        coordinates = InternalCoordinates(build_zmatrix(elements, bonds, [], x))
        return coordinates, torch.as_tensor(x + 0.01 * rng.normal(size=(64, *x.shape)))

    return build


@pytest.mark.parametrize(("n", "hydrogens"), LINES)
def test_lines_round_trip(n, hydrogens, build_line):
    coordinates, x = build_line(n, hydrogens)
    q, log_det = coordinates.from_cartesian(x)
    assert q.shape == (64, max(1, 3 * x.shape[1] - 6)) and log_det.isfinite().all()
    back, log_det_back = coordinates.to_cartesian(q)
    np.testing.assert_allclose(distances(back), distances(x), atol=1e-12)
    np.testing.assert_allclose(signed_volumes(back), signed_volumes(x), atol=1e-12)
    np.testing.assert_allclose(log_det, log_det_back, atol=1e-10)


@pytest.mark.parametrize(("n", "hydrogens"), LINES)
def test_log_det_of_lines_is_that_of_the_dense_jacobian(n, hydrogens, build_line):
    """As for other molecules; two atoms have two rotations of volume 4 pi."""
    coordinates, frames = build_line(n, hydrogens)
    rotations = 2 if coordinates.n_atoms == 2 else 3
    for x in frames[:5]:
        q, expected = coordinates.from_cartesian(x[None])

        def everything(p):
            x, _ = coordinates.to_cartesian(p[3 + rotations :][None])
            zero = torch.zeros((), dtype=torch.float64)
            w = torch.cat([torch.zeros(3 - rotations).double(), p[3 : 3 + rotations]])
            skew = torch.stack([zero, -w[2], w[1], w[2], zero, -w[0], -w[1], w[0], zero])
            return (x[0] @ torch.matrix_exp(skew.reshape(3, 3)).T + p[:3]).reshape(-1)

        p = torch.cat([torch.zeros(3 + rotations, dtype=torch.float64), q[0]])
        dense = jacobian(everything, p)
        assert dense.shape == 2 * (3 * coordinates.n_atoms,)
        assert abs(torch.linalg.slogdet(dense)[1] - expected[0]) < 1e-9


def test_what_is_bent_too_far_has_no_volume(build_line):
    coordinates, x = build_line(4, 0)
    q, _ = coordinates.from_cartesian(x[:1])
    bad = q.repeat(4, 1)
    bends = [name.startswith("bend") for name in coordinates.names].index(True)
    bad[0, bends], bad[1, bends], bad[2, bends + 1] = -0.1, 1.5, 2.1  # R < 0, > 2, > 2
    x, log_det = coordinates.to_cartesian(bad)
    assert log_det.isfinite().tolist() == [False, False, False, True] and x.isfinite().all()
