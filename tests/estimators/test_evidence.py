"""One row of evidence: right numbers for a good flow, a sentence for everything that fails."""

import numpy as np
import pytest
from gaussian_weights import ELBO, EUBO, LOG_Z, TRUE_ESS, flow, target

from onestep_md.estimators.estimate import UNKNOWN, Estimate, z_score
from onestep_md.estimators.evidence import evaluate_evidence
from onestep_md.estimators.weights import ess


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
        assert abs(z_score(estimate, Estimate(truth, 0.0))) < 4
    assert evidence.bar.error < evidence.log_z.error
    for seen in (Estimate(evidence.ess, evidence.ess_error), evidence.forward_ess):
        assert abs(z_score(seen, Estimate(TRUE_ESS, 0.0))) < 4
    assert evidence.held_out == 5000 and evidence.unusable == 0
    assert evidence.ess_error_known and evidence.ess_sets == ()
    assert evidence.auxiliaries == 1 and evidence.ess_joint is UNKNOWN


def test_the_ess_by_one_auxiliary_draw_stands_beside_that_by_several():
    joint = 1.5 * flow(np.random.default_rng(5), 10_000)
    evidence = good_evidence(log_w_joint=joint, auxiliaries=8)
    assert evidence.auxiliaries == 8
    assert evidence.ess_joint.value == pytest.approx(ess(joint))
    assert 0 < evidence.ess_joint.error < evidence.ess_joint.value < evidence.ess


def heavy_tail() -> np.ndarray:
    # nearly equal weights with a few of infinite variance: a good ESS, a bad tail
    return np.log1p(3e-3 * np.random.default_rng(5).random(10_000) ** -0.9)


def with_clashes() -> np.ndarray:
    log_w = flow(np.random.default_rng(6), 10_000)
    log_w[:40] = -np.inf
    return log_w


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"log_w": heavy_tail(), "log_w_target": None}, "flow misses part of the target"),
        (
            {"log_w": flow(np.random.default_rng(7), 2000), "log_w_target": None},
            "ESS itself is uncertain",
        ),
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


def missed_mode() -> dict:
    """1.9 % of the target where the flow is never: nothing of its own samples shows it."""
    log_w, series = flow(np.random.default_rng(4), 10_000), target(np.random.default_rng(5), 2000)
    series[100:138] = 45.0
    return {"log_w": log_w, "log_w_target": series}


def test_frames_that_the_flow_never_visits_are_told():
    evidence = good_evidence(**missed_mode())
    assert evidence.ess > 0.5 and evidence.khat < 0.7
    assert evidence.forward_ess.value < 1e-17 and evidence.above >= 38
    found = " ".join(evidence.warnings())
    assert "seen from the target, the forward ESS" in found
    assert f"{evidence.above} of 2000 target samples have weights above" in found


def test_a_run_in_which_every_sample_clashes_still_reports():
    evidence = good_evidence(log_w=np.full(10_000, -np.inf))
    assert evidence.ess == 0.0 and np.isnan(evidence.log_z.value)
    found = " ".join(evidence.warnings())
    assert "effective samples" in found and "stay exact" not in found
    for name in ("log Z", "BAR", "forward ESS"):
        assert f"no estimate of {name}: " in found
    assert evidence.log_z.format() == "no estimate" and "any weight" in evidence.log_z.reason


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"log_w": np.array([1.0])}, ("no estimate of log Z: the 1 samples", "only 1 samples")),
        ({"log_w_target": np.array([1.0])}, ("no estimate of EUBO: one sample", "of BAR: the")),
        (
            {"log_w_target": np.array([1.0, np.inf])},
            ("EUBO is inf: the flow has no density at 1",),
        ),
        (
            {"log_w_target": np.full(9, np.nan)},
            ("9 of 9 target samples have a weight that is not",),
        ),
        ({"log_w_target": np.zeros(0)}, ()),
        (
            {"log_w": 3e4 * np.random.default_rng(3).standard_normal(10_000)},
            ("no estimate of log Z: the 10000 samples are worth 1.0", "no estimate of ELBO: "),
        ),
        (
            {"log_w_target": np.full(500, 6.4e9)},
            ("no estimate of BAR: flow and target samples have",),
        ),
    ],
)
def test_nothing_raises_and_each_has_its_sentence(changes, texts):
    evidence = good_evidence(**changes)
    found = " ".join(evidence.warnings())
    assert all(text in found for text in texts), found


def test_frames_without_a_number_are_counted_and_left_out():
    series = target(np.random.default_rng(5), 3000, 0.8)
    bad = np.arange(3000) % 1000 == 7
    spoiled = np.where(bad, [np.nan, -np.inf] * 1500, series)
    walkers = np.arange(3000) // 1500
    with_nan = good_evidence(log_w_target=spoiled, target_walkers=walkers)
    without = good_evidence(log_w_target=series[~bad], target_walkers=walkers[~bad])
    assert (with_nan.held_out, with_nan.unusable) == (2997, 3)
    assert with_nan.eubo == without.eubo and with_nan.bar == without.bar
    assert any(text.startswith("K = 1: 3 of 3000") for text in with_nan.warnings())


def test_steep_tails_of_light_weights_are_no_failure():
    """A double well whose base is right but for a place where the weights are twice as large."""
    generator = np.random.default_rng(0)
    log_w = 0.003 * generator.standard_normal(10_000)
    log_w[generator.random(10_000) < 0.01] += np.log(2.0)
    evidence = good_evidence(log_w=log_w, log_w_target=None)
    assert evidence.khat > 0.7 and evidence.harmless and evidence.heaviest < 5e-4
    assert evidence.warnings() == [] and not evidence.ess_error_known


def test_the_ess_of_full_sets_stands_beside_that_of_all():
    evidence = good_evidence(log_w=flow(np.random.default_rng(4), 35_000), log_w_target=None)
    assert len(evidence.ess_sets) == 3
    assert np.mean(evidence.ess_sets) == pytest.approx(evidence.ess, abs=0.01)


def test_without_target_samples_nothing_is_known_of_them():
    evidence = good_evidence(log_w_target=None)
    assert (evidence.eubo, evidence.bar, evidence.forward_ess) == (UNKNOWN,) * 3
    assert not evidence.ess_differs


def test_an_inverse_that_is_not_a_number_has_failed_and_one_not_tried_has_not():
    assert good_evidence(round_trip=np.nan).inverse_fails
    assert good_evidence(log_det_error=np.nan).log_det_fails
    untried = good_evidence(round_trip=None, log_det_error=None)
    assert not untried.inverse_fails and not untried.log_det_fails
