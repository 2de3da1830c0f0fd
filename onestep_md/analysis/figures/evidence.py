"""Figures of trust and cost: the weight tail, ESS and log Z against K, the training curves."""

import math
import re
from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from onestep_md.analysis.figures import style
from onestep_md.analysis.numbers import estimate
from onestep_md.analysis.records.folder import AnyRecord
from onestep_md.estimators.estimate import UNKNOWN, Estimate
from onestep_md.estimators.evidence import Evidence

_LINES = 0.17  # height of two lines of text, a fraction of the axis of the bounds


def weight_figure(run: AnyRecord) -> Figure:
    """Draw the sorted weights with the tail that k-hat describes, and their concentration."""
    figure, axes = style.new_figure(3.3, 1, 2)
    weights = np.sort(run.samples.weights)[::-1]
    head = run.results.headline
    n, khat, limit = len(weights), head.khat, head.khat_limit
    ax, rank = axes[0, 0], np.arange(1, n + 1)
    positive = weights > 0
    ax.loglog(rank[positive], n * weights[positive], color=style.REWEIGHTED, lw=2, label="samples")
    tail = min(max(5, int(3 * np.sqrt(n))), n)
    shade = style.WARNING if head.khat_fails else style.GREEN
    for k, dashes, colour, title in (
        (khat, "--", shade, f"tail of k-hat {khat:.2f}"),
        (limit, ":", style.MUTED, f"tail of the limit {limit:.2f}"),
    ):
        if np.isfinite(k):
            ranks = np.geomspace(1, tail, 50)
            ax.loglog(ranks, n * _pareto(weights[:tail], k, ranks), dashes, lw=1.6, color=colour,
                      label=title)  # fmt: skip
    ax.axhline(1.0, color=style.MUTED, lw=0.8)
    ax.set_ylim(1e-3, 30 * n * weights[0])
    ax.set_xlim(1, n)
    style.label(ax, "samples, heaviest first", "weight / mean weight", "Weight tail")
    style.legend(ax, loc="lower left")
    _draw_concentration(axes[0, 1], weights)
    return figure


def _pareto(tail: np.ndarray, k: float, ranks: np.ndarray) -> np.ndarray:
    """Weights at the given ranks if the tail (descending) is generalised Pareto with index k."""
    # quantiles w = w_min + scale (p^-k - 1) / k at p = rank / m, scale from the median of the tail
    m, median = len(tail), tail[len(tail) // 2] - tail[-1]
    shape = k if abs(k) > 1e-3 else 1e-3
    return tail[-1] + median * ((ranks / m) ** -shape - 1) / (2.0**shape - 1)


def _draw_concentration(ax: Axes, weights: np.ndarray) -> None:
    """Draw the share of the total weight that the heaviest samples carry (Lorenz curve)."""
    fraction = np.arange(len(weights) + 1) / len(weights)
    share = np.concatenate([[0.0], np.cumsum(weights)])
    ax.plot([0, 100], [0, 100], color=style.MUTED, lw=1, ls="--", label="equal weights")
    ax.plot(100 * fraction, 100 * share, color=style.REWEIGHTED, lw=2, label="these samples")
    for percent in (1, 10):
        held = 100 * share[int(round(percent / 100 * len(weights)))]
        ax.plot(percent, held, "o", color=style.REWEIGHTED, ms=5)
        ax.annotate(
            f"{percent} % carry {held:.0f} %", (percent + 3, max(held, 4.0)), fontsize=9.5,
            va="center", path_effects=style.HALO,
        )  # fmt: skip
    ax.set(xlim=(0, 100), ylim=(0, 102))
    style.percent_axis(ax.xaxis)
    style.percent_axis(ax.yaxis)
    style.label(ax, "heaviest samples", "share of the total weight", "Concentration")
    style.legend(ax, loc="lower right")


def steps_figure(run: AnyRecord) -> Figure:
    """Draw ESS and log Z against the number of steps K; K = 0 is the base without the network."""
    figure, axes = style.new_figure(4.0, 1, 3)
    rows, known = run.results.evidence, run.results.known_log_z.value
    place = np.arange(len(rows))
    ess, bounds, zoom = axes[0]
    percent = [_percent(row.reverse_ess) for row in rows]
    _draw_points(ess, place, percent, style.REWEIGHTED, "o-", "ESS")
    ess.plot(place, [100 * row.ess_clipped for row in rows], "s--", color=style.MUTED, ms=4, lw=1,
             label="ESS, top 0.01 % clipped")  # fmt: skip
    ess.set_ylim(0, 105)
    style.percent_axis(ess.yaxis)
    if math.isfinite(known):
        for ax, title in ((bounds, "known log Z"), (zoom, "known")):
            ax.axhline(known, color=style.GREEN, lw=1.4, ls="--", label=title, zorder=1.5)
    bounds.margins(y=0.08)
    _draw_bounds(bounds, place, rows, known)
    log_z = [row.log_z for row in rows]
    _draw_points(zoom, place - 0.08, log_z, style.REWEIGHTED, "o", "log mean weight")
    bar = f"BAR with {run.results.target_source}"
    _draw_points(zoom, place + 0.08, [row.bar for row in rows], style.DYNAMICS, "D", bar)
    titles = ("Effective sample size", "Bounds of log Z (nats)", "log Z, close up (nats)")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_xticks(place, [str(row.steps) for row in rows])
        ax.set_xlim(-0.4, len(rows) - 0.6)
        ax.ticklabel_format(axis="y", useOffset=False) if ax is not ess else None
        style.label(ax, "steps K (0: base alone)", "", title)
    for ax in (bounds, zoom):
        ax.yaxis.set_major_locator(MaxNLocator(6))
    zoom.margins(y=0.3)
    _fit_axis(zoom, rows, known)
    for ax in axes[0]:  # below the axis label, where nothing is drawn or written
        style.legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.18), borderaxespad=0.0)
    return figure


