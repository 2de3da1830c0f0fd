"""One self-contained report.html and its figures, from the files of a finished run folder.

Order of the page: verdict, key numbers, free energies, where the samples are, whether to trust
them, how the training went, and everything needed to repeat it. Called at the end of a run and by
`python -m onestep_md.report`.
"""

import math
from html import escape
from pathlib import Path

from onestep_md.analysis.figures import conformations, evidence, style
from onestep_md.analysis.records.measurements import number_or_nan
from onestep_md.analysis.records.molecule import Region, RunRecord, read_run
from onestep_md.analysis.report import page, sections
from onestep_md.analysis.report.page import cell, estimate, number
from onestep_md.analysis.report.sections import Painter
from onestep_md.analysis.report.verdict import Verdict, judge, z_score
from onestep_md.estimators.limits import DISAGREEMENT


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
    draw = Painter(folder / "figures")
    parts = [
        _header(run),
        sections.verdict_box(verdict),
        _tiles(run),
        _free_energies(run, verdict),
        _conformations(run, draw),
        _evidence(run, verdict, draw),
        sections.training(run, draw),
        _settings(run),
    ]
    return sections.write_page(folder, run.name, parts)


def _header(run: RunRecord) -> str:
    known = dict(run.fingerprint)
    residues = run.residues if run.residues.lower() != run.name.lower() else ""
    target = [known.get(key, "") for key in ("forcefield", "solvent")]
    digest = known.get("system sha256", "")[:16]
    parts = [residues, run.formula, f"{run.temperature:g} K", *target]
    parts.append(f"target {digest}" if digest else "")
    lead = " · ".join(escape(part) for part in parts if part)
    return f'<h1>{escape(run.name)}</h1><p class="lead">{lead}</p>'


def _tiles(run: RunRecord) -> str:
    evaluations = sum(count for _, count, _ in run.cost)
    seconds = sum(value for _, _, value in run.cost if math.isfinite(value))
    return sections.tiles(
        [
            *sections.trust_tiles(run),
            (f"{run.headline.n:,}", "weighted samples exported", False),
            (
                sections.compact(evaluations),
                "energy evaluations, exploration included",
                False,
            ),
            (page.duration(seconds), "wall time in all", False),
        ]
    )


def _free_energies(run: RunRecord, verdict: Verdict) -> str:
    if not run.regions:
        return ""
    head = (
        '<tr class="groups"><th></th><th class="group" colspan="5">'
        "one-step samples, reweighted</th>"
        f'<th class="group" colspan="3">{run.explored_by} (exploration)</th><th></th></tr>'
        "<tr><th>region</th><th>ΔF<br>(kT)</th><th>ΔF<br>(kJ/mol)</th><th>population<br>(%)</th>"
        "<th>effective<br>samples</th><th>k-hat</th>"
        "<th>ΔF<br>(kT)</th><th>ΔF<br>(kJ/mol)</th><th>population<br>(%)</th>"
        "<th>difference<br>(σ)</th></tr>"
    )
    rows = [_region_row(region, run.kT) for region in run.regions]
    reference = run.regions[0].reference
    right = (
        "block bootstrap on the right, over samples of the annealing that share ancestors. "
        if run.annealed
        else "block bootstrap over the correlated frames on the right. "
    )
    note = (
        f"ΔF is relative to {escape(style.symbol(reference))}; kT = {run.kT:.4f} kJ/mol at "
        f"{run.temperature:g} K. Errors are one standard error: bootstrap over the independent "
        f"samples on the left, {right}"
        "The effective samples are those inside the region, and k-hat is of their weights. "
        "“difference” is in combined standard errors; a dash means that an error is unknown."
    )
    return page.section(
        "Free energies of conformations",
        page.table(head, rows, dense=True),
        page.warning_box("Before using these numbers", verdict.free_energy_warnings),
        f'<p class="note">{note}</p>',
    )


