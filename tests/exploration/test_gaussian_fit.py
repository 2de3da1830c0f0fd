"""Gaussians from forces: where samples are too few for a covariance."""

import numpy as np
import pytest
import torch

from onestep_md.coordinates.flat import fit_flat_chart
from onestep_md.coordinates.linear_forces import fit_linear_forces
from onestep_md.exploration.annealing import anneal
from onestep_md.exploration.base_density import Checked
from onestep_md.exploration.gaussian_fit import fit_gaussian

DIM = 40
BENT = 0.3  # of the exponential that makes densities skew


class Energy:
    """U = sum_k f(y_k) of y = C (x - m), and its gradient."""

    def __init__(self, f, slope, condition=30.0):
        generator = np.random.default_rng(5)
        axes = np.linalg.qr(generator.normal(size=(DIM, DIM)))[0]
        self.c = (axes / np.sqrt(np.geomspace(1.0 / condition, condition, DIM))) @ axes.T
        self.mean = generator.normal(size=DIM)
        self.f, self.slope, self.rows = f, slope, 0

    def evaluate(self, x):
        self.rows += len(x)
        y = (x - self.mean) @ self.c.T
        return self.f(y).sum(1), self.slope(y) @ self.c

    @property
    def log_z(self):
        y = np.linspace(-30.0, 30.0, 600_001)
        return DIM * np.log(np.exp(-self.f(y)).sum() * (y[1] - y[0])) - np.log(
            np.linalg.det(self.c)
        )


def normal():
    return Energy(lambda y: 0.5 * y**2, lambda y: y)


def skew():
    return Energy(lambda y: 0.5 * y**2 + BENT * np.exp(y), lambda y: y + BENT * np.exp(y))


def wells():
    return Energy(lambda y: (y**2 - 4.0) ** 2, lambda y: 4.0 * y * (y**2 - 4.0))


def test_forces_of_a_gaussian_tell_it_exactly():
    energy = normal()
    x = 3.0 * np.random.default_rng(0).normal(size=(90, DIM))  # samples of something else
    mean, precision = fit_linear_forces(x, energy.evaluate(x)[1])
    np.testing.assert_allclose(mean, energy.mean, atol=1e-8)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(covariance @ (energy.c.T @ energy.c), np.eye(DIM), atol=1e-7)


@pytest.mark.parametrize(("energy", "rows"), [(normal(), 79), (wells(), 390)])
def test_too_few_samples_and_bent_forces_tell_nothing(energy, rows):
    x = energy.mean + 2.0 * np.random.default_rng(0).normal(size=(rows, DIM))
    assert fit_linear_forces(x, energy.evaluate(x)[1]) is None


def test_a_slope_that_falls_is_no_gaussian():
    x = np.random.default_rng(0).normal(size=(390, DIM))
    flat = np.ones(DIM)
    flat[0] = -1.0
    assert fit_linear_forces(x, x * flat) is None


def test_nearest_gaussian_of_a_skew_density():
    """<grad u> = 0 and <Hessian u> = S^-1, by samples of the Gaussian that were not fitted to."""
    energy = skew()
    found = fit_gaussian(Checked(energy), DIM, 390, np.random.default_rng(0))
    y = (found.sample(20_000, np.random.default_rng(1)) - energy.mean) @ energy.c.T
    width = np.sqrt(np.diag(energy.c @ np.linalg.inv(found.precision) @ energy.c.T))
    np.testing.assert_allclose(energy.slope(y).mean(0) * width, 0.0, atol=0.1)
    np.testing.assert_allclose((1.0 + BENT * np.exp(y)).mean(0) * width**2, 1.0, atol=0.1)


def test_wells_are_left_to_the_pilots():
    energy = wells()
    assert fit_gaussian(Checked(energy), DIM, 390, np.random.default_rng(0)) is None
    assert np.isfinite(anneal(energy, DIM, 390, 0, 2).log_z)


def test_annealing_of_many_dimensions_with_few_particles():
    energy = skew()
    found = [anneal(energy, DIM, 390, seed) for seed in range(8)]
    error = np.array([a.log_z for a in found]) - energy.log_z
    assert abs(error.mean() / (error.std(ddof=1) / 8**0.5)) < 4
    assert np.abs(error).max() < 0.5
    # a pilot alone has more
    assert max(len(a.temperatures) for a in found) < 12


def test_chart_of_few_samples_knows_the_gaussian():
    energy = normal()
    y = np.random.default_rng(0).normal(size=(100, DIM))
    x = energy.mean + np.linalg.solve(energy.c, y.T).T
    chart = fit_flat_chart(x, energy.evaluate(x)[1])
    s = chart.sample_base(50, torch.Generator().manual_seed(0))
    y, log_det = chart.to_x(s)
    log_w = -energy.evaluate(y.numpy())[0] + log_det.numpy() - chart.log_base(s).numpy()
    np.testing.assert_allclose(log_w, energy.log_z, atol=1e-5)
