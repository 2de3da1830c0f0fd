"""Histograms of weighted samples with several values each, against closed forms."""

import numpy as np
import pytest

from onestep_md.estimators.histograms import histogram, histograms, pair_distances


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_pair_distances_are_those_of_the_pairs(generator):
    x = generator.standard_normal((5, 3, 2))
    for row, found in zip(x, pair_distances(x), strict=True):
        expected = [np.linalg.norm(row[i] - row[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        np.testing.assert_allclose(found, expected)
    chosen = pair_distances(x, np.array([[2, 1]]))
    np.testing.assert_allclose(chosen, pair_distances(x)[:, 2:])


def test_histogram_of_equal_and_of_unequal_weights(generator):
    values = generator.uniform(size=(4000, 3))
    edges = np.linspace(0.0, 1.0, 11)
    density, error = histogram(values, np.zeros(4000), edges)
    expected, _ = np.histogram(values, edges, density=True)
    np.testing.assert_allclose(density, expected)
    # a tenth of 12,000 independent values is in each bin
    np.testing.assert_allclose(error, 10 * np.sqrt(0.09 / 12_000), rtol=0.1)
    # density 2 v, by weights of the first value; the other two stay uniform
    density, _ = histogram(values, np.log(values[:, 0]), edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    np.testing.assert_allclose(density, (2 * middle + 2.0) / 3.0, atol=0.1)
    assert histogram(values + 5.0, np.zeros(4000), edges)[0].sum() == 0.0


def test_the_range_is_that_of_the_reference(generator):
    values, equal = generator.uniform(1.0, 2.0, size=(1000, 2)), np.zeros(1000)
    arrays = histograms("length", {"all": (values, equal)}, values, positive=True)
    edges = arrays["length_edges"]
    np.testing.assert_allclose((edges[0], edges[-1]), (0.8, 2.2), atol=0.02)
    density, error = arrays["length_all"]
    np.testing.assert_allclose(density.sum() * (edges[1] - edges[0]), 1.0)
    assert ((error == 0.0) == (density == 0.0)).all()
    near_zero = histograms("length", {"all": (values - 1.0, equal)}, values - 1.0, positive=True)
    assert near_zero["length_edges"][0] == 0.0
    signed = histograms("energy", {"all": (values - 1.0, equal)}, values - 1.0, positive=False)
    assert signed["energy_edges"][0] < 0.0
