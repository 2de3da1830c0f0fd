"""The figure of free energies between states."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onestep_md.analysis.figures import style
from onestep_md.analysis.records.free_energies import FreeEnergies, StateResult
from onestep_md.estimators.limits import RELIABLE_ESS

_BINS = 60
_SMALL = 8.0  # pt, of labels
_LINE = 0.2  # inches between labels
_TOP = 150.0  # %, of the axis of the ESS
_LEVELS = {"good": style.REWEIGHTED, "care": style.RAW, "not determined": style.WARNING}


def free_energy_figure(results: FreeEnergies, log_w: np.ndarray) -> Figure:
    """Draw Delta F of every state, the distributions of work, and the ESS against their medians.

    Args:
        results: all states.
        log_w: (states, n) log weights of the samples of the flow.
    """
    inches = 1.8 + 0.28 * len(results.states)
    figure, axes = style.new_figure(inches, 1, 3)
    _draw_bars(axes[0, 0], results)
    _draw_work(axes[0, 1], results, log_w)
    _draw_ess(axes[0, 2], results, log_w, _LINE / inches)
    axes[0, 1].sharey(axes[0, 0])
    axes[0, 1].tick_params(labelleft=False)
    return figure


def _draw_bars(ax: Axes, results: FreeEnergies) -> None:
    place = np.arange(len(results.states))
    for y, state in zip(place, results.states, strict=True):
        value, error = state.delta_f.value, state.delta_f.error
        colour = _LEVELS[state.level]
        text = state.delta_f.format("") if np.isfinite(value) else "not determined"
        if np.isfinite(value):
            ax.errorbar(value, y, xerr=error if np.isfinite(error) else None, fmt="o",
                        color=colour, ms=4, capsize=3)  # fmt: skip
        ax.annotate(text, (0.98, y - 0.28), xycoords=("axes fraction", "data"), ha="right",
                    va="center", fontsize=_SMALL, color=colour)  # fmt: skip
    ax.set_yticks(place, [state.name for state in results.states])
    ax.set_ylim(len(place) - 0.5, -0.9)
    ax.axvline(0.0, color=style.MUTED, lw=0.8)
    style.label(ax, "ΔF (kT)", "", "Relative to the run")


def _draw_work(ax: Axes, results: FreeEnergies, log_w: np.ndarray) -> None:
    """Draw the distributions of the work log Z - log w, a row each; mass below zero is overlap."""
    for y, (state, row) in enumerate(zip(results.states, log_w, strict=True)):
        log_z = _log_z(state)
        finite = row[np.isfinite(row)]
        if not finite.size or not np.isfinite(log_z):
            continue
        work = log_z - finite
        edges = np.linspace(work.min(), np.quantile(work, 0.99), _BINS)
        density, _ = np.histogram(work, edges, density=True)
        height = y - 0.9 * density / density.max()
        middle, colour = 0.5 * (edges[1:] + edges[:-1]), _LEVELS[state.level]
        ax.fill_between(middle, height, y, color=colour, alpha=0.35, lw=0)
        ax.plot(middle, height, color=colour, lw=1.0)
    ax.axvline(0.0, color=style.MUTED, lw=0.8)
    style.label(ax, "log Z − log w (kT)", "", "Work from the flow to the state")


def _draw_ess(ax: Axes, results: FreeEnergies, log_w: np.ndarray, gap: float) -> None:
    """Draw the ESS against the median work, with the names beside, a gap apart at least."""
    points = []
    for state, row in zip(results.states, log_w, strict=True):
        if np.isfinite(_log_z(state)) and state.reweighting.ess > 0.0:
            lost = _log_z(state) - np.median(row)
            points.append((100.0 * state.reweighting.ess, lost, state))
    points.sort(key=lambda point: point[:2], reverse=True)
    ax.set_yscale("log")
    bottom = min([percent for percent, _, _ in points], default=1.0) / 2.0
    ax.set_ylim(bottom, _TOP)
    above = np.inf
    for percent, lost, state in points:
        ax.plot(lost, percent, "o", ms=5, color=_LEVELS[state.level])
        # a name stands at its point, or below that of the point above
        height = np.log(percent / bottom) / np.log(_TOP / bottom)
        above = min(height, above - gap)
        ax.annotate(state.name, (lost, percent), xytext=(1.04, above), va="center",
                    textcoords="axes fraction", fontsize=_SMALL,
                    arrowprops={"arrowstyle": "-", "color": style.MUTED, "lw": 0.5})  # fmt: skip
    ax.axhline(100.0 * RELIABLE_ESS, color=style.MUTED, lw=0.8, ls="--")
    ax.margins(x=0.15)
    style.label(ax, "median work (kT)", "ESS (%)", "Overlap")


def _log_z(state: StateResult) -> float:
    """Return log Z in use, or by reweighting where it is not determined."""
    used = state.log_z.value
    return used if np.isfinite(used) else state.reweighting.log_z.value