def _percent(fraction: Estimate) -> Estimate:
    return Estimate(100 * fraction.value, 100 * fraction.error)


def _finite_value(estimate: Estimate) -> float:
    """Value of an estimate; nan, which is not drawn, for an infinite one."""
    return estimate.value if math.isfinite(estimate.value) else math.nan


def _draw_points(
    ax: Axes, place: np.ndarray, values: list[Estimate], colour: str, marker: str, title: str
) -> None:
    """Draw finite values with their error bars; nothing if none is finite."""
    y = np.array([_finite_value(v) for v in values])
    error = np.nan_to_num([v.error for v in values])
    if np.isfinite(y).any():
        ax.errorbar(place, y, error, fmt=marker, color=colour, ms=5.5, lw=1.6, capsize=3,
                    label=title)  # fmt: skip


def _draw_bounds(ax: Axes, place: np.ndarray, rows: tuple[Evidence, ...], known: float) -> None:
    """Draw ELBO, log Z and EUBO; those far off the scale of the flow are written as text."""
    # a few clashes, or the base alone, would flatten all others
    flow = [row for row in rows if row.steps] or rows
    values = [v.value for row in flow for v in (row.log_z, row.elbo) if math.isfinite(v.value)]
    if not values:
        return
    middle = np.median([r.log_z.value for r in flow if math.isfinite(r.log_z.value)] or values)
    near = [_finite_value(v) for row in flow for v in (row.log_z, row.eubo)]
    gaps = [known - middle, *(value - middle for value in near)]
    above = np.nanmax([0.05, *np.abs(gaps)])
    below = np.nanmedian([0.0, *(middle - _finite_value(row.elbo) for row in flow)])
    reach = 5.0 * max(above, min(below, 4.0 * above))
    texts: dict[bool, list[tuple[int, str, str]]] = {False: [], True: []}  # above the scale?
    for name, colour, marker, title in (
        ("eubo", style.DYNAMICS, "v-", "EUBO (upper bound)"),
        ("log_z", style.REWEIGHTED, "o-", "log Z"),
        ("elbo", style.RAW, "^-", "ELBO (lower bound)"),
    ):
        bounds = [getattr(row, name) for row in rows]
        on_scale = [v if abs(v.value - middle) <= reach else UNKNOWN for v in bounds]
        _draw_points(ax, place, on_scale, colour, marker, title)
        for x, row, value in zip(place, rows, bounds, strict=True):
            unbounded = name == "elbo" and row.infinite
            if unbounded or abs(_finite_value(value) - middle) > reach:
                text = f"{title.split(' (')[0]}\n{'−∞' if unbounded else _short(value.value)}"
                texts[value.value > middle].append((int(x), text, colour))
    _write_off_scale(ax, texts)


def _short(value: float) -> str:
    """Format as `−446`, `−8120` or `−8e6`, short enough for one of five places on the axis."""
    text = f"{value:.0e}" if abs(value) >= 1e4 else f"{value:.{3 if abs(value) < 1e3 else 4}g}"
    return re.sub(r"e\+0*", "e", text).replace("-", "−")


def _write_off_scale(ax: Axes, texts: dict[bool, list[tuple[int, str, str]]]) -> None:
    """Write texts (place, text, colour) above and below the points, and make room for them."""
    low, high = ax.get_ylim()
    room = dict.fromkeys(texts, 0.0)
    for above, column in texts.items():
        stacked: Counter[int] = Counter()
        for x, text, colour in column:
            y = 0.02 + _LINES * stacked[x]
            stacked[x] += 1
            ax.annotate(text, (x, 1.0 - y if above else y), xycoords=("data", "axes fraction"),
                        ha="center", va="top" if above else "bottom", fontsize=9,
                        color=colour, path_effects=style.HALO)  # fmt: skip
        room[above] = 0.03 + _LINES * max(stacked.values()) if stacked else 0.0
    # room is a fraction of the final axis
    unit = (high - low) / (1.0 - room[True] - room[False])
    ax.set_ylim(low - room[False] * unit, high + room[True] * unit)


