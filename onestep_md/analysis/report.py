"""One self-contained report.html and its figures, from the files of a finished run folder.

Order of the page: verdict, key numbers, free energies, where the samples are, whether to trust
them, how the training went, and everything needed to repeat it. Called at the end of a run and by
`python -m onestep_md.report`.
"""

import math
from collections.abc import Callable
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from onestep_md.analysis import diagnostics, page, style, surfaces
from onestep_md.analysis.page import cell, estimate, number
from onestep_md.analysis.record import EvidenceRow, Region, RunRecord, read_run
from onestep_md.analysis.verdict import (
    DISAGREEMENT,
    FOLDED_LIMIT,
    TITLES,
    Verdict,
    judge,
    khat_ok,
    z_score,
)
from onestep_md.atomic import replacing

_ROUND_TRIP_LIMIT = 1e-3
_KEY = " ".join(
    f'<span class="key" style="background:{colour}"></span>{name}'
    for name, colour in (
        ("dynamics", style.DYNAMICS),
        ("raw one-step samples", style.RAW),
        ("the same, reweighted", style.REWEIGHTED),
    )
)


def write_report(run_folder: Path) -> Path:
    """Draw the figures and write report.html.

    Args:
        run_folder: a finished run.

    Returns:
        Path of the page.

    Raises:
        RunFolderError: the folder holds no finished run.
    """
    folder = Path(run_folder)
    run = read_run(folder)
    verdict = judge(run)
    draw = _Painter(folder / "figures", run)
    parts = [
        _header(run),
        _verdict(verdict),
        _tiles(run),
        _free_energies(run, verdict),
        _conformations(run, draw),
        _evidence(run, verdict, draw),
        _training(run, draw),
        _settings(run),
    ]
    path = folder / "report.html"
    with replacing(path) as aside:
        aside.write_text(
            page.document(f"{run.name}: one-step samples", "\n".join(filter(None, parts)))
        )
    return path


class _Painter:
    """Saves figures into a folder and returns them as HTML."""

    def __init__(self, folder: Path, run: RunRecord):
        self.folder, self.run = folder, run
        folder.mkdir(exist_ok=True)

    def __call__(self, name: str, paint: Callable[[RunRecord], Figure], caption: str) -> str:
        path = self.folder / f"{name}.png"
        with replacing(path) as aside:
            paint(self.run).savefig(aside, dpi=style.DPI)
        return page.figure(path, caption)


def _header(run: RunRecord) -> str:
    known = dict(run.fingerprint)
    residues = run.residues if run.residues.lower() != run.name.lower() else ""
    target = [known.get(key, "") for key in ("forcefield", "solvent")]
    digest = known.get("system sha256", "")[:16]
    parts = [residues, run.formula, f"{run.temperature:g} K", *target]
    parts.append(f"target {digest}" if digest else "")
    lead = " · ".join(escape(part) for part in parts if part)
    return f'<h1>{escape(run.name)}</h1><p class="lead">{lead}</p>'


def _verdict(verdict: Verdict) -> str:
    items = "".join(f"<li>{page.prose(text)}</li>" for text in verdict.sentences)
    kind = "" if verdict.level == "good" else f" {verdict.level}"
    return (
        f'<div class="verdict{kind}"><h2>{TITLES[verdict.level]}</h2><ul>{items}</ul>'
        + page.warning_box("Warnings of the run", verdict.run_warnings)
        + "</div>"
    )


def _tiles(run: RunRecord) -> str:
    head = run.headline
    evaluations = sum(count for _, count, _ in run.cost)
    seconds = sum(value for _, _, value in run.cost if math.isfinite(value))
    tiles = (
        (f"{100 * head.ess.value:.3g} %", f"effective sample size at K = {head.steps}", False),
        (number(head.khat), f"k-hat, reliable below {head.khat_limit:.2f}", not khat_ok(head)),
        (f"{head.n:,}", "weighted samples exported", False),
        (_compact(evaluations), "energy evaluations, exploration included", False),
        (page.duration(seconds), "wall time in all", False),
    )
    return '<div class="tiles">' + "".join(
        f'<div class="tile{" bad" if bad else ""}"><b>{value}</b><span>{text}</span></div>'
        for value, text, bad in tiles
    ) + "</div>"  # fmt: skip


