"""Evidence against closed forms and against pymbar: q = N(0, 1), p~ = exp(-(x - M)^2 / 2 S^2)."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.special import expit

from onestep_md.estimators.correlation import import_pymbar, statistical_inefficiency
from onestep_md.estimators.estimate import Estimate, agreement
from onestep_md.estimators.evidence import (
    _bar_error,
    _left_after_thinning,
    bar,
    elbo,
    eubo,
    evaluate_evidence,
    log_z,
)
from onestep_md.estimators.weights import ess

M, S = 0.3, 0.8
LOG_Z = np.log(S * np.sqrt(2 * np.pi))
# ELBO = log Z - KL(q||p), EUBO = log Z + KL(p||q)
ELBO = LOG_Z - (np.log(S) + (1 + M**2) / (2 * S**2) - 0.5)
EUBO = LOG_Z + (-np.log(S) + (S**2 + M**2) / 2 - 0.5)


def log_w_at(x: np.ndarray) -> np.ndarray:
    return -0.5 * ((x - M) / S) ** 2 + 0.5 * x**2 + 0.5 * np.log(2 * np.pi)


def flow(generator: np.random.Generator, n: int) -> np.ndarray:
    return log_w_at(generator.standard_normal(n))


def target(generator: np.random.Generator, n: int, rho: float = 0.0) -> np.ndarray:
    """Target samples from a stationary AR(1) chain with autocorrelations rho^t."""
    noise = generator.standard_normal(n) * np.sqrt(1 - rho**2)
    noise[0] = generator.standard_normal()
    return log_w_at(M + S * lfilter([1.0], [1.0, -rho], noise))


def z_scores(estimate, truth: float, seeds: int = 200) -> np.ndarray:
    estimates = [estimate(np.random.default_rng(seed)) for seed in range(seeds)]
    return np.array([(e.value - truth) / e.error for e in estimates])


def assert_standard(z: np.ndarray) -> None:
    """Checks z for mean 0 and variance 1, to four standard errors of each."""
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var(ddof=1) - 1) < 4 * np.sqrt(2 / z.size)


def test_log_z_elbo_eubo_are_right_within_their_errors():
    assert_standard(z_scores(lambda g: log_z(flow(g, 1000)), LOG_Z))
    assert_standard(z_scores(lambda g: elbo(flow(g, 1000)), ELBO))
    assert_standard(z_scores(lambda g: eubo(target(g, 1000)), EUBO))


def test_bounds_hold_in_order():
    generator = np.random.default_rng(0)
    log_w, log_w_target = flow(generator, 20_000), target(generator, 20_000)
    assert elbo(log_w).value < log_z(log_w).value < eubo(log_w_target).value
    assert elbo(log_w).value < bar(log_w, log_w_target).value < eubo(log_w_target).value


def test_log_z_error_is_the_kish_form():
    log_w = flow(np.random.default_rng(1), 500)
    w = np.exp(log_w)
    kish = w.sum() ** 2 / (w**2).sum()
    assert log_z(log_w).error == pytest.approx(np.sqrt(1 / kish - 1 / 500))
    assert log_z(np.full(9, 3.25)) == Estimate(3.25, 0.0)


def test_infinite_energies_count_in_every_estimate():
    half = np.concatenate([np.zeros(500), np.full(500, -np.inf)])
    assert log_z(half).value == pytest.approx(np.log(0.5))
    assert log_z(half).error == pytest.approx(np.sqrt(1 / 1000))
    assert elbo(half).value == -np.inf and np.isnan(elbo(half).error)
    assert log_z(np.full(5, -np.inf)).value == -np.inf
    assert eubo(np.array([0.0, np.inf])).value == np.inf


def test_bar_is_right_within_its_error():
    assert_standard(z_scores(lambda g: bar(flow(g, 400), target(g, 200)), LOG_Z))


def test_bar_sees_through_infinite_work():
    # q is uniform on [0, 1] and the target on [0, 0.3]: log Z = log 0.3, work 0 or infinite
    def estimate(generator):
        inside = generator.random(400) < 0.3
        return bar(np.where(inside, 0.0, -np.inf), np.zeros(100))

    assert_standard(z_scores(estimate, np.log(0.3)))


def test_bar_equals_pymbar_and_the_root_of_its_equation():
    generator = np.random.default_rng(2)
    log_w, log_w_target = flow(generator, 300), target(generator, 700)
    ours = bar(log_w, log_w_target)
    theirs = import_pymbar().bar(-log_w, log_w_target, uncertainty_method="BAR")
    assert ours.value == pytest.approx(-theirs["Delta_f"], abs=1e-8)
    assert ours.error == pytest.approx(theirs["dDelta_f"], rel=0.05)

    def root(log_w, log_w_target):
        # sum_flow f(M - log w + log Z) = sum_target f(-M + log w - log Z), f(x) = 1 / (1 + e^x)
        ratio = np.log(log_w.size / log_w_target.size)
        return brentq(
            lambda z: expit(log_w - z - ratio).sum() - expit(z - log_w_target + ratio).sum(),
            -2e4,
            2e4,
            xtol=1e-10,
        )

    assert ours.value == pytest.approx(root(log_w, log_w_target), abs=1e-8)
    # clashes of 1e5 kT, infinite energies, and a constant of thousands of kT change nothing
    log_w[:30], log_w[30:40] = -(10.0 ** np.linspace(2, 6, 30)), -np.inf
    log_w_target[:3] = [40.0, 900.0, np.inf]
    clean = root(log_w, log_w_target)
    for constant in (-7000.0, 0.0, -clean, 1e4):
        shifted = bar(log_w + constant, log_w_target + constant)
        assert shifted.value - constant == pytest.approx(clean, abs=1e-6)
        assert 0.0 < shifted.error < 1.0


def test_bar_error_is_pymbars_and_grows_with_the_correlation_of_the_target():
    generator = np.random.default_rng(9)
    w_F, w_R = -flow(generator, 300), target(generator, 700)
    theirs = import_pymbar().bar(w_F, w_R, uncertainty_method="BAR")
    independent, doubled = (_bar_error(w_F, w_R, theirs["Delta_f"], g) for g in (1.0, 2.0))
    assert independent == pytest.approx(theirs["dDelta_f"], rel=1e-6)
    reverse = doubled**2 - independent**2
    assert 0.1 * independent**2 < reverse < 0.9 * independent**2


def test_thinning_by_the_inefficiency_leaves_some_of_it():
    generator = np.random.default_rng(10)
    rho, n = 0.9, 400_000
    chain = lfilter([1.0], [1.0, -rho], generator.standard_normal(n))
    left = statistical_inefficiency(chain[::19])
    assert left == pytest.approx(_left_after_thinning(19.0), abs=0.1)
    assert left > 1.15
    assert _left_after_thinning(1.0) == 1.0
    # one frame per walker: nothing is thinned, and bar still allows for what is left
    log_w, frames = flow(generator, 2000), target(generator, 500)
    with_correlation = bar(log_w, frames, 19.0, np.arange(500)).error
    assert with_correlation > 1.01 * bar(log_w, frames).error


def test_bar_of_a_perfect_flow_is_exact():
    estimate = bar(np.full(50, -37.5), np.full(20, -37.5))
    assert estimate.value == pytest.approx(-37.5, abs=1e-8)
    assert estimate.error == pytest.approx(0.0, abs=1e-4)


def test_bar_without_overlap_does_not_claim_precision():
    generator = np.random.default_rng(3)
    estimate = bar(-40 + generator.standard_normal(500), 40 + generator.standard_normal(500))
    assert not estimate.error < 2.0
    nothing = bar(np.full(10, -np.inf), np.zeros(10))
    assert np.isnan(nothing.value) and nothing.error == np.inf


@pytest.mark.parametrize("rho", [0.5, 0.9, 0.96])
def test_correlated_dynamics_widens_eubo_and_bar(rho):
    def with_inefficiency(estimate):
        def corrected(generator):
            series = target(generator, 4000, rho)
            return estimate(generator, series, statistical_inefficiency(series))

        return z_scores(corrected, EUBO if estimate is eubo_of else LOG_Z, seeds=120)

    def eubo_of(generator, series, g):
        return eubo(series, g)

    def bar_of(generator, series, g):
        return bar(flow(generator, 2000), series, g)

    for estimate in (eubo_of, bar_of):
        z = with_inefficiency(estimate)
        assert abs(z.mean()) < 0.4
        assert 0.5 < z.var() < 1.6
    # without the correction the same frames claim far too much
    naive = z_scores(lambda g: eubo(target(g, 4000, rho)), EUBO, seeds=120)
    assert naive.var() > 1.6


def test_target_samples_the_flow_cannot_reach_or_that_are_no_samples():
    with pytest.raises(ValueError, match="log_w"):
        bar(np.zeros(5), np.array([0.0, -np.inf]))
    with pytest.raises(ValueError, match="log_w"):
        eubo(np.array([0.0, np.nan]))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.3149, 0.042, "2.31 +- 0.04 kT"),
        (2.3149, 0.0123, "2.315 +- 0.012 kT"),
        (2.3149, 0.0196, "2.315 +- 0.020 kT"),
        (5.7654, 0.0998, "5.77 +- 0.10 kT"),
        (5.7654, 0.96, "5.8 +- 1.0 kT"),
        (12345.6, 234.0, "12300 +- 200 kT"),
        (12345.6, 16.0, "12346 +- 16 kT"),
        (-0.001, 0.04, "0.00 +- 0.04 kT"),
        (1.5, 3.0, "2 +- 3 kT"),
        (-287654.0, 193210.0, "-2.9e5 +- 1.9e5 kT"),
        (123456.0, 9600.0, "1.23e5 +- 1.0e4 kT"),
        (5.0, 3.2e5, "0 +- 3e5 kT"),
        (0.0, 0.0, "0 +- 0 kT"),
        (1.23456, float("nan"), "1.23 +- unknown kT"),
        (1.23456, float("inf"), "1.23 +- unknown kT"),
        (float("inf"), float("inf"), "inf kT"),
        (float("-inf"), float("nan"), "-inf kT"),
    ],
)
def test_the_error_decides_the_digits(value, error, text):
    assert Estimate(value, error).format() == text


def test_numbers_without_a_unit():
    assert Estimate(-37.418, 0.011).format("") == "-37.418 +- 0.011"


def test_format_in_both_units():
    kT = 0.00831446261815324 * 300.0
    text = Estimate(2.31, 0.04).format_kt_and_kj(kT)
    assert text == "2.31 +- 0.04 kT = 5.76 +- 0.10 kJ/mol"


def test_agreement_is_a_z_score():
    assert agreement(Estimate(1.0, 0.3), Estimate(2.0, 0.4)) == pytest.approx(-2.0)
    assert agreement(Estimate(1.0, 0.0), Estimate(1.0, 0.0)) == 0.0
    assert agreement(Estimate(2.0, 0.0), Estimate(1.0, 0.0)) == np.inf
    assert np.isnan(agreement(Estimate(1.0, float("nan")), Estimate(1.0, 0.1)))


def good_evidence(**changes):
    generator = np.random.default_rng(4)
    arguments = {
        "steps": 1,
        "log_w": flow(generator, 10_000),
        "log_w_target": target(generator, 5000, 0.8),
        "checked": 10_000,
        "round_trip": 1e-9,
        "seconds": 3.0,
    }
    return evaluate_evidence(**(arguments | changes))


def test_a_good_run_has_no_warnings():
    evidence = good_evidence()
    assert evidence.warnings() == []
    assert evidence.n == 10_000 and evidence.infinite == 0
    assert evidence.seconds_per_1000 == pytest.approx(0.3)
    for estimate, truth in (
        (evidence.log_z, LOG_Z),
        (evidence.bar, LOG_Z),
        (evidence.elbo, ELBO),
        (evidence.eubo, EUBO),
    ):
        assert abs(agreement(estimate, Estimate(truth, 0.0))) < 4
    assert evidence.bar.error < evidence.log_z.error
    assert evidence.auxiliaries == 1 and evidence.ess_joint is None


def test_the_ess_by_one_auxiliary_draw_stands_beside_that_by_several():
    joint = 1.5 * flow(np.random.default_rng(5), 10_000)
    evidence = good_evidence(log_w_joint=joint, auxiliaries=8)
    assert evidence.auxiliaries == 8
    assert evidence.ess_joint.value == pytest.approx(ess(joint))
    assert 0 < evidence.ess_joint.error < evidence.ess_joint.value < evidence.ess
    assert evidence.as_dict()["ess_joint"]["value"] == evidence.ess_joint.value


def heavy_tail() -> np.ndarray:
    # nearly equal weights with a few of infinite variance: a good ESS, a bad tail
    return np.log1p(1e-3 * np.random.default_rng(5).random(10_000) ** -0.9)


def with_clashes() -> np.ndarray:
    log_w = flow(np.random.default_rng(6), 10_000)
    log_w[:40] = -np.inf
    return log_w


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"log_w": heavy_tail(), "log_w_target": None}, "flow misses part of the target"),
        ({"log_w": flow(np.random.default_rng(7), 2000)}, "ESS itself is uncertain"),
        ({"log_w": with_clashes()}, "40 of 10000 samples have infinite energy: ELBO is -inf"),
        ({"negative_determinants": 12}, "12 of 10000 samples have a negative determinant"),
        ({"log_det_error": 0.1}, "off by up to 1.0e-01"),
        ({"round_trip": 0.5}, "misses by up to 5.0e-01"),
        ({"round_trip": float("nan")}, "misses by up to nan"),
        ({"checked": 0}, "not checked for folds"),
        ({"round_trip": None}, "not checked for folds"),
        # a map that covers everything twice doubles the mean weight of the flow samples
        ({"log_w": flow(np.random.default_rng(8), 10_000) + np.log(2)}, "BAR"),
        ({"log_w": flow(np.random.default_rng(8), 10_000) + 1.0}, "EUBO"),
    ],
)
def test_each_failed_diagnostic_is_named(changes, text):
    found = good_evidence(**changes).warnings()
    assert any(text in warning for warning in found), found
    assert all(warning.startswith("K = 1: ") for warning in found)
    if text not in ("BAR", "EUBO"):
        assert len(found) == 1


def test_a_run_in_which_every_sample_clashes_still_reports():
    evidence = good_evidence(log_w=np.full(10_000, -np.inf))
    assert evidence.ess == 0.0 and evidence.log_z.value == -np.inf
    assert any("effective samples" in warning for warning in evidence.warnings())
    assert evidence.as_dict()["log_z"]["value"] == -np.inf


def test_as_dict_is_plain_json():
    data = json.loads(json.dumps(good_evidence(steps=4).as_dict(), allow_nan=False))
    assert data["steps"] == 4 and data["warnings"] == []
    assert set(data["bar"]) == {"value", "error"}
    assert json.loads(json.dumps(good_evidence(log_w_target=None).as_dict()))["eubo"] is None


def test_pymbar_is_imported_late_and_in_silence():
    code = (
        "import sys, numpy as np\n"
        "from onestep_md.estimators.evidence import bar\n"
        "import onestep_md.estimators.free_energy\n"
        "assert 'pymbar' not in sys.modules and 'arviz_stats' not in sys.modules\n"
        "bar(np.array([0.0, 1.0, -np.inf]), np.array([0.5, 2.0]))\n"
        "assert 'pymbar' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
