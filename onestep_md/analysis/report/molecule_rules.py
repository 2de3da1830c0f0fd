"""What is judged of molecules alone: free energies of regions, isomers, the exploration."""

import math

from onestep_md.analysis.figures.style import symbol
from onestep_md.analysis.records.molecule import Isomers, MoleculeRecord, Region
from onestep_md.analysis.report.rules import (
    UNSEEN,
    Finding,
    Level,
    disagree,
    judge_ess,
    judge_forward_ess,
    judge_log_z,
    judge_map,
    judge_weights,
)
from onestep_md.estimators.estimate import z_score
from onestep_md.estimators.limits import DISAGREEMENT, ENOUGH_IN_REGION, LOW_ACCEPTANCE

TITLES: dict[Level, str] = {
    "good": "The weights and free energies can be used.",
    "care": "Usable with care: see the warnings beside the numbers.",
    "bad": "Do not rely on the reweighted numbers yet.",
}


def findings(run: MoleculeRecord) -> list[Finding]:
    """What every rule says, in the order of the page."""
    head = run.headline
    found = [
        judge_ess(run),
        judge_weights(head),
        judge_forward_ess(head, run.target_samples),
        judge_map(head),
        judge_log_z(run, f"BAR against the {run.explored_by}"),
        _judge_regions(run),
        _judge_few(run),
    ]
    if run.isomers:
        texts = [_isomers_text(run.isomers), *_outside_texts(run.isomers)]
        found += [Finding(text) for text in texts]
    return [*found, UNSEEN]


def run_warnings(run: MoleculeRecord) -> list[str]:
    """Warnings of the run as a whole: its own, of an exploration that hardly moves, of isomers."""
    found = list(run.warnings)
    lowest = min(run.acceptance, default=1.0)
    if lowest < LOW_ACCEPTANCE:
        found.append(
            f"MALA accepts only {100 * lowest:.0f} % at one step of the annealing: samples stay "
            "near those that they were copied from; raise exploration.moves."
            if run.annealed
            else f"Replica exchange accepts only {100 * lowest:.0f} % between two of its "
            "temperatures: the dynamics columns mix slowly; add temperatures."
        )
    return found + (_outside_texts(run.isomers) if run.isomers else [])


def free_energy_warnings(run: MoleculeRecord) -> list[str]:
    """Warnings that belong beside the table of free energies."""
    head, found = run.headline, []
    if not head.khat_ok:
        khat = "cannot be computed" if math.isnan(head.khat) else f"is {head.khat:.2f}"
        found.append(
            f"k-hat {khat} and should be below {head.khat_limit:.2f}: the error bars of the "
            "reweighted columns may be too small. Train longer."
        )
    if head.negative:
        found.append(
            f"{head.negative:,} of {head.checked:,} checked samples are folded: populations "
            "around them are too high."
        )
    return found + [text for region in run.regions for text in _region_warnings(run, region)]


def _region_warnings(run: MoleculeRecord, region: Region) -> list[str]:
    name, found = symbol(region.name), []
    if disagree(region.delta_f, region.explored_delta_f):
        score = abs(z_score(region.delta_f, region.explored_delta_f))
        found.append(
            f"{name}: reweighted and {run.explored_by} differ by {score:.1f} combined standard "
            "errors; one of them has not sampled this region well."
        )
    if region.few:
        found.append(
            f"{name} hangs on {region.effective:.1f} effective samples, of {region.inside:,} "
            "inside: neither its free energy nor the error bar can be relied on; draw more with "
            "`python -m onestep_md.sample`, or train longer."
        )
    elif region.tail:
        found.append(
            f"{name}: k-hat {region.khat:.2f} of the samples inside, limit "
            f"{region.khat_limit:.2f}: a few heavy ones decide, and the error bar may be too "
            "small; draw more with `python -m onestep_md.sample`, or train longer."
        )
    if not math.isfinite(region.delta_f.error):
        found.append(
            f"{name}: too few samples fell into it for an error bar; draw more with "
            "`python -m onestep_md.sample`."
        )
    return found


def _judge_regions(run: MoleculeRecord) -> Finding:
    scores = [
        (abs(z_score(region.delta_f, region.explored_delta_f)), region.name)
        for region in run.regions
        if region.name != region.reference
    ]
    scores = [(score, name) for score, name in scores if math.isfinite(score)]
    if not scores:
        return Finding("")
    worst, name = max(scores)
    if worst <= DISAGREEMENT:
        return Finding(
            f"Reweighted region free energies and those of the {run.explored_by} agree within "
            f"{worst:.1f} combined standard errors."
        )
    more = "annealing with more particles" if run.annealed else "a longer exploration"
    return Finding(
        f"The free energy of {symbol(name)} differs from that of the {run.explored_by} by "
        f"{worst:.1f} combined standard errors: {more} tells which is right."
    )


def _judge_few(run: MoleculeRecord) -> Finding:
    few = [symbol(region.name) for region in run.regions if region.few]
    if not few:
        return Finding("")
    return Finding(
        f"Fewer than {ENOUGH_IN_REGION} effective samples are in {', '.join(few)}: no free energy "
        "of these, nor its error bar, can be relied on."
    )


def _isomers_text(isomers: Isomers) -> str:
    held, sampled = (", ".join(words) or "nothing" for words in (isomers.held, isomers.sampled))
    return f"Held as in the input: {held}. Sampled: {sampled}."


def _outside_texts(isomers: Isomers) -> list[str]:
    return [
        f"{count:,} of {isomers.n:,} raw samples ({100 * count / isomers.n:.2g} %) have {reason}; "
        "they have no weight."
        for reason, count in isomers.outside.items()
        if count
    ]
