"""The figure of particles: distances of pairs and energies."""

from matplotlib.figure import Figure

from onestep_md.analysis.figures import style
from onestep_md.analysis.figures.histograms import draw_histograms
from onestep_md.analysis.records.density import DensityRecord

_KINDS = {
    "raw": ("raw one-step", style.RAW),
    "reweighted": ("reweighted", style.REWEIGHTED),
    "annealing": ("annealing", style.DYNAMICS),
}


def particle_figure(run: DensityRecord) -> Figure:
    """Draw histograms of pair distances and energies: raw, reweighted, annealing."""
    figure, axes = style.new_figure(3.3, 1, 2)
    panels = (("distance", "distance of two particles"), ("energy", "energy (kT)"))
    for ax, (quantity, text) in zip(axes[0], panels, strict=True):
        draw_histograms(ax, run.histograms, quantity, _KINDS, "annealing")
        style.label(ax, text, "probability density" if quantity == "distance" else "")
    handles, titles = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles, titles, loc="outside upper center", ncols=3, frameon=False, fontsize=style.FONT
    )
    return figure
