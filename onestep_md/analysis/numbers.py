"""Numbers as text: as many digits as the error leaves, a typographic minus, units of time."""

import math
import re

from onestep_md.estimators.estimate import NO_ESTIMATE, Estimate

DASH = "–"  # where there is no number


def estimate(value: Estimate, scale: float = 1.0) -> str:
    """Format as `2.31 ± 0.04`, up to the error's first digit, or its second if the first is 1."""
    number, error = value.value * scale, value.error * scale
    if math.isnan(number):
        return NO_ESTIMATE if value.reason else DASH
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if not math.isfinite(error):
        return f"{signed(number, 2)} ± ?"
    if error == 0:
        return signed(number, 2)
    return Estimate(number, error).format("").replace("+-", "±").replace("-", "−")


def percent(fraction: Estimate, error_known: bool = True) -> str:
    """Format in percent as `67.2 ± 1.0`, as `67.2 ± 1.0*` if the error is a lower bound."""
    if fraction.value < 1e-4:
        return f"{100 * fraction.value:.1g}"
    return estimate(fraction, 100) + ("" if error_known else "*")


def typeset(text: str) -> str:
    """Turn the signs of numbers in plain text into typographic ones."""
    return re.sub(r"(?<![\w.])-(?=[\d])", "−", text.replace("+-", "±"))


def signed(value: float, decimals: int) -> str:
    """Format with a typographic minus and without a negative zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def number(value: float | None, spec: str = ".2f", scale: float = 1.0) -> str:
    """Format by a format specification; a dash stands for no number."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value * scale:{spec}}".replace("-", "−")


def count(n: int) -> str:
    """Format as `12,300`."""
    return f"{n:,}"


def compact(n: int) -> str:
    """Format as `9,300` or `12.3 million`."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return count(n)


def duration(seconds: float) -> str:
    """Format as `42 s`, `7 min 05 s` or `2 h 10 min`."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
