"""Numbers as a reader wants them: errors that cut the digits, a minus that is one, units."""

import math

from onestep_md.estimators.estimate import NO_ESTIMATE, Estimate

DASH = "–"  # where there is no number


def estimate(found: Estimate, scale: float = 1.0) -> str:
    """`2.31 ± 0.04`: the error's first digit decides, its first two if the first is 1."""
    value, error = found.value * scale, found.error * scale
    if math.isnan(value):
        return NO_ESTIMATE if found.reason else DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if not math.isfinite(error):
        return f"{signed(value, 2)} ± ?"
    if error == 0:
        return signed(value, 2)
    return Estimate(value, error).format("").replace("+-", "±").replace("-", "−")


def percent(fraction: Estimate, error_known: bool = True) -> str:
    """`67.2 ± 1.0`, of a hundred; `67.2 ± 1.0*` if the error is too small; 1e-20 is written so."""
    if fraction.value < 1e-4:
        return f"{100 * fraction.value:.1g}"
    return estimate(fraction, 100) + ("" if error_known else "*")


def signed(value: float, decimals: int) -> str:
    """A number with a typographic minus and no negative zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def number(value: float | None, spec: str = ".2f", scale: float = 1.0) -> str:
    """A number by format specification; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value * scale:{spec}}".replace("-", "−")


def count(n: int) -> str:
    """`12,300`."""
    return f"{n:,}"


def compact(n: int) -> str:
    """`9,300`, `12.3 million`."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return count(n)


def duration(seconds: float) -> str:
    """`42 s`, `7 min 05 s`, `2 h 10 min`."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
