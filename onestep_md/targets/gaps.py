"""Rows that have no energy, and rows that have an energy and no gradient.

A row without an energy is outside of the support. A row without a gradient is not: a weight needs
the energy alone. So an evaluator returns u = +inf and a gradient of zero for the first kind, and u
with a gradient of NaN for the second; moves and training take NaN for zero.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Gaps:
    """Rows so far that have an energy and no gradient.

    Attributes:
        gradients: their number.
        example: (...) the first of them.
    """

    gradients: int = 0
    example: np.ndarray | None = None

    def count(self, x: np.ndarray, grad_u: np.ndarray) -> None:
        """Count the rows of an evaluation at x (batch, ...)."""
        unknown = np.isnan(grad_u).any(axis=_inner_axes(grad_u))
        self.gradients += int(unknown.sum())
        if self.example is None and unknown.any():
            self.example = x[unknown.argmax()].copy()

    def warnings(self) -> list[str]:
        """Warn in one sentence of rows without a gradient, if there are any."""
        if self.example is None:
            return []
        place = np.array2string(self.example.ravel(), precision=4, threshold=8, edgeitems=3)
        return [
            f"at {self.gradients} of the points evaluated so far the energy is finite and its "
            f"gradient is not, first at x = {place}. Their weights count in full, but training "
            "and moves saw a gradient of zero there, and may be slow to reach what lies around."
        ]


def mark(u: np.ndarray, grad_u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mark both kinds in raw energies (batch,) and gradients (batch, ...), in place."""
    finite = np.isfinite(u)
    unknown = finite & ~np.isfinite(grad_u).all(axis=_inner_axes(grad_u))
    u[~finite], grad_u[~finite], grad_u[unknown] = np.inf, 0.0, np.nan
    return u, grad_u


def fill_gradients(grad_u: np.ndarray) -> np.ndarray:
    """Replace missing gradients in (batch, ...) by zero."""
    return np.where(np.isnan(grad_u), 0.0, grad_u)


def _inner_axes(rows: np.ndarray) -> tuple[int, ...]:
    return tuple(range(1, rows.ndim))
