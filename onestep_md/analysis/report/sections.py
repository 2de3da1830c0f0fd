"""Sections that the reports of molecules and of densities share."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from onestep_md.analysis.figures import evidence, style
from onestep_md.analysis.records.measurements import UNKNOWN, EvidenceRow, Measured, Measurements
from onestep_md.analysis.report import page
from onestep_md.analysis.report.page import cell, estimate, number, percent
from onestep_md.analysis.report.verdict import Verdict, differs, z_score
from onestep_md.estimators.estimate import ESS_NOTE
from onestep_md.estimators.limits import (
    DISAGREEMENT,
    ENOUGH_SAMPLES,
    FOLDED_LIMIT,
    LOG_DET_LIMIT,
    ROUND_TRIP_LIMIT,
)
from onestep_md.files import replacing

WEIGHT_CAPTION = (
    "Left: k-hat is the slope of the heaviest weights; steeper than the dotted limit means that "
    "averages hang on a few samples. Right: how much weight the heaviest samples hold."
)
EVIDENCE_NOTE = (
    "K network evaluations per sample, all from one network; K = 0 is the base without it. "
    "ESS: Kish's effective sample size, of these samples; forward: Z over the mean weight of "
    "{others}, the same number for a flow that misses nothing; clipped: with the heaviest 0.01 % "
    "of the weights cut. "
    "ELBO ≤ log Z ≤ EUBO must hold. BAR joins these samples with {others}. "
    "Folded: samples with a negative determinant. Round trip: largest error of inverting the "
    "map. Red: a failed test."
)


class Painter:
    """Saves figures into a folder and returns them as HTML."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def __call__(self, name: str, figure: Figure, caption: str) -> str:
        path = self.folder / f"{name}.png"
        with replacing(path) as aside:
            figure.savefig(aside, dpi=style.DPI)
        return page.figure(path, caption)


def write_page(folder: Path, name: str, parts: Sequence[str]) -> Path:
    """Write report.html of the parts that are not empty; returns its path."""
    path = folder / "report.html"
    with replacing(path) as aside:
        aside.write_text(
            page.document(f"{name}: one-step samples", "\n".join(filter(None, parts)))
        )
    return path


def verdict_box(verdict: Verdict) -> str:
    """The verdict in words, with the warnings of the run as a whole."""
    items = "".join(f"<li>{page.prose(text)}</li>" for text in verdict.sentences)
    kind = "" if verdict.level == "good" else f" {verdict.level}"
    return (
        f'<div class="verdict{kind}"><h2>{verdict.title}</h2><ul>{items}</ul>'
        + page.warning_box("Warnings of the run", verdict.run_warnings)
        + "</div>"
    )


def tiles(entries: Sequence[tuple[str, str, bool]]) -> str:
    """Key numbers as (number, meaning, whether it is bad)."""
    return '<div class="tiles">' + "".join(
        f'<div class="tile{" bad" if bad else ""}"><b>{value}</b><span>{text}</span></div>'
        for value, text, bad in entries
    ) + "</div>"  # fmt: skip


def trust_tiles(run: Measurements, doubt: bool = False) -> list[tuple[str, str, bool]]:
    """ESS and k-hat as entries for `tiles`; doubt: the ESS does not mean what it says."""
    head = run.headline
    meaning = f"effective sample size at K = {head.steps}{', in doubt' if doubt else ''}"
    return [
        (f"{100 * head.ess.value:.3g} %", meaning, doubt),
        (number(head.khat), f"k-hat, reliable below {head.khat_limit:.2f}", not head.khat_ok),
    ]


