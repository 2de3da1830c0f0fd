"""Figures of samples in R^dim: a pair of coordinates and the marginals, raw, reweighted, target.

Coordinates are named as in numpy, x[0] first. A weighted histogram has p_b = sum of normalised
weights in bin b, and by the delta method var(p_b) = sum_i w_i^2 (1_b(i) - p_b)^2.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from onestep_md.analysis.figures import style
from onestep_md.analysis.records.density import DensityRecord

MOST_MARGINALS = 6
_CANDIDATES = 100  # coordinates among which a pair is sought
_PAIR_SAMPLES = 4000  # samples by which the pair is chosen
_LEAST_CORRELATION = 0.15  # of ranks; below it a pair counts as independent
_PAIR_BINS = 90
_BINS = 70  # of a marginal, fewer where there are few samples
_PEAK = 15.0  # height over the mean height; a higher marginal needs a log scale
_EDGE = 0.003  # fraction of the target beyond either end of an axis


@dataclass(frozen=True)
class Ensemble:
    """Points (n, dim) with normalised weights (n,), their title and their colour."""

    title: str
    colour: str
    x: np.ndarray
    weights: np.ndarray


def collect_ensembles(run: DensityRecord) -> tuple[Ensemble, ...]:
    """Collect raw, reweighted and target samples; points that are not finite are left out."""
    samples, target = run.samples, run.target_x
    finite = np.isfinite(samples.x).all(axis=1)
    x, weights = samples.x[finite], samples.weights[finite]
    equal = np.full(len(x), 1.0 / len(samples.x))
    title = "target, exact" if run.results.exact_samples else "target, annealing"
    collected = (
        Ensemble("raw one-step", style.RAW, x, equal),
        Ensemble("reweighted", style.REWEIGHTED, x, weights),
        Ensemble(title, style.DYNAMICS, target, np.full(len(target), 1.0 / len(target))),
    )
    return collected if samples.has_weights else (collected[0], collected[2])


def choose_coordinates(x: np.ndarray) -> list[int]:
    """Choose up to six coordinates: the most dependent pair, then the least Gaussian.

    Args:
        x: (n, dim) samples of the target.

    Returns:
        Indices of the coordinates; the first two are the pair.
    """
    excess = excess_kurtosis(x)
    order = sorted(range(x.shape[1]), key=lambda i: (-round(float(excess[i]), 1), i))
    pair = _find_dependent_pair(x[:_PAIR_SAMPLES], sorted(order[:_CANDIDATES]))
    chosen = [*pair, *(i for i in order if i not in pair)][:MOST_MARGINALS]
    return sorted(chosen[:2]) + chosen[2:]


def excess_kurtosis(x: np.ndarray) -> np.ndarray:
    """|excess kurtosis| of every coordinate (dim,), 0 where it may be chance."""
    centred = x - x.mean(axis=0)
    variance = np.maximum(np.square(centred).mean(axis=0), 1e-300)
    excess = np.abs(np.square(np.square(centred)).mean(axis=0) / variance**2 - 3.0)
    # the kurtosis of n Gaussian numbers has variance 24 / n
    return np.where(excess > 4.0 * np.sqrt(24.0 / len(x)), excess, 0.0)


def _find_dependent_pair(x: np.ndarray, candidates: list[int]) -> list[int]:
    """Find the pair of largest rank correlation of values or distances from the median, if any."""
    if len(candidates) < 2:
        return []
    x = x[:, candidates]
    features = np.concatenate([_ranks(x), _ranks(np.abs(x - np.median(x, axis=0)))], axis=1)
    correlation = np.abs(features.T @ features) / len(x)
    m = len(candidates)
    # of the four ways to combine value and distance of i with those of j, the strongest
    strength = correlation.reshape(2, m, 2, m).max(axis=(0, 2))
    np.fill_diagonal(strength, 0.0)
    i, j = np.unravel_index(np.argmax(np.round(strength, 2)), strength.shape)
    return [candidates[i], candidates[j]] if strength[i, j] > _LEAST_CORRELATION else []


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of every column, shifted and scaled to mean 0 and variance 1."""
    ranks = np.argsort(np.argsort(x, axis=0), axis=0) + 0.5 - len(x) / 2
    return ranks * np.sqrt(12.0) / len(x)


def axis_limits(run: DensityRecord, coordinate: int) -> tuple[float, float]:
    """Find the ends of an axis: nearly all of the target, and raw samples half as far again."""
    target, raw = run.target_x[:, coordinate], run.samples.x[:, coordinate]
    low, high = np.quantile(target, (_EDGE, 1.0 - _EDGE))
    raw = raw[np.isfinite(raw)]
    raw_low, raw_high = np.quantile(raw if len(raw) else target, (_EDGE, 1.0 - _EDGE))
    span = max(high - low, 1e-9 * max(1.0, abs(low)))
    low = max(min(low, raw_low), low - 0.5 * span)
    high = min(max(high, raw_high), high + 0.5 * span)
    return float(low - 0.08 * span), float(high + 0.08 * span)


