"""One self-contained report.html and its figures for a run on a density on R^dim.

The counterpart of `report`, with the same look. Order of the page: verdict, key numbers, evidence
at every K, where the samples are, the training, and everything needed to repeat it. Called at the
end of a run and by `python -m onestep_md.report`.
"""

import math
from html import escape
from pathlib import Path

from onestep_md.analysis.figures import densities, evidence
from onestep_md.analysis.records.density import DensityRecord, read_density_run
from onestep_md.analysis.report import page, sections
from onestep_md.analysis.report.density_verdict import judge_density, modes_missed
from onestep_md.analysis.report.page import number
from onestep_md.analysis.report.particles import particle_section
from onestep_md.analysis.report.sections import Painter
from onestep_md.analysis.report.verdict import Verdict, z_score
from onestep_md.estimators.limits import DISAGREEMENT


def write_density_report(run_folder: Path) -> Path:
    """Draw the figures and write report.html.

    Args:
        run_folder: a finished run on a density.

    Returns:
        Path of the page.

    Raises:
        RunFolderError: the folder holds no finished run on a density.
    """
    folder = Path(run_folder)
    run = read_density_run(folder)
    verdict = judge_density(run)
    draw = Painter(folder / "figures")
    parts = [
        _header(run),
        sections.verdict_box(verdict),
        _tiles(run, verdict),
        _evidence(run, verdict, draw),
        *([particle_section(run, draw)] if run.particles else []),
        _samples(run, draw),
        sections.training(run, draw, "log Z − median log w (nats)"),
        _settings(run),
    ]
    return sections.write_page(folder, run.name, parts)


def _header(run: DensityRecord) -> str:
    known = "not known" if math.isnan(run.log_z.value) else f"known, {run.log_z.value:.6g}"
    parts = [
        "unnormalised density",
        f"{run.dim} dimension{'s' if run.dim > 1 else ''}",
        f"log Z {known}".replace("-", "−"),
        f"target {run.digest[:16]}",
    ]
    lead = " · ".join(escape(part) for part in parts)
    return f'<h1>{escape(run.name)}</h1><p class="lead">{lead}</p>'


def _tiles(run: DensityRecord, verdict: Verdict) -> str:
    evaluations = sum(count for _, count, _ in run.cost)
    return sections.tiles(
        [
            *sections.trust_tiles(run, verdict.level == "bad"),
            _log_z_tile(run),
            (sections.compact(evaluations), "target evaluations, exploration included", False),
            (
                f"{number(run.headline.seconds_per_1000, '.2g')} s",
                "per 1000 weighted samples, target included",
                False,
            ),
        ]
    )


def _log_z_tile(run: DensityRecord) -> tuple[str, str, bool]:
    found, known = run.headline.log_z, run.log_z.value
    error = number(found.error, ".2g")
    if math.isnan(known):
        return f"± {error}", "standard error of log Z (nats); the true value is not known", False
    bad = abs(z_score(found, run.log_z)) > DISAGREEMENT
    text = f"log Z minus the known value (nats); its standard error is {error}"
    return number(found.value - known, "+.2g"), text, bad


def _evidence(run: DensityRecord, verdict: Verdict, draw: Painter) -> str:
    others = "exact samples of the target" if run.exact else "held-out samples of the annealing"
    note = sections.EVIDENCE_NOTE.format(others=others) + (
        " ELBO, log Z, EUBO and BAR are natural logarithms (nats), with one standard error."
    )
    return page.section(
        "Evidence",
        sections.evidence_table(run, run.log_z),
        page.warning_box("What spoils these numbers", verdict.evidence_warnings),
        f'<p class="note">{note}</p>',
        _modes(run),
        draw(
            "steps",
            evidence.steps_figure(run, f"BAR with {_source(run)}", run.log_z.value),
            "Left: more steps should not be worse than one. Middle: the bounds enclose log Z and "
            "close in on it as the flow improves; what is far off the scale is written. Right: "
            "two estimates of log Z on the scale of the flow; the base (K = 0) may lie outside.",
        ),
        sections.weights_part(run, draw),
        long=True,
    )


def _source(run: DensityRecord) -> str:
    return "exact samples" if run.exact else "annealing"


def _modes(run: DensityRecord) -> str:
    """How many modes the raw samples of every K cover."""
    found = {k: count for k, count in sorted(run.modes_found.items()) if count is not None}
    if run.modes is None or not found:
        return ""
    head = "<tr><th>steps K</th>" + "".join(f"<th>{k}</th>" for k in found) + "</tr>"
    cells = "".join(page.cell(f"{count:,}", modes_missed(run, k)) for k, count in found.items())
    note = (
        "A mode is found where at least a tenth of its equal share of the raw, unweighted "
        "samples is nearest to it."
    )
    row = f"<tr><td>modes found, of {run.modes:,}</td>{cells}</tr>"
    return f'<h3>Modes</h3>{page.table(head, [row])}<p class="note">{note}</p>'


def _samples(run: DensityRecord, draw: Painter) -> str:
    chosen = densities.chosen_coordinates(run.target_x)
    parts = []
    if run.dim > 1:
        pair = (chosen[0], chosen[1])
        parts.append(
            draw(
                "samples",
                densities.pair_figure(run, pair),
                "Logarithm of the joint density of two coordinates, below the highest bin of all "
                "three (nats), on one colour scale; white: less than the scale shows, or no "
                "sample. The raw samples are what the network draws; the weights turn them into "
                "the target.",
            )
        )
    which = "" if len(chosen) == run.dim else f"{len(chosen)} of the {run.dim} coordinates: "
    choice = f"{which}a dependent pair if there is one, and the least Gaussian. " if which else ""
    parts.append(
        draw(
            "marginals",
            densities.marginal_figure(run, sorted(chosen)),
            f"{choice}Probability density of single coordinates; bands are one standard error, "
            "samples counted as independent. Blue should lie on the dark target; orange need "
            "not. The scale is logarithmic where a peak is narrow beside its tails.",
        )
    )
    return page.section("Where the samples are", *parts, long=True)


def _settings(run: DensityRecord) -> str:
    usage = (
        "import numpy as np\n"
        'x = np.load("samples.npz")["x"]          # (n, dim) one-step samples\n'
        'w = np.load("weights.npy")               # one weight per sample, sum 1\n'
        "average = w @ observable(x)              # any observable, one number per sample"
    )
    return sections.settings(run, usage)
