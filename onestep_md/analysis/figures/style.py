"""One look for every figure: colours, sizes, axes. No pyplot, hence no global state."""

import re
from typing import Any, Literal

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

DYNAMICS = "#3a3f47"
RAW = "#e8871e"
REWEIGHTED = "#1f6fb5"
WARNING = "#c0392b"
GREEN = "#2c8c6a"
MUTED = "#8a919b"
SURFACE = "viridis"
FONT = 10.0  # pt; figures are shown at about the size they are drawn
WIDTH = 9.6  # inches: the text width of the report
DPI = 150
HALO = [patheffects.withStroke(linewidth=2.5, foreground="white", alpha=0.85)]
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "zeta": "ζ",
    "phi": "φ",
    "psi": "ψ",
    "chi": "χ",
    "omega": "ω",
}


def new_figure(
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> tuple[Figure, np.ndarray]:
    """Make an empty figure of the report's width and its (rows, columns) axes."""
    figure = Figure(figsize=(WIDTH, height), layout=layout, facecolor="white")
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(w_pad=0.07, h_pad=0.05, wspace=0.03, hspace=0.04)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.tick_params(labelsize=FONT - 0.5, color=MUTED, length=3.5)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(MUTED)
        ax.grid(True, color="#e6e8eb", linewidth=0.7)
        ax.set_axisbelow(True)
    return figure, axes


def label(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Set axis labels and a left-aligned title."""
    ax.set_xlabel(x, fontsize=FONT)
    ax.set_ylabel(y, fontsize=FONT)
    if title:
        ax.set_title(title, fontsize=FONT + 1, loc="left", fontweight="bold", color="#22272e")


def legend(owner: Axes | Figure, **place: Any) -> None:
    """Add a legend without a frame; none to axes without labels."""
    if isinstance(owner, Axes) and not owner.get_legend_handles_labels()[0]:
        return
    owner.legend(fontsize=FONT - 0.5, frameon=False, handlelength=1.6, **place)


def percent_axis(axis) -> None:
    """Format ticks as `20 %`."""
    axis.set_major_formatter(PercentFormatter(decimals=0, symbol=" %"))


def degrees_axis(axis, tick: int = 60) -> None:
    """Set an axis to -180..180 degrees with round ticks."""
    axis.set_ticks(list(range(-180, 181, tick)))
    axis.axes.set(**{f"{axis.axis_name}lim": (-180, 180)})


def symbol(name: str) -> str:
    """Write a name with Greek letters and subscripts: `psi_2` as ψ₂, `alpha-R` as α-R."""
    word, *rest = re.split(r"(?<=[a-zA-Z])(?=[_\-\d])", name, maxsplit=1)
    tail = "".join(rest)
    if re.fullmatch(r"_\d+", tail):
        tail = tail[1:].translate(_SUBSCRIPTS)
    return _GREEK.get(word.lower(), word) + tail
