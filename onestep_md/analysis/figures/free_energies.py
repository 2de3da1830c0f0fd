"""The figure of free energies between states."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onestep_md.analysis.figures import style
from onestep_md.analysis.records.free_energies import FreeEnergies

_BINS = 60
_LEVELS = {"good": style.REWEIGHTED, "care": style.RAW, "not determined": style.WARNING}


def free_energy_figure(results: FreeEnergies, log_w: np.ndarray) -> Figure:
    """Draw Delta F of every state, the distributions of work, and the ESS against their medians.

    Args:
        results: all states.
        log_w: (states, n) log weights of the samples of the flow.
    """
    figure, axes = style.new_figure(1.8 + 0.28 * len(results.states), 1, 3)
    _draw_bars(axes[0, 0], results)
    _draw_work(axes[0, 1], results, log_w)
    _draw_ess(axes[0, 2], results, log_w)
    return figure


def _draw_bars(ax: Axes, results: FreeEnergies) -> None:
    place = np.arange(len(results.states))
    for y, state in zip(place, results.states, strict=True):
        value, error = state.delta_f.value, state.delta_f.error
        colour = _LEVELS[state.level]
        if np.isfinite(value):
            ax.errorbar(value, y, xerr=error if np.isfinite(error) else None, fmt="o",
                        color=colour, ms=4, capsize=3)  # fmt: skip
        else:
            ax.annotate("not determined", (0.5, y), xycoords=("axes fraction", "data"),
                        ha="center", va="center", fontsize=9, color=colour)  # fmt: skip
    ax.set_yticks(place, [state.name for state in results.states])
    ax.invert_yaxis()
    ax.axvline(0.0, color=style.MUTED, lw=0.8)
    style.label(ax, "ΔF (kT)", "", "Relative to the run")


def _draw_work(ax: Axes, results: FreeEnergies, log_w: np.ndarray) -> None:
    """Draw the distributions of the work log Z - log w; mass below zero is overlap."""
    for state, row in zip(results.states, log_w, strict=True):
        log_z = state.log_z if np.isfinite(state.log_z.value) else state.reweighting.log_z
        finite = row[np.isfinite(row)]
        if not finite.size or not np.isfinite(log_z.value):
            continue
        work = log_z.value - finite
        edges = np.linspace(work.min(), np.quantile(work, 0.99), _BINS).tolist()
        ax.hist(work, edges, density=True, histtype="step", lw=1.3, label=state.name)
    ax.axvline(0.0, color=style.MUTED, lw=0.8)
    style.label(ax, "log Z − log w (kT)", "density", "Work from the flow to the state")
    style.legend(ax, loc="upper right")


def _draw_ess(ax: Axes, results: FreeEnergies, log_w: np.ndarray) -> None:
    for state, row in zip(results.states, log_w, strict=True):
        log_z = state.log_z if np.isfinite(state.log_z.value) else state.reweighting.log_z
        if not np.isfinite(log_z.value) or state.reweighting.ess == 0.0:
            continue
        lost, percent = log_z.value - np.median(row), 100.0 * state.reweighting.ess
        ax.semilogy(lost, percent, "o", ms=5, color=_LEVELS[state.level])
        ax.annotate(state.name, (lost, percent), xytext=(4, 3), textcoords="offset points",
                    fontsize=8.5)  # fmt: skip
    ax.set_ylim(top=150.0)
    ax.margins(x=0.2)
    style.label(ax, "median work (kT)", "ESS (%)", "Overlap")
