"""The MALA kernel of annealing against closed forms."""

import numpy as np
import pytest
from energies import Energy, correlated, gaussian

from onestep_md.exploration.mala import adapt_step, mala, optimal_step


def moved(energy, x, covariance, moves, step, seed=0):
    return mala(
        energy, x, *energy.evaluate(x), covariance, step, moves, np.random.default_rng(seed)
    )


@pytest.mark.parametrize("preconditioner", ["exact", "variances", "round"])
def test_mala_leaves_a_gaussian_invariant(preconditioner):
    mean, covariance = np.array([1.0, -2.0, 0.5]), correlated(3, 0.2, 3.0)
    energy, _ = gaussian(mean, covariance)
    n = 20_000
    x = mean + np.random.default_rng(1).normal(size=(n, 3)) @ np.linalg.cholesky(covariance).T
    variances = np.diag(np.diag(covariance))
    choices = {"exact": covariance, "variances": variances, "round": 0.5 * np.eye(3)}
    matrix = choices[preconditioner]
    y, u, grad_u, acceptance = moved(energy, x, matrix, 16, 1.2)
    assert 0.2 < acceptance < 0.95
    for array, expected in zip((u, grad_u), energy.evaluate(y), strict=True):
        np.testing.assert_array_equal(array, expected)
    z = (y - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    assert np.abs(z.mean(axis=0) * np.sqrt(n)).max() < 4
    moments = z.T @ z / n - np.eye(3)
    assert np.abs(moments * np.sqrt(n / (1 + np.eye(3)))).max() < 4
    assert abs((z**3).mean() * np.sqrt(3 * n / 15)) < 4
    assert abs(((z**4).mean() - 3) * np.sqrt(3 * n / 96)) < 4


def test_mala_forgets_where_it_started():
    covariance = correlated(4, 0.01, 10.0)
    energy, _ = gaussian(np.zeros(4), covariance)
    x = np.full((5_000, 4), 3.0)
    y, u, _, _ = moved(energy, x, covariance, 60, optimal_step(4))
    assert abs((u.mean() - 2.0) / np.sqrt(2.0 / len(u))) < 4  # <u> = dim / 2, var u = dim / 2
    assert np.abs(y.mean(axis=0) / np.sqrt(np.diag(covariance) / len(y))).max() < 4


def test_mala_is_in_detailed_balance():
    """In equilibrium as many samples go from any bin to any other as come back."""
    energy = Energy(lambda x: (((x**2 - 1) ** 2).sum(axis=1), 4 * x * (x**2 - 1)))
    grid = np.linspace(-3, 3, 4001)
    cumulative = np.cumsum(np.exp(-energy.evaluate(grid[:, None])[0]))
    uniforms = np.random.default_rng(0).random(400_000)
    x = np.interp(uniforms, cumulative / cumulative[-1], grid)[:, None]
    y = moved(energy, x, 0.5 * np.eye(1), 1, 1.5)[0]
    edges = np.array([-1.2, -0.9, -0.5, 0.0, 0.5, 0.9, 1.2])
    bins = len(edges) + 1
    joint = np.searchsorted(edges, x[:, 0]) * bins + np.searchsorted(edges, y[:, 0])
    flux = np.bincount(joint, minlength=bins**2).reshape(bins, bins)
    both, net = flux + flux.T, flux - flux.T
    z = (net / np.sqrt(np.maximum(both, 1)))[np.triu_indices(bins, 1)]
    assert (both > 100).sum() > 40
    assert np.abs(z).max() < 4
    assert 0.6 < np.sqrt((z**2).mean()) < 1.4


def test_mala_stays_inside_walls():
    """exp(-x) on 0 < x < 1."""

    def formula(x):
        inside = ((x > 0) & (x < 1)).all(axis=1)
        return np.where(inside, x.sum(axis=1), np.inf), np.ones_like(x)

    x = np.full((20_000, 1), 0.5)
    y, u, _, _ = moved(Energy(formula), x, 0.1 * np.eye(1), 60, 1.0)
    assert np.isfinite(u).all() and y.min() > 0 and y.max() < 1
    exact = 1 - 1 / (np.e - 1)
    assert abs((y.mean() - exact) / (y.std() / np.sqrt(len(y)))) < 4


def test_mala_survives_a_gradient_that_overflows():
    energy = Energy(lambda x: ((x**8).sum(axis=1), 8 * x**7))
    x = np.full((100, 2), 1e30)
    y, u, _, acceptance = moved(energy, x, 1e90 * np.eye(2), 4, 1.0)
    assert acceptance == 0.0 and np.isfinite(u).all()
    np.testing.assert_array_equal(y, x)


def test_step_follows_the_acceptance():
    assert adapt_step(0.3, 0.6) == pytest.approx(0.3)
    assert adapt_step(0.3, 0.1) < 0.3 < adapt_step(0.3, 0.9)
