"""Figures of conformations: free-energy surfaces, torsion profiles, energies, distances.

Free energies are -log of a weighted histogram in kT. Bands are bootstrap errors: samples are
independent and are resampled one by one, explored ones in contiguous blocks: frames that are
neighbours in time, or samples of an annealing that share an ancestor, are resampled together.
"""

import re
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from onestep_md.analysis.figures import style
from onestep_md.analysis.figures.histograms import draw_histograms
from onestep_md.analysis.numbers import number
from onestep_md.analysis.records.molecule import MoleculeRecord, Region

_SURFACE_BINS = 120
_SMOOTHING = 5.0  # degrees
_PROFILE_BINS = 60
_REPLICATES = 200
_FEWEST = 4  # samples in a bin of a profile; one with fewer is left out
BLOCKS = 20  # contiguous pieces of the exploration, each longer than its correlation


def torsion_pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pair phi and psi of every residue that has both, else the first two torsions."""
    pairs = []
    for name in names:
        match = re.fullmatch(r"phi(_?-?\d+)?", name)
        if match and f"psi{match.group(1) or ''}" in names:
            pairs.append((name, f"psi{match.group(1) or ''}"))
    return pairs or ([(names[0], names[1])] if len(names) > 1 else [])


def is_ramachandran(pairs: list[tuple[str, str]]) -> bool:
    """Whether the pairs are backbone torsions."""
    return bool(pairs) and pairs[0][0].startswith("phi") and pairs[0][1].startswith("psi")


def free_energy_surface(angles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Smoothed joint free energy of two torsions.

    Args:
        angles: (n, 2) radians.
        weights: (n,) on any scale.

    Returns:
        (bins, bins) kT above the minimum, [second, first] torsion; nan where no sample is near.
    """
    edges = np.linspace(-180.0, 180.0, _SURFACE_BINS + 1)
    first, second = np.degrees(angles).T
    mass = _smooth(np.histogram2d(second, first, bins=(edges, edges), weights=weights)[0])
    count = _smooth(np.histogram2d(second, first, bins=(edges, edges))[0])
    # one sample alone peaks at 1 / (2 pi sigma^2): blank where there is much less
    alone = 1.0 / (2.0 * np.pi * (_SMOOTHING * _SURFACE_BINS / 360.0) ** 2)
    visible = (count > 0.4 * alone) & (mass > 0)
    surface = np.full_like(mass, np.nan)
    surface[visible] = -np.log(mass[visible] / mass.max())
    return surface


def _smooth(histogram: np.ndarray) -> np.ndarray:
    """Convolve a periodic histogram with a Gaussian."""
    sigma = _SMOOTHING / (360.0 / _SURFACE_BINS)
    frequency = np.fft.fftfreq(_SURFACE_BINS)
    damping = np.exp(-2.0 * (np.pi * sigma * frequency) ** 2)
    smooth = np.fft.ifft2(np.fft.fft2(histogram) * damping[:, None] * damping).real
    return np.maximum(smooth, 0.0)


def surface_figure(run: MoleculeRecord) -> Figure:
    """Draw surfaces of explored, raw and reweighted samples, one row per residue, on one scale."""
    pairs = torsion_pairs(run.results.torsions)
    raw = run.samples
    ensembles = (
        (run.results.explored_by, run.explored_torsions, np.ones(len(run.explored_u))),
        ("raw one-step", raw.torsions, np.ones(len(raw.u))),
        ("reweighted", raw.torsions, raw.weights),
    )[: 3 if raw.has_weights else 2]
    columns = [[run.results.torsions.index(name) for name in pair] for pair in pairs]
    surfaces = [[free_energy_surface(a[:, c], w) for _, a, w in ensembles] for c in columns]
    finite = np.concatenate([s[np.isfinite(s)] for row in surfaces for s in row])
    top = float(np.clip(np.ceil(np.percentile(finite, 99)), 4, 10))
    figure, axes = style.new_figure(
        2.95 * len(pairs) + 0.35, len(pairs), len(ensembles), layout="compressed"
    )
    for (row, pair), (column, (title, _, _)) in product(enumerate(pairs), enumerate(ensembles)):
        ax = axes[row, column]
        image = _draw_surface(ax, surfaces[row][column], top)
        _draw_regions(ax, pair, run.results.regions)
        style.degrees_axis(ax.xaxis, 90)
        style.degrees_axis(ax.yaxis, 90)
        style.label(
            ax,
            f"{style.symbol(pair[0])} (deg)",
            f"{style.symbol(pair[1])} (deg)" if column == 0 else "",
            title if row == 0 else "",
        )
        ax.tick_params(labelleft=column == 0)
    bar = figure.colorbar(image, ax=axes, shrink=1.0 if len(pairs) == 1 else 0.5, pad=0.02)
    bar.set_label("free energy (kT)", fontsize=style.FONT)
    bar.ax.tick_params(labelsize=style.FONT - 0.5)
    bar.outline.set_visible(False)
    return figure


