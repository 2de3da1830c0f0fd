"""When an ESS and that seen from the target contradict each other."""

import math

import pytest

from onestep_md.estimators.limits import ess_differs


@pytest.mark.parametrize(
    ("ess", "forward", "score", "error_known", "expected"),
    [
        (0.69, 0.73, -3.4, True, True),
        (0.69, 0.73, -3.4, False, False),  # a short error bar, no contradiction
        (0.69, 0.50, 3.4, False, True),
        (0.50, 0.69, -3.4, False, True),
        (0.60, 0.0, 20.0, False, True),
        (0.60, 0.30, 2.0, True, False),
        (0.60, math.nan, math.nan, True, False),
    ],
)
def test_a_short_error_bar_alone_is_no_contradiction(ess, forward, score, error_known, expected):
    assert ess_differs(ess, forward, score, error_known) is expected
