"""Weights against closed forms: p = N(M, S^2), q = N(0, 1), and Pareto tails of known index."""

import numpy as np
import pytest
from scipy.special import logsumexp

from onestep_md.errors import OneStepError
from onestep_md.estimators import weights
from onestep_md.estimators.limits import ESS_KHAT_LIMIT, NEGLIGIBLE, khat_limit

M, S = 0.3, 0.8
# int p^2 / q dx = exp(M^2 / (2 - S^2)) / (S sqrt(2 - S^2)), and the ESS fraction is its inverse
TRUE_ESS = S * np.sqrt(2 - S**2) * np.exp(-(M**2) / (2 - S**2))


def gaussian_log_w(x: np.ndarray) -> np.ndarray:
    return -0.5 * ((x - M) / S) ** 2 + 0.5 * x**2


def test_ess_matches_its_closed_form_within_its_own_error():
    z = []
    for seed in range(300):
        log_w = gaussian_log_w(np.random.default_rng(seed).standard_normal(4000))
        z.append((weights.ess(log_w) - TRUE_ESS) / weights.ess_error(log_w))
    assert abs(np.mean(z)) < 0.25
    assert 0.7 < np.var(z) < 1.3


def test_ess_of_equal_single_and_no_weights():
    assert weights.ess(np.full(7, -123.4)) == pytest.approx(1.0)
    assert weights.ess_error(np.full(7, -123.4)) == pytest.approx(0.0, abs=1e-7)
    assert weights.ess(np.array([0.0, -np.inf, -np.inf, -np.inf])) == 0.25
    assert weights.ess(np.full(4, -np.inf)) == 0.0
    assert np.isnan(weights.ess_error(np.full(4, -np.inf)))


def test_nothing_depends_on_the_unknown_constant():
    log_w = gaussian_log_w(np.random.default_rng(0).standard_normal(500))
    for function in (weights.ess, weights.ess_error, weights.clipped_ess, weights.khat):
        assert function(log_w + 5000.0) == pytest.approx(function(log_w), rel=1e-9)
    np.testing.assert_allclose(
        weights.normalised_weights(log_w - 5000.0), weights.normalised_weights(log_w), rtol=1e-9
    )


def test_log_of_the_mean_weight_counts_samples_without_weight():
    log_w = np.array([700.0, 701.0, -np.inf, 0.0])
    expected = logsumexp(log_w) - np.log(4)
    assert weights.log_mean_weight(log_w) == pytest.approx(expected, rel=1e-14)


def test_clipping_touches_only_the_top_fraction():
    log_w = np.zeros(20_000)
    log_w[5], log_w[9] = 12.0, 3.0
    # the two largest of 20,000 become the smaller of the two
    lowered = np.zeros(20_000)
    lowered[[5, 9]] = 3.0
    assert weights.clipped_ess(log_w) == pytest.approx(weights.ess(lowered))
    assert weights.clipped_ess(log_w) > 5 * weights.ess(log_w)
    # one ten-thousandth of 10,000 is one sample, and the smallest of one is itself
    assert weights.clipped_ess(log_w[:10_000]) == pytest.approx(weights.ess(log_w[:10_000]))


