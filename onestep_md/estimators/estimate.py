"""A number with its standard error: how it is written, and whether two of them agree."""

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

_LONG = 1e4  # error from which powers of ten are written


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error (one sigma; nan where it is not known)."""

    value: float
    error: float

    def format(self, unit: str = "kT") -> str:
        """Returns "2.31 +- 0.04 kT": the error is cut to one digit, to two if the first is 1."""
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
        """Returns "2.31 +- 0.04 kT = 5.76 +- 0.10 kJ/mol"; kT in kJ/mol."""
        in_kj = Estimate(self.value * kT, self.error * kT)
        return f"{self.format('kT')} = {in_kj.format('kJ/mol')}"


def stored_text(pair: dict) -> str:
    """Text of an estimate as results.json holds it, {value, error}; a value of null is -inf."""
    if pair["value"] is None:
        return "-inf"
    return Estimate(pair["value"], nan if pair["error"] is None else pair["error"]).format("")


def _power(number: float, decimals: int) -> str:
    """Returns "-2.9e5" for -290,000 and decimals = -4."""
    if number == 0.0:
        return "0"
    mantissa, exponent = f"{number:.9e}".split("e")
    shown = max(int(exponent) + decimals, 0)
    return f"{float(mantissa):.{shown}f}e{int(exponent)}"


def agreement(a: Estimate, b: Estimate) -> float:
    """Returns the z-score (a - b) / sqrt(error_a^2 + error_b^2); nan where either is unknown."""
    difference, error = a.value - b.value, np.hypot(a.error, b.error)
    if not isfinite(error):
        return float("nan")
    if error == 0.0:
        return 0.0 if difference == 0.0 else float(np.copysign(np.inf, difference))
    return float(difference / error)
