"""Which estimate is used and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from onestep_md.analysis.records.free_energies import BridgeResult
from onestep_md.estimators.estimate import UNKNOWN, Estimate
from onestep_md.estimators.states import Reweighted
from onestep_md.free_energy.judge import can_bridge, judge_state

GOOD = Reweighted(Estimate(-10.0, 0.02), 10_000, 0.3, 0.01, 0.2, False, 0)
POOR = Reweighted(Estimate(-10.0, 0.2), 10_000, 0.004, 0.002, 0.9, False, 0)
BLIND = Reweighted(Estimate(-10.0, 0.2), 10_000, 0.3, 0.01, 0.2, False, 9000)


def bridge(value=-10.02, error=0.03, acceptance=0.5, founders=400.0):
    return BridgeResult(
        log_z=Estimate(value, error), forward_ess=Estimate(0.3, 0.02), particles=2000,
        founders=founders, temperatures=5, acceptance=acceptance, evaluations=40_000, seconds=9.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "mbar", "crossed", "used", "level", "words"),
    [
        (GOOD, UNKNOWN, None, "reweighting", "good", "overlap"),
        (GOOD, Estimate(-10.9, 0.02), None, "reweighting", "care", "MBAR"),
        (POOR, UNKNOWN, None, None, "not determined", "worth 40.0"),
        (replace(POOR, ess=0.05), UNKNOWN, None, None, "not determined", "5.0 % is too low"),
        (replace(GOOD, khat=0.8), UNKNOWN, None, None, "not determined", "k-hat 0.80"),
        (POOR, UNKNOWN, bridge(), "bridge", "good", "by the bridge"),
        (GOOD, UNKNOWN, bridge(), "bridge", "good", "agrees"),
        (GOOD, UNKNOWN, bridge(-9.0), "bridge", "care", "believe the bridge"),
        (POOR, UNKNOWN, bridge(-9.0), "bridge", "good", "hardly overlap"),
        (POOR, UNKNOWN, bridge(error=0.8), None, "not determined", "islands disagree"),
        (POOR, UNKNOWN, bridge(acceptance=0.02), None, "not determined", "accepted 2 %"),
        (POOR, UNKNOWN, bridge(founders=9.0), None, "not determined", "descend from 9"),
        (POOR, UNKNOWN, bridge(error=np.nan), None, "not determined", "islands disagree"),
        (GOOD, UNKNOWN, bridge(acceptance=0.02), "reweighting", "care", "the bridge fails"),
        (BLIND, UNKNOWN, None, None, "not determined", "9,000 of 10,000 samples have no"),
    ],
)
def test_one_estimate_is_used_or_none(found, mbar, crossed, used, level, words):
    judged = judge_state(found, mbar, crossed)
    assert (judged.used, judged.level) == (used, level)
    assert words in judged.verdict
    assert np.isnan(judged.log_z.value) == (used is None)
    assert used is not None or judged.log_z.reason


def test_a_bridge_needs_samples_with_an_energy():
    assert can_bridge(POOR) and can_bridge(GOOD) and not can_bridge(BLIND)
