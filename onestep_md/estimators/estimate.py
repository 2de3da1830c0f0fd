"""A number with its standard error: how it is written, and whether two of them agree."""

from dataclasses import asdict, dataclass
from math import hypot, inf, isfinite, isnan, nan

from onestep_md.estimators.limits import ROUNDING

NO_ESTIMATE = "no estimate"
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
        if isnan(self.value) and self.reason:
            return NO_ESTIMATE
        return f"{self._digits()} {unit}".rstrip()

    def as_dict(self) -> dict[str, float | str]:
        """Return a dict for JSON files; the text in it has the infinities that JSON lacks."""
        return asdict(self) | {"text": self.format("")}

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


def read_estimate(pair: dict | None) -> Estimate:
    """Read what `as_dict` wrote; UNKNOWN where nothing was measured.

    JSON's null is nan, or the infinity in the text beside it.
    """
    if pair is None:
        return UNKNOWN
    value, error = pair["value"], pair["error"]
    if value is None:
        value = {"inf": inf, "-inf": -inf}.get(pair.get("text", ""), nan)
    return Estimate(float(value), nan if error is None else float(error), pair.get("reason", ""))


def stored_text(pair: dict | None) -> str:
    """Return the text of an estimate in results.json, of older runs too; a dash for None."""
    if pair is None:
        return "-"
    if "text" in pair:
        return pair["text"]
    if pair["value"] is None:
        return "-inf"
    return Estimate(pair["value"], nan if pair["error"] is None else pair["error"]).format("")


def percent_text(fraction: Estimate, error_known: bool = True) -> str:
    """Return the text of an ESS: "67.2 +- 1.0 %"; "67.2 +- 1.0* %" for an error too small."""
    percent = Estimate(100.0 * fraction.value, 100.0 * fraction.error, fraction.reason)
    if percent.value < _TINY:
        return f"{percent.value:.1g} %"
    text = percent.format("%" if isfinite(percent.value) else "")
    return text if error_known else text.replace(" %", "* %")


def stored_ess(row: dict) -> str:
    """Return the text of the ESS in a row of results.json."""
    value, error = (nan if row[key] is None else row[key] for key in ("ess", "ess_error"))
    return percent_text(Estimate(value, error), row.get("ess_error_known", True))


def stored_forward(row: dict) -> str:
    """Return the text of the forward ESS in a row of results.json; a dash for None."""
    pair = row.get("forward_ess")
    if pair is None:
        return "-"
    return percent_text(read_estimate(pair))


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