def _draw_surface(ax: Axes, surface: np.ndarray, top: float):
    edges = np.linspace(-180.0, 180.0, _SURFACE_BINS + 1)
    middles = 0.5 * (edges[1:] + edges[:-1])
    # weights far below the scale are noise of the smoothing
    clipped = np.ma.masked_invalid(np.where(surface > top, np.nan, surface))
    image = ax.pcolormesh(
        edges, edges, clipped, cmap=style.SURFACE, norm=Normalize(0.0, top), rasterized=True
    )
    ax.contour(
        middles, middles, clipped, levels=np.arange(1.0, top), colors="white", linewidths=0.5,
        alpha=0.6,
    )  # fmt: skip
    ax.set_aspect("equal")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def _draw_regions(ax: Axes, pair: tuple[str, str], regions: tuple[Region, ...]) -> None:
    """Outline the regions that this pair defines, those that wrap in pieces."""
    for region in regions:
        if not region.ranges or not set(region.ranges) <= set(pair):
            continue
        parts_x, parts_y = (_cut_at_180(region.ranges.get(name, (-180.0, 180.0))) for name in pair)
        for (x0, x1), (y0, y1) in product(parts_x, parts_y):
            # a white line under each black one keeps it visible on dark ground
            for colour, width, order in (("white", 2.4, 3), ("#101418", 1.0, 4)):
                ax.add_patch(
                    Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=width,
                              zorder=order)
                )  # fmt: skip
        # the label goes into the largest piece, at its top left corner
        x0, _ = max(parts_x, key=lambda part: part[1] - part[0])
        _, y1 = max(parts_y, key=lambda part: part[1] - part[0])
        ax.text(
            x0 + 5, y1 - 6, style.symbol(region.name), fontsize=9, va="top", ha="left",
            fontweight="bold", color="#101418", path_effects=style.HALO, zorder=5,
        )  # fmt: skip


def _cut_at_180(limits: tuple[float, float]) -> list[tuple[float, float]]:
    """Cut a range of degrees into one or two pieces inside -180..180."""
    low, high = limits
    if high - low >= 360:
        return [(-180.0, 180.0)]
    start = (low + 180.0) % 360.0 - 180.0
    end = start + (high - low) % 360.0
    return [(start, end)] if end <= 180.0 else [(start, 180.0), (-180.0, end - 360.0)]


