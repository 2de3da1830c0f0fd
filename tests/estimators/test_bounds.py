"""Log Z, its bounds, BAR and the forward ESS against closed forms and against pymbar."""

import subprocess
import sys

import numpy as np
import pytest
from gaussian_weights import ELBO, EUBO, LOG_Z, TRUE_ESS, flow, target
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.special import expit

from onestep_md.estimators.bounds import (
    _bar_error,
    _inefficiency_after_thinning,
    bar,
    count_above,
    elbo,
    eubo,
    expected_above,
    forward_ess,
    log_z,
)
from onestep_md.estimators.correlation import import_pymbar, statistical_inefficiency
from onestep_md.estimators.estimate import Estimate


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
    beyond = eubo(np.array([0.0, np.inf]))
    assert beyond.value == np.inf and "no density at 1 of 2" in beyond.reason


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
    assert left == pytest.approx(_inefficiency_after_thinning(19.0), abs=0.1)
    assert left > 1.15
    assert _inefficiency_after_thinning(1.0) == 1.0
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
    assert np.isnan(estimate.value) and "no overlap" in estimate.reason


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


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_forward_ess_is_that_of_kish_within_its_error(rho):
    def estimate(generator):
        log_w, series = flow(generator, 2000), target(generator, 2000, rho)
        g = statistical_inefficiency(series) if rho else 1.0
        return forward_ess(log_z(log_w), series, g)

    z = z_scores(estimate, TRUE_ESS, seeds=150)
    assert abs(z.mean()) < 0.4 and 0.6 < z.var() < 1.6
    # a constant in the energy changes log Z and every weight alike
    log_w, series = (of(np.random.default_rng(0), 2000) for of in (flow, target))
    shifted = forward_ess(log_z(log_w - 5000.0), series - 5000.0)
    assert shifted.value == pytest.approx(forward_ess(log_z(log_w), series).value)


def test_one_frame_that_the_flow_never_draws_ends_the_forward_ess():
    log_w, series = flow(np.random.default_rng(0), 10_000), target(np.random.default_rng(1), 2000)
    series[7] = 40.0
    found = forward_ess(log_z(log_w), series)
    assert 0.0 < found.value < 1e-10 and found.error < 2.0 * found.value
    series[7] = np.inf
    assert forward_ess(log_z(log_w), series).value == 0.0
    assert count_above(log_w, series) >= 1


def test_the_number_of_heavier_frames_is_as_expected_of_a_flow_that_misses_nothing():
    counts, expected = [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        log_w, series = flow(generator, 500), target(generator, 2000)
        counts.append(count_above(log_w, series))
        expected.append(expected_above(log_w, 2000))
    # light tails: at the most
    assert 0.2 * np.mean(expected) < np.mean(counts) < np.mean(expected)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (log_z(np.array([3.0])), "the 1 samples are worth 1.0"),
        (log_z(np.full(9, -np.inf)), "none of the 9 samples has any weight"),
        (log_z(np.append(np.zeros(10_000), 90.0)), "worth 1.0 by their weights"),
        (elbo(np.array([3.0])), "one sample"),
        (elbo(-(10.0 ** np.linspace(0, 12, 500))), "made by single samples"),
        (eubo(np.array([3.0])), "one sample"),
        (eubo(np.linspace(0.0, 9e9, 500)), "nats, made by single samples"),
        (eubo(np.zeros(20), 30.0), "20 samples, correlated as if they were one"),
        (bar(np.zeros(500), np.zeros(1)), "the target samples are worth 1 independent ones"),
        (bar(np.full(500, -6e4), np.full(500, 6.4e9)), "no overlap"),
        (
            bar(6e9 * np.random.default_rng(0).standard_normal(10_000), np.zeros(500)),
            "contradict each other: a mean that is 1 is e^",
        ),
        (bar(np.full(500, -np.inf), np.zeros(500)), "none of the 500 samples has any weight"),
        (bar(np.zeros(500), np.full(500, np.inf)), "no density at any target sample"),
        (forward_ess(log_z(np.array([3.0])), np.zeros(50)), "log Z has none"),
        (forward_ess(log_z(np.zeros(50)), np.zeros(1)), "1 target samples"),
    ],
)
def test_what_hangs_on_single_samples_is_no_estimate(found, why):
    assert np.isnan(found.value) and np.isnan(found.error)
    assert why in found.reason and found.format() == "no estimate"


def test_pymbar_is_imported_late_and_in_silence():
    code = (
        "import sys, numpy as np\n"
        "from onestep_md.estimators.bounds import bar\n"
        "import onestep_md.estimators.free_energy\n"
        "assert 'pymbar' not in sys.modules and 'arviz_stats' not in sys.modules\n"
        "bar(np.array([0.0, 1.0, -np.inf]), np.linspace(0.5, 2.0, 9))\n"
        "assert 'pymbar' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
