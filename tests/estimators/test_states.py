"""Free energies of several states from one set of samples: Gaussians, whose log Z is known."""

import numpy as np
import pytest

from onestep_md.estimators.estimate import Estimate, disagree
from onestep_md.estimators.states import log_z_covariance, mbar, reweight

MEANS = (0.0, 0.1, 1.0)
WIDTH = 1.3  # of the flow
DEPTH = 300.0  # kT between the states


def log_q(x):
    return -0.5 * (x / WIDTH) ** 2 - np.log(WIDTH * np.sqrt(2.0 * np.pi))


def energies(x):
    return np.stack([0.5 * (x - mean) ** 2 + DEPTH * k for k, mean in enumerate(MEANS)])


TRUE = np.array([0.5 * np.log(2.0 * np.pi) - DEPTH * k for k in range(3)])


def z_scores(seed):
    """Of log Z of the three states and the difference of two, by both estimators."""
    generator = np.random.default_rng(seed)
    x, frames = WIDTH * generator.normal(size=2000), generator.normal(size=300)
    log_w = -energies(x) - log_q(x)
    c = log_z_covariance(log_w)
    single = [reweight(row).log_z for row in log_w]
    np.testing.assert_allclose(np.sqrt(np.diag(c)), [e.error for e in single], rtol=1e-6)
    error = np.sqrt(c[0, 0] + c[1, 1] - 2.0 * c[0, 1])
    assert error < 0.5 * np.hypot(single[0].error, single[1].error)  # they share their samples
    difference = Estimate(single[1].value - single[0].value, float(error))
    both = mbar(log_q(x), energies(x), log_q(frames), energies(frames), 1.0, None)
    assert all(b.error < s.error for b, s in zip(both, single, strict=True))
    estimates = [*single, difference, *both]
    true = [*TRUE, TRUE[1] - TRUE[0], *TRUE]
    return [(e.value - t) / e.error for e, t in zip(estimates, true, strict=True)]


def test_errors_cover():
    square = np.square([z_scores(seed) for seed in range(60)]).mean(axis=0)
    assert (square > 0.5).all() and (square < 1.7).all(), square


def test_samples_without_energy_weigh_nothing_and_spoil_nothing():
    x = WIDTH * np.random.default_rng(1).normal(size=4000)
    log_w = -energies(x)[0] - log_q(x)
    log_w[np.abs(x) > 2.0] = -np.inf  # the state has walls
    found = reweight(log_w)
    inside = np.log(np.sqrt(2.0 * np.pi) * 0.9545)
    assert abs(found.log_z.value - inside) < 4.0 * found.log_z.error
    assert found.missing == (np.abs(x) > 2.0).sum() and found.reliable


def test_what_does_not_overlap_is_not_reliable():
    x = WIDTH * np.random.default_rng(1).normal(size=4000)
    far = reweight(-0.5 * ((x - 9.0) / 0.3) ** 2 - log_q(x))
    assert not far.reliable
    nothing = reweight(np.full(100, -np.inf))
    assert not nothing.reliable and np.isnan(nothing.log_z.value)
    covariance = log_z_covariance(np.stack([np.zeros(100), np.full(100, -np.inf)]))
    np.testing.assert_array_equal(covariance, 0.0)


def test_the_bias_of_a_mean_of_weights_is_of_second_order():
    generator = np.random.default_rng(2)
    off, expected = [], []
    for _ in range(400):
        found = reweight(0.8 * generator.normal(size=100) - 0.32)  # <w> = 1
        off.append(found.log_z.value)
        expected.append(found.bias)
    assert np.mean(off) == pytest.approx(np.mean(expected), abs=4.0 * np.std(off) / 20.0)
    assert np.mean(expected) < -0.003


def test_too_few_frames_are_no_estimate():
    x = np.random.default_rng(0).normal(size=100)
    for estimate in mbar(log_q(x), energies(x), log_q(x[:2]), energies(x[:2]), 1.0, None):
        assert np.isnan(estimate.value) and "2 independent frames" in estimate.reason


def test_disagreement_is_in_combined_errors():
    assert disagree(Estimate(0.0, 0.1), Estimate(1.0, 0.1))
    assert not disagree(Estimate(0.0, 0.1), Estimate(0.3, 0.1))
    assert not disagree(Estimate(0.0, 0.1), Estimate(float("nan"), float("nan")))
