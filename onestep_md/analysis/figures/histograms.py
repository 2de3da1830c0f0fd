"""Histograms of several ensembles in one panel."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes


def draw_histograms(
    ax: Axes,
    arrays: Mapping[str, np.ndarray],
    quantity: str,
    kinds: Mapping[str, tuple[str, str]],
    shaded: str,
) -> None:
    """Draw lines with bands of one standard error.

    Args:
        ax: axes to draw into.
        arrays: result of `estimators.histograms.histograms`.
        quantity: its `kind` there.
        kinds: title and colour of every ensemble; the first is drawn on top.
        shaded: the ensemble with a shaded area.
    """
    edges = arrays[f"{quantity}_edges"]
    middles = 0.5 * (edges[1:] + edges[:-1])
    for kind in reversed([kind for kind in kinds if f"{quantity}_{kind}" in arrays]):
        title, colour = kinds[kind]
        height, error = arrays[f"{quantity}_{kind}"]
        if kind == shaded:
            ax.stairs(height, edges, fill=True, color=colour, alpha=0.15)
        ax.fill_between(middles, height - error, height + error, color=colour, alpha=0.25, lw=0)
        ax.plot(middles, height, color=colour, lw=1.6, label=title)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
