"""The harmonic limit against closed forms, and against a z-matrix that it knows nothing of."""

import math

import numpy as np
import pytest
import torch

from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.zmatrix import build_zmatrix
from onestep_md.estimators.harmonic import harmonic_log_z


def test_two_atoms_on_a_spring():
    # the integral of r^2 exp(-k (r - r_0)^2 / 2) dr, at leading order
    k, rest = 2.0e5, 0.12
    stretch = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]).ravel()
    hessian = k * np.outer(stretch, stretch).reshape(2, 3, 2, 3)
    x = np.array([[rest, 0.0, 0.0], [0.0, 0.0, 0.0]])
    expected = 2.0 * math.log(rest) + 0.5 * math.log(2.0 * math.pi / k) - 3.0
    assert harmonic_log_z(3.0, hessian, x) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("ring", [False, True])
def test_equals_the_limit_in_bonds_angles_and_torsions(ring):
    generator = np.random.default_rng(5)
    x = np.array([[0, 0, 0], [1.2, 0, 0.1], [1.9, 1.1, 0], [0.8, 1.9, 0.7], [-0.4, 1.1, 0.6]]) / 8
    bonds = [(0, 1), (1, 2), (2, 3), (3, 4), *([(4, 0)] if ring else [])]
    coordinates = InternalCoordinates(build_zmatrix("CCCCC", bonds, [], x))
    q, log_det = coordinates.from_cartesian(torch.from_numpy(x)[None])
    factor = generator.normal(size=(2 * coordinates.dim, coordinates.dim)) * 30.0
    stiffness = factor.T @ factor

    def measured(flat):
        return coordinates.from_cartesian(flat.reshape(1, 5, 3))[0][0]

    jacobian = torch.autograd.functional.jacobian(measured, torch.from_numpy(x).ravel()).numpy()
    hessian = (jacobian.T @ stiffness @ jacobian).reshape(5, 3, 5, 3)
    expected = float(log_det) + 0.5 * coordinates.dim * math.log(2.0 * math.pi)
    expected -= 0.5 * np.linalg.slogdet(stiffness)[1]
    assert harmonic_log_z(0.0, hessian, x) == pytest.approx(expected, abs=1e-6)


def test_a_saddle_is_refused():
    hessian = -np.eye(12).reshape(4, 3, 4, 3)
    with pytest.raises(ValueError, match="not a minimum"):
        harmonic_log_z(0.0, hessian, np.random.default_rng(0).normal(size=(4, 3)))


def test_three_atoms_on_a_line_bend_in_two_directions():
    # z-matrix: b1^2 b2^2 sin(theta) db1 db2 dtheta with a bend k (pi - theta)^2 / 2, which is the
    # integral of sin(theta), 1 / k for a stiff one
    k_bond, k_bend, rest = 3.0e5, 500.0, 0.116
    stretches = [
        np.array([[-1, 0, 0], [1, 0, 0], [0, 0, 0]]),
        np.array([[0, 0, 0], [-1, 0, 0], [1, 0, 0]]),
    ]
    bends = [np.zeros((3, 3)), np.zeros((3, 3))]
    for axis, bend in enumerate(bends, start=1):
        bend[:, axis] = np.array([1.0, -2.0, 1.0]) / rest
    moves = [(k_bond, move) for move in stretches] + [(k_bend, move) for move in bends]
    hessian = sum(k * np.outer(move.ravel(), move.ravel()) for k, move in moves)
    x = np.array([[-rest, 0, 0], [0, 0, 0], [rest, 0, 0]])
    expected = 4.0 * math.log(rest) + math.log(2.0 * math.pi / k_bond) - math.log(k_bend)
    found = harmonic_log_z(0.0, hessian.reshape(3, 3, 3, 3), x)
    assert found == pytest.approx(expected, abs=1e-10)
