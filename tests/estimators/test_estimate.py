"""How numbers with errors are written, and whether two of them agree."""

import numpy as np
import pytest

from onestep_md.estimators.estimate import (
    UNKNOWN,
    Estimate,
    no_estimate,
    percent_text,
    z_score,
)


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


def test_the_difference_in_standard_errors():
    assert z_score(Estimate(1.0, 0.3), Estimate(2.0, 0.4)) == pytest.approx(-2.0)
    assert z_score(Estimate(1.0, 0.3), Estimate(0.0, 0.4)) == pytest.approx(2.0)
    assert z_score(Estimate(1.0, 0.0), Estimate(1.0, 0.0)) == 0.0
    assert z_score(Estimate(2.0, 0.0), Estimate(1.0, 0.0)) == pytest.approx(1e9)
    # an exact flow has errors below the last digit
    assert abs(z_score(Estimate(2.5 + 4e-16, 1e-17), Estimate(2.5, 0.0))) < 1e-6
    assert abs(z_score(Estimate(-1e6, 0.0), Estimate(-1e6 - 1e-4, 0.0))) < 1
    assert np.isnan(z_score(Estimate(1.0, float("nan")), Estimate(1.0, 0.1)))


def test_what_is_no_estimate_says_so_in_words():
    nothing = no_estimate("why")
    assert nothing.format() == nothing.format_kt_and_kj(2.5) == "no estimate"
    assert UNKNOWN.format() == UNKNOWN.format_kt_and_kj(2.5) == "-"
    assert Estimate(float("inf"), float("nan"), "why").format("") == "inf"


def test_shares_of_samples_are_percent_and_their_errors_marked():
    assert percent_text(Estimate(0.672, 0.0104)) == "67.2 +- 1.0 %"
    assert percent_text(Estimate(0.672, 0.0104), False) == "67.2 +- 1.0* %"
    assert percent_text(Estimate(1.3e-22, 1e-22)) == "1e-20 %"
    assert percent_text(Estimate(0.0, float("nan"), "why")) == "0 %"
    assert percent_text(no_estimate("why")) == "no estimate"
    assert percent_text(UNKNOWN) == "-"
