"""A number with its standard error: how it is written, and whether two of them agree."""

from dataclasses import dataclass
from math import hypot, isfinite, isnan, nan

from onestep_md.estimators.limits import DISAGREEMENT, ROUNDING

NO_ESTIMATE = "no estimate"
NOT_MEASURED = "-"
ESS_NOTE = (
    "* k-hat above 0.25: the error of this ESS needs a moment of the weights that may not exist, "
    "and is too small; other sets of samples differ by more"
)
_LONG = 1e4  # smallest error that is written with powers of ten
_TINY = 0.01  # percent below which an ESS has one digit and no error


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error (one sigma; nan where it is not known).

    A number that the samples cannot give is nan and has a `reason`; an infinite one has one too.
    """

    value: float
    error: float
    reason: str = ""

    def format(self, unit: str = "kT") -> str:
        """Return "2.31 +- 0.04 kT": the error is cut to one digit, to two if the first is 1."""
        if isnan(self.value):
            return NO_ESTIMATE if self.reason else NOT_MEASURED
        return f"{self._digits()} {unit}".rstrip()

    def _digits(self) -> str:
        if not isfinite(self.value):
            return f"{self.value}"
        if not isfinite(self.error):
            return f"{self.value:.2f} +- unknown"
        if self.error == 0.0:
            return f"{self.value:.6g} +- 0"
        digits, exponent = f"{self.error:.9e}".split("e")
        decimals = -int(exponent) + (digits[0] == "1")
        shown = max(decimals, 0)
        # adding 0.0 turns -0.0 into 0.0
        value, error = round(self.value, decimals) + 0.0, round(self.error, decimals)
        if error >= _LONG:
            return " +- ".join(_power(number, decimals) for number in (value, error))
        return f"{value:.{shown}f} +- {error:.{shown}f}"

    def format_kt_and_kj(self, kT: float) -> str:
        """Return "2.31 +- 0.04 kT = 5.76 +- 0.10 kJ/mol"; kT in kJ/mol."""
        if isnan(self.value):
            return self.format("kT")
        in_kj = Estimate(self.value * kT, self.error * kT)
        return f"{self.format('kT')} = {in_kj.format('kJ/mol')}"


UNKNOWN = Estimate(nan, nan)


def no_estimate(reason: str) -> Estimate:
    """Return the estimate of a number that the samples cannot give."""
    return Estimate(nan, nan, reason)


def percent_text(fraction: Estimate, error_known: bool = True) -> str:
    """Return the text of an ESS: "67.2 +- 1.0 %"; "67.2 +- 1.0* %" for an error too small."""
    percent = Estimate(100.0 * fraction.value, 100.0 * fraction.error, fraction.reason)
    if percent.value < _TINY:
        return f"{percent.value:.1g} %"
    text = percent.format("%" if isfinite(percent.value) else "")
    return text if error_known else text.replace(" %", "* %")


def _power(number: float, decimals: int) -> str:
    """Return "-2.9e5" for -290,000 and decimals = -4."""
    if number == 0.0:
        return "0"
    mantissa, exponent = f"{number:.9e}".split("e")
    shown = max(int(exponent) + decimals, 0)
    return f"{float(mantissa):.{shown}f}e{int(exponent)}"


def z_score(a: Estimate, b: Estimate) -> float:
    """Return (a - b) / sqrt(error_a^2 + error_b^2); nan where an error is unknown.

    No error counts as smaller than rounding: those of an exact flow are below the last digit.
    """
    error = hypot(a.error, b.error)
    if not isfinite(error):
        return nan
    return (a.value - b.value) / max(error, ROUNDING * max(1.0, abs(b.value)))


def disagree(a: Estimate, b: Estimate) -> bool:
    """Whether two estimates of one number contradict each other; not if an error is unknown."""
    return abs(z_score(a, b)) > DISAGREEMENT
