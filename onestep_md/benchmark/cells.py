"""Numbers in the cells of Markdown tables."""

import math


def cell(value: float | None, form: str) -> str:
    """A number by format specification; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else format(value, form)
