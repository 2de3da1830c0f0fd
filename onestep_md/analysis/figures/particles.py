"""The part of a density's report that is for particles: aligned distances, energies, virial."""

from matplotlib.figure import Figure

from onestep_md.analysis.figures import style
from onestep_md.analysis.figures.histograms import draw_histograms
from onestep_md.analysis.records.density import DensityRecord
from onestep_md.analysis.records.measurements import Measured
from onestep_md.analysis.report import page
from onestep_md.analysis.report.sections import Painter

_KINDS = {
    "raw": ("raw one-step", style.RAW),
    "reweighted": ("reweighted", style.REWEIGHTED),
    "annealing": ("annealing", style.DYNAMICS),
}


def particle_section(run: DensityRecord, draw: Painter) -> str:
    """Table and figure of a run whose record has `particles`."""
    coupled = next(iter(run.particles.values()))["coupled"]
    note = (
        f"W2: 2-Wasserstein distance of {coupled} samples to as many held-out ones of the "
        "annealing, every pair aligned over rotations, reflections and exchanges of particles; "
        "the last row shows what is left between samples of one density, because there are so "
        "few. E-W2: the same of the energies, of all samples. The virial, the mean of x · grad u, "
        f"is {run.dim} for samples of the target."
    )
    head = (
        "<tr><th>samples</th><th>aligned W2</th><th>E-W2 (kT)</th><th>mean energy (kT)</th>"
        "<th>virial</th></tr>"
    )
    rows = [
        f"<tr><td>{_KINDS[kind][0]}</td>"
        + page.cell(page.number(row["w2"], ".3g"))
        + page.cell(page.number(row["energy_w2"], ".3g"))
        + page.cell(page.estimate(Measured(row["mean_energy"], row["d_mean_energy"])))
        + page.cell(page.estimate(Measured(row["virial"], row["d_virial"])))
        + "</tr>"
        for kind, row in run.particles.items()
    ]
    return page.section(
        "Particles",
        page.table(head, rows),
        f'<p class="note">{note}</p>',
        draw(
            "particles",
            particle_figure(run),
            "Probability density of the distances of all pairs and of the energies; bands are one "
            "standard error. Blue should lie on the dark line; orange need not.",
        ),
    )


def particle_figure(run: DensityRecord) -> Figure:
    """Histograms of pair distances and energies: raw, reweighted, annealing."""
    figure, axes = style.new_figure(3.3, 1, 2)
    shown = (("distance", "distance of two particles"), ("energy", "energy (kT)"))
    for ax, (quantity, text) in zip(axes[0], shown, strict=True):
        draw_histograms(ax, run.histograms, quantity, _KINDS, "annealing")
        style.label(ax, text, "probability density" if quantity == "distance" else "")
    handles, titles = axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles, titles, loc="outside upper center", ncols=3, frameon=False, fontsize=style.FONT
    )
    return figure