def _compact(count: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"


def _free_energies(run: RunRecord, verdict: Verdict) -> str:
    if not run.regions:
        return ""
    head = (
        '<tr class="groups"><th></th><th class="group" colspan="3">'
        "one-step samples, reweighted</th>"
        '<th class="group" colspan="3">dynamics (exploration)</th><th></th></tr>'
        "<tr><th>region</th><th>ΔF<br>(kT)</th><th>ΔF<br>(kJ/mol)</th><th>population<br>(%)</th>"
        "<th>ΔF<br>(kT)</th><th>ΔF<br>(kJ/mol)</th><th>population<br>(%)</th>"
        "<th>difference<br>(σ)</th></tr>"
    )
    rows = [_region_row(region, run.kT) for region in run.regions]
    reference = run.regions[0].reference
    note = (
        f"ΔF is relative to {escape(style.symbol(reference))}; kT = {run.kT:.4f} kJ/mol at "
        f"{run.temperature:g} K. Errors are one standard error: bootstrap over the independent "
        "samples on the left, block bootstrap over the correlated frames on the right. "
        "“difference” is in combined standard errors; a dash means that an error is unknown."
    )
    return page.section(
        "Free energies of conformations",
        page.table(head, rows),
        page.warning_box("Before using these numbers", verdict.free_energy_warnings),
        f'<p class="note">{note}</p>',
    )


def _region_row(region: Region, kT: float) -> str:
    ranges = ", ".join(
        f"{style.symbol(name)} {low:g}…{high:g}°".replace("-", "−")
        for name, (low, high) in region.ranges.items()
    )
    is_reference = region.name == region.reference
    z = z_score(region.delta_f, region.dynamics_delta_f)
    zero = "0 <small>reference</small>"

    def columns(delta_f, probability) -> list[str]:
        energies = (zero, "0") if is_reference else (estimate(delta_f), estimate(delta_f, kT))
        return [*(cell(text) for text in energies), cell(estimate(probability, 100))]

    cells = [
        f"<td>{escape(style.symbol(region.name))}<small>{ranges}</small></td>",
        *columns(region.delta_f, region.probability),
        *columns(region.dynamics_delta_f, region.dynamics_probability),
        cell(page.DASH if is_reference else number(z, "+.1f"), abs(z) > DISAGREEMENT),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _conformations(run: RunRecord, draw: _Painter) -> str:
    parts = [f'<p class="note">{_KEY}</p>']
    pairs = surfaces.torsion_pairs(run.torsions)
    if pairs:
        what = "Ramachandran" if surfaces.is_ramachandran(pairs) else "Joint torsion"
        parts.append(
            draw(
                "ramachandran" if surfaces.is_ramachandran(pairs) else "surface",
                surfaces.surface_figure,
                f"{what} free-energy surfaces on one colour scale, each above its own minimum; "
                "contours every 1 kT, histograms smoothed over 5°, white: no sample. The raw "
                "samples are what the network draws; the weights turn them into the target.",
            )
        )
    if run.torsions:
        parts.append(
            draw(
                "torsions",
                surfaces.profile_figure,
                "Free energy along each torsion, in bins of 6°; bands are one standard error "
                "(bootstrap; for the dynamics in 20 contiguous blocks). Bins with fewer than 4 "
                "samples are left out.",
            )
        )
    parts.append(
        draw(
            "energies",
            surfaces.energy_figure,
            "Reduced potential u = U/kT. Reweighted samples should lie on the dynamics; raw ones "
            "may have a tail of strained structures, which carries no weight.",
        )
    )
    return page.section("Where the samples are", *parts, long=True)


def _evidence(run: RunRecord, verdict: Verdict, draw: _Painter) -> str:
    head = (
        "<tr><th>steps<br>K</th><th>ESS<br>(%)</th><th>clipped<br>ESS (%)</th><th>k-hat</th>"
        "<th>ELBO</th><th>log Z</th><th>EUBO</th><th>log Z<br>by BAR</th>"
        "<th>folded /<br>checked</th><th>round<br>trip</th><th>s per<br>1000</th></tr>"
    )
    rows = [_evidence_row(row, row is run.headline) for row in run.evidence]
    note = (
        "K network evaluations per sample, all from one network; K = 0 is the base without it. "
        "ESS: Kish's effective sample size; clipped: with the heaviest 0.01 % of the weights cut. "
        "ELBO ≤ log Z ≤ EUBO must hold. BAR joins these samples with held-out dynamics frames. "
        "Folded: samples with a negative determinant. Round trip: largest error of inverting the "
        "map. Red: a failed test."
    )
    return page.section(
        "Evidence",
        page.table(head, rows, dense=True),
        page.warning_box("What spoils these numbers", verdict.evidence_warnings),
        f'<p class="note">{note}</p>',
        draw(
            "steps",
            diagnostics.steps_figure,
            "Left: more steps should not be worse than one. Middle: the bounds enclose log Z and "
            "close in on it as the flow improves. Right: two independent estimates of log Z.",
        ),
        draw(
            "weights",
            diagnostics.weight_figure,
            "Left: k-hat is the slope of the heaviest weights; steeper than the dotted limit "
            "means that averages hang on a few samples. Right: how much weight the heaviest "
            "samples hold.",
        ),
        long=True,
    )


def _evidence_row(row: EvidenceRow, is_headline: bool) -> str:
    disagree = abs(z_score(row.log_z, row.bar)) > DISAGREEMENT
    elbo = "−∞" if row.infinite else estimate(row.elbo)
    folded = f"{row.negative:,} / {row.checked:,}" if row.checked else page.DASH
    cells = [
        cell(str(row.steps)),
        cell(estimate(row.ess, 100)),
        cell(number(row.ess_clipped, ".1f", 100)),
        cell(number(row.khat), not khat_ok(row)),
        cell(elbo),
        cell(estimate(row.log_z), disagree),
        cell(estimate(row.eubo), z_score(row.log_z, row.eubo) > DISAGREEMENT),
        cell(estimate(row.bar), disagree),
        cell(folded, row.negative > FOLDED_LIMIT * max(row.checked, 1)),
        cell(number(row.round_trip, ".0e"), row.round_trip > _ROUND_TRIP_LIMIT),
        cell(number(row.seconds_per_1000, ".2g")),
    ]
    return f"<tr{' class=head' if is_headline else ''}>{''.join(cells)}</tr>"


def _training(run: RunRecord, draw: _Painter) -> str:
    if len(run.metrics["step"]) < 2:
        return ""
    caption = (
        "The live ESS is that of training batches, weighted by the energies that the evaluators "
        "return while the network trains. An idle learner means that more evaluators would help."
    )
    return page.section("Training", draw("training", diagnostics.training_figure, caption))


def _settings(run: RunRecord) -> str:
    cost = [
        f"<tr><td>{escape(phase)}</td>{cell(f'{count:,}')}{cell(page.duration(seconds))}</tr>"
        for phase, count, seconds in run.cost
    ]
    cost_table = page.table(
        "<tr><th>phase</th><th>energy evaluations</th><th>time</th></tr>", cost
    )
    acceptance = ", ".join(f"{100 * value:.0f} %" for value in run.acceptance)
    exchange = (
        f'<p class="note">Replica exchange accepted, coldest pair first: {acceptance}.</p>'
        if acceptance
        else ""
    )
    usage = (
        "import mdtraj as md, numpy as np\n"
        't = md.load("samples.dcd", top="topology.pdb")\n'
        'w = np.load("weights.npy")               # one weight per frame, sum 1\n'
        "average = w @ observable                 # any observable, one number per frame"
    )
    return page.section(
        "How it was made",
        '<div class="columns">',
        f"<div><h3>Target</h3>{page.plain_table(run.fingerprint)}</div>",
        f"<div><h3>Cost</h3>{cost_table}{exchange}"
        "<h3>Machine and versions</h3>"
        f"{page.plain_table(run.environment)}</div>",
        "</div>",
        f"<h3>Using the samples</h3><pre>{escape(usage)}</pre>",
        f"<details><summary>Configuration</summary><pre>{escape(run.config)}</pre></details>",
        long=True,
    )