def compact(count: int) -> str:
    """`9,300`, `12.3 million`."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"


def weights_part(run: Measurements, draw: Painter) -> str:
    """Figure of the weights, or why there is none."""
    if not run.samples.weighted:
        return page.warning_box("Weights", ["No sample has any weight: there is nothing to show."])
    return draw("weights", evidence.weight_figure(run), WEIGHT_CAPTION)


def evidence_table(run: Measurements, known: Measured = UNKNOWN) -> str:
    """One row per K; log Z is compared with a known value where there is one."""
    head = (
        "<tr><th>steps<br>K</th><th>ESS<br>(%)</th><th>forward<br>ESS (%)</th>"
        "<th>clipped<br>ESS (%)</th><th>k-hat</th>"
        "<th>ELBO</th><th>log Z</th><th>EUBO</th><th>log Z<br>by BAR</th>"
        "<th>folded /<br>checked</th><th>round<br>trip</th><th>s per<br>1000</th></tr>"
    )
    rows = [_evidence_row(row, row is run.headline, known) for row in run.evidence]
    notes = [
        f"K = {row.steps}: ESS of {len(row.ess_sets)} sets of {ENOUGH_SAMPLES:,} of these "
        f"samples: {100 * min(row.ess_sets):.3g} to {100 * max(row.ess_sets):.3g} %."
        for row in run.evidence
        if row.ess_sets
    ]
    if not all(row.ess_error_known for row in run.evidence):
        notes.append(f"{ESS_NOTE}.")
    below = "".join(f'<p class="note">{note}</p>' for note in notes)
    return page.table(head, rows, dense=True) + below


def _evidence_row(row: EvidenceRow, is_headline: bool, known: Measured) -> str:
    disagree = abs(z_score(row.log_z, row.bar)) > DISAGREEMENT
    off = abs(z_score(row.log_z, known)) > DISAGREEMENT
    above = z_score(row.elbo, known) > DISAGREEMENT
    below = any(z_score(z, row.eubo) > DISAGREEMENT for z in (row.log_z, known))
    elbo = "−∞" if row.infinite else estimate(row.elbo)
    forward = percent(row.forward_ess) if row.forward_ess.value >= 0 else estimate(row.forward_ess)
    folded = f"{row.negative:,} / {row.checked:,}" if row.checked else page.DASH
    cells = [
        cell(str(row.steps)),
        cell(percent(row.ess, row.ess_error_known)),
        cell(forward, differs(row)),
        cell(number(row.ess_clipped, ".1f", 100)),
        cell(number(row.khat), not row.khat_ok),
        cell(elbo, above),
        cell(estimate(row.log_z), disagree or off),
        cell(estimate(row.eubo), below),
        cell(estimate(row.bar), disagree),
        cell(folded, row.negative > FOLDED_LIMIT * max(row.checked, 1)),
        cell(
            number(row.round_trip, ".0e"),
            row.round_trip > ROUND_TRIP_LIMIT or row.log_det_error > LOG_DET_LIMIT,
        ),
        cell(number(row.seconds_per_1000, ".2g")),
    ]
    return f"<tr{' class=head' if is_headline else ''}>{''.join(cells)}</tr>"


def training(run: Measurements, draw: Painter, energy: str = "energy (kT)") -> str:
    """Training curves; nothing if there are none. `energy` names that loss."""
    curves = []
    if len(run.pretraining["step"]) > 1:
        caption = (
            "Of batches of explored samples, up to a constant, before the energies come in. The "
            "steep beginning lies above the figure."
        )
        curves.append(draw("pretraining", evidence.pretraining_figure(run), caption))
    if len(run.metrics["step"]) > 1:
        caption = (
            "The live ESS is that of training batches, weighted by the energies that the "
            "evaluators return while the network trains. An idle learner means that more "
            "evaluators would help."
        )
        curves.append(draw("training", evidence.training_figure(run, energy), caption))
    return page.section("Training", *curves) if curves else ""


def settings(run: Measurements, usage: str, extra: str = "") -> str:
    """Target, cost, machine, configuration and how to `use` the files; extra: below the cost."""
    cost = [
        f"<tr><td>{escape(phase)}</td>{cell(f'{count:,}')}{cell(page.duration(seconds))}</tr>"
        for phase, count, seconds in run.cost
    ]
    cost_table = page.table(
        "<tr><th>phase</th><th>energy evaluations</th><th>time</th></tr>", cost
    )
    return page.section(
        "How it was made",
        '<div class="columns">',
        f"<div><h3>Target</h3>{page.plain_table(run.fingerprint)}</div>",
        f"<div><h3>Cost</h3>{cost_table}{extra}"
        "<h3>Machine and versions</h3>"
        f"{page.plain_table(run.environment)}</div>",
        "</div>",
        f"<h3>Using the samples</h3><pre>{escape(usage)}</pre>",
        f"<details><summary>Configuration</summary><pre>{escape(run.config)}</pre></details>",
        long=True,
    )