def torsion_profile(
    angle: np.ndarray, weights: np.ndarray, block: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Free energy along one torsion with a one-sigma bootstrap band.

    Args:
        angle: (n,) radians.
        weights: (n,) on any scale.
        block: (n,) index of the block that is resampled as one; independent samples have one each.
        generator: draws the bootstrap replicates.

    Returns:
        Profile and lower and upper end of its band, (bins,) kT above the minimum; the profile is
        nan where there are too few samples, the upper end inf where some replicates have none.
    """
    bins = np.floor((angle + np.pi) / (2 * np.pi) * _PROFILE_BINS).astype(int) % _PROFILE_BINS
    mass = np.bincount(bins, weights, _PROFILE_BINS)
    replicas = np.empty((_REPLICATES, _PROFILE_BINS))
    for row in replicas:
        # Poisson counts are the bootstrap for large n; the total is then free, so normalise
        drawn = weights * generator.poisson(1.0, block.max() + 1)[block]
        row[:] = np.bincount(bins, drawn, _PROFILE_BINS) / max(drawn.sum(), 1e-300)
    with np.errstate(divide="ignore"):
        profile = -np.log(mass / mass.max())
        replicas = -np.log(replicas * weights.sum() / mass.max())
    low, high = np.quantile(replicas, (0.16, 0.84), axis=0, method="nearest")
    enough = np.bincount(bins, minlength=_PROFILE_BINS) >= _FEWEST
    return np.where(enough & np.isfinite(profile), profile, np.nan), low, high


def profile_figure(run: MoleculeRecord) -> Figure:
    """Draw the free energy along each torsion, explored, raw and reweighted, with error bands."""
    count = len(run.results.torsions)
    columns = 1 if count == 1 else 2 if count <= 4 else 3 if count <= 9 else 4
    rows = -(-count // columns)
    figure, axes = style.new_figure((2.7 if columns < 4 else 2.1) * rows + 0.4, rows, columns)
    raw, generator = run.samples, np.random.default_rng(0)
    n, m = len(raw.u), len(run.explored_u)
    ensembles = (
        (
            run.results.explored_by,
            style.DYNAMICS,
            run.explored_torsions,
            np.ones(m),
            np.arange(m) * BLOCKS // m,
        ),
        ("raw one-step", style.RAW, raw.torsions, np.ones(n), np.arange(n)),
        ("reweighted", style.REWEIGHTED, raw.torsions, raw.weights, np.arange(n)),
    )[: 3 if raw.has_weights else 2]
    middles = (np.arange(_PROFILE_BINS) + 0.5) * 360.0 / _PROFILE_BINS - 180.0
    for index, (ax, name) in enumerate(zip(axes.flat, run.results.torsions, strict=False)):
        highest = 3.0
        for title, colour, angles, weights, block in ensembles:
            profile, low, high = torsion_profile(angles[:, index], weights, block, generator)
            finite = np.isfinite(profile)
            # an upper end at infinity (no sample in some replicates) leaves the axis at the top
            band = np.where(finite, np.minimum(high, 50.0), np.nan)
            ax.fill_between(middles, low, band, color=colour, alpha=0.22, lw=0)
            ax.plot(middles, profile, color=colour, lw=1.7, label=title)
            highest = max(highest, np.nanmax(profile))
        ax.set_ylim(-0.3, min(1.05 * highest + 0.3, 12.0))
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        style.degrees_axis(ax.xaxis, 60 if columns < 3 else 90)
        style.label(
            ax, f"{style.symbol(name)} (deg)", "free energy (kT)" if index % columns == 0 else ""
        )
    for ax in list(axes.flat)[len(run.results.torsions) :]:
        ax.set_visible(False)
    handles, titles = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, titles, loc="outside upper center", ncols=3, frameon=False, fontsize=style.FONT
    )
    return figure


def energy_figure(run: MoleculeRecord) -> Figure:
    """Draw the distributions of the reduced potential, explored, raw and reweighted."""
    figure, axes = style.new_figure(3.0)
    ax, raw = axes[0, 0], run.samples
    finite = np.isfinite(raw.u)
    u_drawn = raw.u[finite] if finite.any() else run.explored_u
    low = min(np.min(run.explored_u), np.quantile(u_drawn, 0.001))
    highest = np.max(run.explored_u)
    # of a flow that misses the target, most samples may lie far above it
    high = np.clip(np.quantile(u_drawn, 0.97), highest, highest + 2.0 * (highest - low))
    edges = np.linspace(low, high, 80)
    weights = raw.weights
    reweighted_mean = float(weights[finite] @ raw.u[finite])
    ensembles = (
        (run.results.explored_by, style.DYNAMICS, run.explored_u, None,
         f"mean {_format_energy(run.explored_u.mean())}"),
        ("raw one-step", style.RAW, raw.u[finite], None,
         f"median {_format_energy(np.median(raw.u))}"),
        ("reweighted", style.REWEIGHTED, raw.u[finite], weights[finite],
         f"mean {_format_energy(reweighted_mean)}"),
    )[: 3 if raw.has_weights else 2]  # fmt: skip
    for title, colour, u, w, note in ensembles:
        w = np.full(len(u), 1.0 / max(len(u), 1)) if w is None else w
        heights = np.histogram(u, edges, weights=w)[0] / np.diff(edges)
        if title == run.results.explored_by:
            ax.stairs(heights, edges, fill=True, color=colour, alpha=0.18)
        ax.stairs(heights, edges, color=colour, lw=1.8, label=f"{title}, {note}")
    beyond = float(np.mean(~(raw.u <= high)))
    if beyond > 0:
        ax.text(
            0.985, 0.55, f"{100 * beyond:.1f} % of the raw samples lie further right →",
            transform=ax.transAxes, ha="right", fontsize=9, color=style.RAW,
        )  # fmt: skip
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    style.label(ax, "reduced potential u (kT)", "probability density (1/kT)")
    style.legend(ax, loc="upper right")
    return figure


def _format_energy(value: float) -> str:
    return f"{number(value, '.1f')} kT" if np.isfinite(value) else "infinite"


def distance_figure(run: MoleculeRecord) -> Figure:
    """Draw histograms of the distances of atoms more than three bonds apart."""
    figure, axes = style.new_figure(3.0)
    kinds = {
        "raw": ("raw one-step", style.RAW),
        "reweighted": ("reweighted", style.REWEIGHTED),
        "explored": (run.results.explored_by, style.DYNAMICS),
    }
    draw_histograms(axes[0, 0], run.histograms, "distance", kinds, "explored")
    style.label(axes[0, 0], "distance of two atoms (nm)", "probability density (1/nm)")
    style.legend(axes[0, 0], loc="upper right")
    return figure