def _region_row(region: Region, kT: float) -> str:
    ranges = ", ".join(
        f"{style.symbol(name)} {low:g}…{high:g}°".replace("-", "−")
        for name, (low, high) in region.ranges.items()
    )
    is_reference = region.name == region.reference
    z = z_score(region.delta_f, region.explored_delta_f)
    zero = "0 <small>reference</small>"

    def columns(delta_f, probability) -> list[str]:
        energies = (zero, "0") if is_reference else (estimate(delta_f), estimate(delta_f, kT))
        return [*(cell(text) for text in energies), cell(estimate(probability, 100))]

    cells = [
        f"<td>{escape(style.symbol(region.name))}<small>{ranges}</small></td>",
        *columns(region.delta_f, region.probability),
        cell(_effective(region), region.few),
        cell(number(region.khat), region.tail),
        *columns(region.explored_delta_f, region.explored_probability),
        cell(page.DASH if is_reference else number(z, "+.1f"), abs(z) > DISAGREEMENT),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _effective(region: Region) -> str:
    digits = ".1f" if region.effective < 100 else ",.0f"
    return number(region.effective, digits) + ("<small>too few</small>" if region.few else "")


def _colour_key(run: RunRecord) -> str:
    return " ".join(
        f'<span class="key" style="background:{colour}"></span>{name}'
        for name, colour in (
            (run.explored_by, style.DYNAMICS),
            ("raw one-step samples", style.RAW),
            ("the same, reweighted", style.REWEIGHTED),
        )
    )


def _conformations(run: RunRecord, draw: Painter) -> str:
    parts = [f'<p class="note">{_colour_key(run)}</p>']
    pairs = conformations.torsion_pairs(run.torsions)
    if pairs:
        what = "Ramachandran" if conformations.is_ramachandran(pairs) else "Joint torsion"
        parts.append(
            draw(
                "ramachandran" if conformations.is_ramachandran(pairs) else "surface",
                conformations.surface_figure(run),
                f"{what} free-energy surfaces on one colour scale, each above its own minimum; "
                "contours every 1 kT, histograms smoothed over 5°, white: no sample. The raw "
                "samples are what the network draws; the weights turn them into the target.",
            )
        )
    if run.torsions:
        pieces = f"for the {run.explored_by} in {conformations.BLOCKS} contiguous blocks"
        parts.append(
            draw(
                "torsions",
                conformations.profile_figure(run),
                "Free energy along each torsion, in bins of 6°; bands are one standard error "
                f"(bootstrap; {pieces}). Bins with fewer than 4 samples are left out.",
            )
        )
    parts.append(
        draw(
            "energies",
            conformations.energy_figure(run),
            f"Reduced potential u = U/kT. Reweighted samples should lie on the {run.explored_by}; "
            "raw ones may have a tail of strained structures, which carries no weight.",
        )
    )
    if run.histograms:
        parts.append(
            draw(
                "distances",
                conformations.distance_figure(run),
                "Distances of all pairs of atoms more than three bonds apart; bands are one "
                "standard error (frames counted as independent).",
            )
        )
    parts.append(_distances(run))
    return page.section("Where the samples are", *parts, long=True)


def _distances(run: RunRecord) -> str:
    if not run.distances:
        return ""
    names = {"raw": "raw one-step", "reweighted": "reweighted"}
    torsion = "<th>T-W2 (rad)</th>" if run.torsions else ""
    head = f"<tr><th>samples</th>{torsion}<th>E-W2 (kT)</th></tr>"
    rows = [
        f"<tr><td>{names.get(kind, kind)}</td>"
        + (cell(number(number_or_nan(row["torsion_w2"]), ".3g")) if run.torsions else "")
        + cell(number(number_or_nan(row["energy_w2"]), ".3g"))
        + "</tr>"
        for kind, row in run.distances.items()
    ]
    coupled = next(iter(run.distances.values()))["coupled"]
    on_torus = (
        f"T-W2: 2-Wasserstein distance on the torus of the reported torsions, of {coupled:,} "
        f"samples to as many held-out ones of the {run.explored_by}; E-W2: the same of the "
        "energies, of all samples. "
    )
    of_energies = (
        "E-W2: 2-Wasserstein distance of the energies to those of the held-out samples of the "
        f"{run.explored_by}. "
    )
    note = (
        f"{on_torus if run.torsions else of_energies}The last row is the {run.explored_by}'s own "
        "other part: what is left between finite sets of one density."
    )
    return page.table(head, rows) + f'<p class="note">{note}</p>'


def _evidence(run: RunRecord, verdict: Verdict, draw: Painter) -> str:
    others = "samples of the annealing" if run.annealed else "dynamics frames"
    note = sections.EVIDENCE_NOTE.format(others=f"held-out {others}")
    return page.section(
        "Evidence",
        sections.evidence_table(run),
        page.warning_box("What spoils these numbers", verdict.evidence_warnings),
        f'<p class="note">{note}</p>',
        draw(
            "steps",
            evidence.steps_figure(run, f"BAR with {run.explored_by}"),
            "Left: more steps should not be worse than one. Middle: the bounds enclose log Z and "
            "close in on it as the flow improves; what is far off the scale is written. Right: "
            "two independent estimates of log Z.",
        ),
        sections.weights_part(run, draw),
        long=True,
    )


def _settings(run: RunRecord) -> str:
    usage = (
        "import mdtraj as md, numpy as np\n"
        't = md.load("samples.dcd", top="topology.pdb")\n'
        'w = np.load("weights.npy")               # one weight per frame, sum 1\n'
        "average = w @ observable                 # any observable, one number per frame"
    )
    return sections.settings(run, usage, _acceptance(run))


def _acceptance(run: RunRecord) -> str:
    """How well the exploration moved: its exchanges or its MALA moves."""
    if not run.acceptance:
        return ""
    percent = [f"{100 * value:.0f} %" for value in run.acceptance]
    text = f"Replica exchange accepted, coldest pair first: {', '.join(percent)}."
    if run.annealed:
        mean = 100 * sum(run.acceptance) / len(run.acceptance)
        text = (
            f"Annealing in {len(percent)} steps of b, from the force field's own terms (b = 0) to "
            f"the target (b = 1), without dynamics. MALA moves accepted: {mean:.0f} % on average, "
            f"{100 * min(run.acceptance):.0f} % at the least, {percent[-1]} at b = 1."
        )
    return f'<p class="note">{text}</p>'