def _fit_axis(ax: Axes, rows: tuple[Evidence, ...], known: float) -> None:
    """Fit the axis to the flow, and to the base alone (K = 0) unless it lies far off."""
    flow = [end for row in rows if row.steps for end in _ends(row)]
    flow += [known] if math.isfinite(known) else []
    if not flow or max(flow) == min(flow):
        return
    low, high = min(flow), max(flow)
    near = 3.0 * (high - low)
    alone = [end for row in rows if not row.steps for end in _ends(row)]
    # whole error bars or none: half a bar would look like a smaller error
    ends = flow + alone if all(low - near < end < high + near for end in alone) else flow
    low, high = min(ends), max(ends)
    low, high = low - 0.2 * (high - low), high + 0.2 * (high - low)
    ax.set_ylim(low, high)
    base = rows[0]
    if base.steps == 0 and not low < base.log_z.value < high:
        y, side = (0.02, "bottom") if base.log_z.value < low else (0.98, "top")
        text = estimate(base.log_z).split(" ")[0]  # no more digits than its error leaves
        ax.annotate(text, (-0.36, y), xycoords=("data", "axes fraction"), ha="left", va=side,
                    fontsize=9, color=style.REWEIGHTED, path_effects=style.HALO)  # fmt: skip


def _ends(row: Evidence) -> list[float]:
    """List the ends of the error bars of log Z and BAR that are finite."""
    ends = []
    for value in (row.log_z, row.bar):
        error = value.error if math.isfinite(value.error) else 0.0
        ends += [value.value - error, value.value + error] if math.isfinite(value.value) else []
    return ends


def pretraining_figure(run: AnyRecord) -> Figure:
    """Draw the negative log-likelihood of the explored samples, without its steep beginning."""
    figure, axes = style.new_figure(2.6)
    axis, history = axes.item(), run.history.pretraining
    step, loss = history["step"], history["loss"]
    axis.plot(step, loss, color=style.GREEN, lw=1.3)
    low, high = np.nanmin(loss), np.nanquantile(loss, 0.95)
    margin = 0.05 * (high - low)
    axis.set_ylim(low - margin, high + margin)
    style.label(axis, "step of pretraining", "nats", "Negative log-likelihood")
    return figure


def training_figure(run: AnyRecord, energy: str = "energy (kT)") -> Figure:
    """Draw losses, live one-step ESS, energy evaluations per second and idle time.

    Args:
        run: the run.
        energy: name of the loss that evaluates energies.
    """
    figure, axes = style.new_figure(5.2, 2, 2)
    m, step = run.history.metrics, run.history.metrics["step"]
    losses, ess, rate, idle = axes.flat
    for name, colour, title in (
        ("loss_flow", style.DYNAMICS, "flow matching"),
        ("loss_state", style.REWEIGHTED, "state consistency"),
        ("loss_volume", style.RAW, "volume consistency"),
        ("loss_energy", style.GREEN, energy),
    ):
        values = np.where(m[name] > 0, m[name], np.nan)
        if np.isfinite(values).any():
            losses.semilogy(step, values, color=colour, lw=1.3, label=title)
    _make_room_for_legend(losses)
    style.label(losses, "", "loss", "Losses")
    style.legend(losses, loc="upper right", ncols=2)
    ess.plot(step, 100 * m["ess"], color=style.REWEIGHTED, lw=1.5)
    base = run.results.row(0)
    if base is not None:
        ess.axhline(100 * base.ess, color=style.MUTED, lw=1.2, ls="--", label="base alone")
    final = 100 * run.results.headline.ess
    ess.axhline(final, color=style.GREEN, lw=1.2, ls="--", label="final samples")
    ess.set_ylim(0, 105)
    style.percent_axis(ess.yaxis)
    style.label(ess, "", "", "One-step ESS, live")
    style.legend(ess, loc="best", ncols=2)
    rate.plot(step, m["evaluations_per_s"], color=style.REWEIGHTED, lw=1.3)
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    style.label(rate, "training step", "1/s", "Energy evaluations per second")
    idle.plot(step, 100 * m["learner_idle"], color=style.RAW, lw=1.3)
    idle.set_ylim(0, max(10.0, 110 * float(np.nanmax(m["learner_idle"], initial=0.0))))
    style.percent_axis(idle.yaxis)
    style.label(idle, "training step", "", "Learner waiting for energies")
    return figure


def _make_room_for_legend(axis: Axes) -> None:
    """Extend a logarithmic axis at the top; one of less than a decade becomes linear."""
    low, high = axis.get_ylim()
    if high < 10.0 * low:
        axis.set_yscale("linear")
        axis.set_ylim(low, high + 0.3 * (high - low))
    else:
        axis.set_ylim(low, high * (high / low) ** 0.3)