def pair_figure(run: DensityRecord, pair: tuple[int, int]) -> Figure:
    """Draw the density of two coordinates, raw, reweighted and target, on one colour scale."""
    edges = [np.linspace(*axis_limits(run, i), _PAIR_BINS + 1) for i in pair]
    ensembles = collect_ensembles(run)
    densities = [log_density(e.x[:, list(pair)], e.weights, edges) for e in ensembles]
    top = max(np.max(d, initial=-np.inf, where=np.isfinite(d)) for d in densities)
    floor = float(np.clip(np.nanpercentile(densities[-1] - top, 2), -9.0, -3.0))
    figure, axes = style.new_figure(3.45, 1, len(ensembles))
    for column, (ax, e, density) in enumerate(zip(axes[0], ensembles, densities, strict=True)):
        clipped = np.ma.masked_invalid(np.where(density - top >= floor, density - top, np.nan))
        image = ax.pcolormesh(
            *edges, clipped.T, cmap=style.SURFACE, norm=Normalize(floor, 0.0), rasterized=True
        )
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set_visible(True)
        style.label(ax, f"x[{pair[0]}]", f"x[{pair[1]}]" if column == 0 else "", e.title)
        ax.tick_params(labelleft=column == 0)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("log density below the top (nats)", fontsize=style.FONT)
    bar.ax.tick_params(labelsize=style.FONT - 0.5)
    bar.outline.set_visible(False)
    return figure


def log_density(x: np.ndarray, weights: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Log of a slightly smooth weighted histogram of x (n, 2); nan where no sample is near."""
    mass = _smooth(np.histogram2d(x[:, 0], x[:, 1], bins=edges, weights=weights)[0])
    count = _smooth(np.histogram2d(x[:, 0], x[:, 1], bins=edges)[0])
    # one sample alone leaves (6/16)^2 = 0.14 in its own bin
    visible = (count > 0.05) & (mass > 0)
    return np.where(visible, np.log(np.where(visible, mass, 1.0)), np.nan)


def _smooth(histogram: np.ndarray) -> np.ndarray:
    """Convolve with the binomial kernel of variance 1 bin, along both axes."""
    kernel = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    for axis in (0, 1):
        histogram = np.apply_along_axis(np.convolve, axis, histogram, kernel, mode="same")
    return histogram


def marginal(x: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute the density and its standard error in every bin.

    Args:
        x: (n,) values.
        weights: (n,) of sum 1 over all samples, also those beyond the edges.
        edges: (bins + 1,) of equal width.
    """
    p = np.histogram(x, edges, weights=weights)[0]
    # sum_i w_i^2 (1_b - p)^2 = (1 - 2 p) sum_{i in b} w_i^2 + p^2 sum_i w_i^2
    inside = np.histogram(x, edges, weights=np.square(weights))[0]
    variance = (1.0 - 2.0 * p) * inside + np.square(p) * np.square(weights).sum()
    width = edges[1] - edges[0]
    return p / width, np.sqrt(np.maximum(variance, 0.0)) / width


def marginal_figure(run: DensityRecord, coordinates: list[int]) -> Figure:
    """Draw the probability density of single coordinates with bands of one standard error."""
    columns = min(len(coordinates), 3)
    rows = -(-len(coordinates) // columns)
    figure, axes = style.new_figure(2.45 * rows + (0.75 if rows == 1 else 0.4), rows, columns)
    ensembles = collect_ensembles(run)
    fewest = min(len(e.weights) for e in ensembles)
    bins = int(np.clip(2.5 * fewest ** (1 / 3), 20, _BINS))
    for index, (ax, i) in enumerate(zip(axes.flat, coordinates, strict=False)):
        edges = np.linspace(*axis_limits(run, i), bins + 1)
        middles = 0.5 * (edges[1:] + edges[:-1])
        for e in reversed(ensembles):
            height, error = marginal(e.x[:, i], e.weights, edges)
            if e.colour == style.DYNAMICS:
                ax.stairs(height, edges, fill=True, color=e.colour, alpha=0.15)
                peaked = height.max() * (edges[-1] - edges[0]) > _PEAK
                lowest = 0.3 * height[height > 0].min()
            if peaked:
                height = np.where(height > 0, height, np.nan)  # no logarithm of nothing
            ax.fill_between(
                middles, height - error, height + error, color=e.colour, alpha=0.25, lw=0
            )
            ax.plot(middles, height, color=e.colour, lw=1.6, label=e.title)
        ax.set_xlim(edges[0], edges[-1])
        if peaked:
            ax.set_yscale("log")
        ax.set_ylim(bottom=lowest if peaked else 0)
        style.label(ax, f"x[{i}]", "probability density" if index % columns == 0 else "")
    for ax in list(axes.flat)[len(coordinates) :]:
        ax.set_visible(False)
    handles, titles = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, titles, loc="outside upper center", ncols=3, frameon=False, fontsize=style.FONT
    )
    return figure
