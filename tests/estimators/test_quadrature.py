"""Quadrature over torsions against one- and two-dimensional integrals."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0

from onestep_md.estimators.quadrature import Coordinates, Quadrature, torsion_quadrature


def measure(energy, wells, turning, angular, points, width=0.1) -> Quadrature:
    known = Coordinates(
        np.array(turning, dtype=int), np.array(angular), np.full(len(angular), width)
    )
    wells = np.array(wells, dtype=float)
    return torsion_quadrature(energy, wells, known, points, 20_000, np.random.default_rng(1))


def assert_agrees(found: Quadrature, log_z: float, ess: float) -> None:
    assert abs(found.log_z.value - log_z) < 3.5 * found.log_z.error
    assert found.log_z.error < 0.02
    assert found.ess > ess


def test_a_gaussian_is_the_harmonic_limit():
    stiffness = np.array([[400.0, 90.0, 0.0], [90.0, 100.0, 10.0], [0.0, 10.0, 900.0]])

    def energy(q):
        return 2.0 + 0.5 * ((q - 1.0) @ stiffness * (q - 1.0)).sum(-1), (q - 1.0) @ stiffness

    found = measure(energy, [[0.9, 1.1, 1.0]], [], [False] * 3, 1)
    log_z = 1.5 * math.log(2.0 * math.pi) - 0.5 * np.linalg.slogdet(stiffness)[1] - 2.0
    assert_agrees(found, log_z, ess=0.9)


def test_a_torsion_that_a_soft_and_skewed_coordinate_follows():
    # integrated over y by hand: sqrt(2 pi / k(tau)) with a stiffness that depends on tau
    def stiffness(t):
        return 200.0 * (1.0 + 0.6 * np.cos(t))

    def energy(q):
        t, y = q.T
        k, off = stiffness(t), y - 0.3 * np.sin(2.0 * t)
        f = 3.0 * np.cos(3.0 * t) + 0.5 * k * off**2
        slope_t = -9.0 * np.sin(3.0 * t) - 60.0 * np.sin(t) * off**2
        slope_t -= 0.6 * k * off * np.cos(2.0 * t)
        return f, np.stack([slope_t, k * off], -1)

    found = measure(energy, [[0.3, 0.0]], [0], [True, False], 24)
    z, _ = quad(
        lambda t: np.exp(-3 * np.cos(3 * t)) * np.sqrt(2 * np.pi / stiffness(t)), -np.pi, np.pi
    )
    assert_agrees(found, math.log(z), ess=0.7)


def test_two_torsions_that_are_coupled():
    def energy(q):
        slope = -4.0 * np.sin(q[:, 0] - q[:, 1])
        return 4.0 * np.cos(q[:, 0] - q[:, 1]), np.stack([slope, -slope], -1)

    found = measure(energy, [[0.0, 0.0]], [0, 1], [True, True], 12)
    assert_agrees(found, math.log((2.0 * np.pi) ** 2 * i0(4.0)), ess=0.7)


@pytest.mark.parametrize("copies", [1, 3])
def test_wells_of_a_stiff_coordinate_are_all_counted_once(copies):
    def energy(q):
        y = q[:, 0]
        return 8.0 * (y**2 - 1.0) ** 2 + 0.5 * y, (32.0 * y * (y**2 - 1.0) + 0.5)[:, None]

    found = measure(energy, [[1.1], *[[-0.9]] * copies], [], [False], 1)
    z, _ = quad(lambda y: math.exp(-8.0 * (y * y - 1.0) ** 2 - 0.5 * y), -3.0, 3.0)
    assert_agrees(found, math.log(z), ess=0.5)


def test_what_lies_outside_of_the_coordinates_weighs_nothing():
    def energy(q):
        y = q[:, 0]
        return np.where(y > 0.5, 0.5 * y**2, np.inf), np.where(y > 0.5, y, 0.0)[:, None]

    found = measure(energy, [[1.0]], [], [False], 1, width=1.0)
    z = math.sqrt(0.5 * math.pi) * math.erfc(0.5 / math.sqrt(2.0))
    assert_agrees(found, math.log(z), ess=0.3)
