"""How the page writes numbers with errors and times."""

import math

from onestep_md.analysis.numbers import duration, estimate
from onestep_md.estimators.estimate import Estimate


def test_huge_errors_are_written_as_powers():
    assert estimate(Estimate(-1.42e27, 1.4e27)) == "−1.4e27 ± 1.4e27"
    assert estimate(Estimate(-14200.0, 1500.0)) == "−14200 ± 1500"


def test_estimates_are_cut_by_their_error():
    cases = {
        (2.3149, 0.0411): "2.31 ± 0.04",
        (2.3149, 0.0148): "2.315 ± 0.015",
        (-37.4, 3.2): "−37 ± 3",
        (123.4, 41.0): "120 ± 40",
        (-0.001, 0.2): "0.0 ± 0.2",
        (2.0, math.nan): "2.00 ± ?",
    }
    for (value, error), text in cases.items():
        assert estimate(Estimate(value, error)) == text
    assert estimate(Estimate(2.0, 0.2), 2.5) == "5.0 ± 0.5"
    assert duration(59.0) == "59 s" and duration(1031) == "17 min 11 s"
    assert duration(7800) == "2 h 10 min"