@pytest.mark.parametrize("k", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_khat_finds_the_index_of_a_pareto_tail(k):
    generator = np.random.default_rng(1)
    found = [weights.khat(-k * np.log(generator.random(50_000))) for _ in range(8)]
    # one fit of 670 tail weights scatters by about (1 + k) / sqrt(670)
    assert np.mean(found) == pytest.approx(k, abs=4 * (1 + k) / np.sqrt(8 * 670) + 0.01)


def test_khat_where_there_is_no_tail_to_fit():
    assert weights.khat(np.zeros(1000)) == -np.inf
    assert np.isnan(weights.khat(np.zeros(10)))
    assert np.isnan(weights.khat(np.full(1000, -np.inf)))
    nearly_all_zero = np.full(10_000, -np.inf)
    nearly_all_zero[:3] = [0.0, 1.0, 2.0]
    assert np.isnan(weights.khat(nearly_all_zero))
    assert np.isnan(weights.khat(np.nan_to_num(nearly_all_zero, neginf=-1000.0)))


def test_khat_counts_samples_of_zero_weight():
    log_w = -0.4 * np.log(np.random.default_rng(2).random(5000))
    with_zeros = np.concatenate([log_w, np.full(5000, -np.inf)])
    assert weights.khat(with_zeros) == pytest.approx(0.4, abs=0.25)


def test_khat_limit_rises_with_n_up_to_0_7():
    assert khat_limit(100) == pytest.approx(0.5)
    assert khat_limit(10_000) == 0.7
    assert khat_limit(5) == 0.0


def pareto(generator: np.random.Generator, k: float, scale: float, n: int) -> np.ndarray:
    """Log of 1 + scale p^-k, p uniform: a tail of index k; the mean is 1 + scale / (1 - k)."""
    return np.log1p(scale * generator.random(n) ** -k)


@pytest.mark.parametrize(("k", "scale"), [(0.9, 1e-4), (0.9, 1e-3), (0.8, 1e-3), (0.95, 1e-5)])
def test_harmless_weights_leave_log_z_right_to_what_matters(k, scale):
    truth, found = np.log1p(scale / (1.0 - k)), []
    for seed in range(60):
        log_w = pareto(np.random.default_rng(seed), k, scale, 10_000)
        w = np.exp(log_w)
        if weights.harmless(log_w, w.std() / w.mean() / 100.0):
            found.append(np.log(w.mean()) - truth)
    assert len(found) > 10 and np.abs(found).max() < 1.1 * NEGLIGIBLE


def test_weights_that_move_log_z_are_not_harmless():
    generator = np.random.default_rng(0)
    log_w = pareto(generator, 0.9, 1.0, 10_000)
    w = np.exp(log_w)
    assert weights.khat(log_w) > 0.7
    assert not weights.harmless(log_w, w.std() / w.mean() / 100.0)
    assert not weights.harmless(np.full(10, -np.inf), float("nan"))
    assert not weights.harmless(np.zeros(15), 0.0)  # so few samples say nothing
    assert weights.harmless(np.zeros(10_000), 0.0)


def test_the_error_of_an_ess_covers_it_up_to_the_limit_of_khat_and_not_beyond():
    """Tails p^-k: r = <w>^2 / <w^2> = (1 - 2k) / (1 - k)^2, and <w^4> exists below k = 1/4."""

    def coverage(k):
        truth, z = (1.0 - 2.0 * k) / (1.0 - k) ** 2, []
        for seed in range(120):
            log_w = -k * np.log(np.random.default_rng(seed).random(10_000))
            z.append((weights.ess(log_w) - truth) / weights.ess_error(log_w))
        return np.mean(np.abs(z) < 1.0), np.mean(np.abs(z) < 2.0)

    assert ESS_KHAT_LIMIT == 0.25
    one, two = coverage(0.15)
    assert one > 0.58 and two > 0.85
    one, two = coverage(0.43)
    assert one < 0.45 and two < 0.7


def test_sets_are_full_ones_of_ten_thousand():
    log_w = np.concatenate([gaussian_log_w(np.random.default_rng(1).standard_normal(30_001))])
    sets = weights.ess_sets(log_w)
    assert len(sets) == 3 and sets[1] == weights.ess(log_w[10_000:20_000])
    assert weights.ess_sets(log_w[:19_999]) == ()


def test_normalised_weights():
    w = weights.normalised_weights(np.log([1.0, 3.0, 4.0]) - 900.0)
    np.testing.assert_allclose(w, [0.125, 0.375, 0.5])
    assert w.dtype == np.float64
    assert weights.normalised_weights(np.array([0.0, -np.inf])).tolist() == [1.0, 0.0]
    with pytest.raises(OneStepError, match="all 3 samples"):
        weights.normalised_weights(np.full(3, -np.inf))


@pytest.mark.parametrize("bad", [[0.0, np.nan], [0.0, np.inf], [], [[0.0]]])
def test_unusable_log_weights_are_refused(bad):
    with pytest.raises(ValueError, match="log_w"):
        weights.ess(np.array(bad))


def test_systematic_resampling_keeps_every_count_within_one():
    generator = np.random.default_rng(3)
    log_w = generator.standard_normal(200)
    log_w[::7] = -np.inf
    expected = 1000 * weights.normalised_weights(log_w)
    counts = np.zeros(200)
    for _ in range(50):
        drawn = np.bincount(weights.resample(log_w, 1000, generator), minlength=200)
        assert drawn.sum() == 1000
        assert (np.abs(drawn - expected) < 1.0).all()
        assert (drawn[::7] == 0).all()
        counts += drawn / 50
    # unbiased: one count is off by at most 1/2 in standard deviation
    assert np.abs(counts - expected).max() < 4 * 0.5 / np.sqrt(50)


def test_resampling_never_draws_a_leading_or_trailing_zero_weight():
    class Edge:
        def random(self):
            return 0.0

    assert weights.resample(np.array([-np.inf, 0.0, -np.inf]), 4, Edge()).tolist() == [1] * 4
