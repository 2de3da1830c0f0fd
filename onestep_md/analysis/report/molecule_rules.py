"""Rules for molecules alone: free energies of regions, isomers, the exploration."""

import math

from onestep_md.analysis.figures.style import symbol
from onestep_md.analysis.records.molecule import Isomers, MoleculeResults, Region
from onestep_md.analysis.report.rules import (
    UNSEEN,
    Finding,
    Level,
    judge_ess,
    judge_forward_ess,
    judge_log_z,
    judge_map,
    judge_weights,
)
from onestep_md.estimators.estimate import disagree, z_score
from onestep_md.estimators.limits import DISAGREEMENT, ENOUGH_IN_REGION, LOW_ACCEPTANCE, khat_limit

TITLES: dict[Level, str] = {
    "good": "The weights and free energies can be used.",
    "care": "Usable with care: see the warnings beside the numbers.",
    "bad": "Do not rely on the reweighted numbers yet.",
}


def findings(results: MoleculeResults) -> list[Finding]:
    """Apply all rules, in the order of the page."""
    head = results.headline
    findings = [
        judge_ess(results),
        judge_weights(head),
        judge_forward_ess(head, results.target_samples),
        judge_map(head),
        judge_log_z(results, f"BAR against the {results.explored_by}"),
        _judge_regions(results),
        _judge_few(results),
    ]
    if results.isomers:
        texts = [_isomers_text(results.isomers), *_outside_texts(results)]
        findings += [Finding(text) for text in texts]
    return [*findings, UNSEEN]


def run_warnings(results: MoleculeResults) -> list[str]:
    """Collect warnings of the run as a whole, of an exploration that hardly moves, of isomers."""
    warnings = list(results.run_warnings)
    lowest = min(results.acceptance, default=1.0)
    if lowest < LOW_ACCEPTANCE:
        warnings.append(
            f"MALA accepts only {100 * lowest:.0f} % at one step of the annealing: samples stay "
            "near those that they were copied from; raise exploration.moves."
            if results.annealed
            else f"Replica exchange accepts only {100 * lowest:.0f} % between two of its "
            "temperatures: the dynamics columns mix slowly; add temperatures."
        )
    return warnings + _outside_texts(results)


def free_energy_warnings(results: MoleculeResults) -> list[str]:
    """Collect warnings that belong beside the table of free energies."""
    head, warnings = results.headline, []
    if head.khat_fails:
        khat = "cannot be computed" if math.isnan(head.khat) else f"is {head.khat:.2f}"
        warnings.append(
            f"k-hat {khat} and should be below {head.khat_limit:.2f}: the error bars of the "
            "reweighted columns may be too small. Train longer."
        )
    if head.negative_determinants:
        warnings.append(
            f"{head.negative_determinants:,} of {head.checked:,} checked samples are folded: "
            "populations around them are too high."
        )
    for region in results.regions:
        warnings += _region_warnings(region, results.explored_by)
    return warnings


def _region_warnings(region: Region, explored_by: str) -> list[str]:
    name, flow, warnings = symbol(region.name), region.one_step, []
    if disagree(flow.delta_f, region.explored.delta_f):
        score = abs(z_score(flow.delta_f, region.explored.delta_f))
        warnings.append(
            f"{name}: reweighted and {explored_by} differ by {score:.1f} combined standard "
            "errors; one of them has not sampled this region well."
        )
    if flow.few:
        warnings.append(
            f"{name} hangs on {flow.effective:.1f} effective samples, of "
            f"{flow.n_samples_inside:,} inside: neither its free energy nor the error bar can be "
            "relied on; draw more with `python -m onestep_md.sample`, or train longer."
        )
    elif flow.heavy_tail:
        limit = khat_limit(flow.n_samples_inside)
        warnings.append(
            f"{name}: k-hat {flow.khat:.2f} of the samples inside, limit {limit:.2f}: a few heavy "
            "ones decide, and the error bar may be too small; draw more with "
            "`python -m onestep_md.sample`, or train longer."
        )
    if not math.isfinite(flow.delta_f.error):
        warnings.append(
            f"{name}: too few samples fell into it for an error bar; draw more with "
            "`python -m onestep_md.sample`."
        )
    return warnings


def _judge_regions(results: MoleculeResults) -> Finding:
    scores = [
        (abs(z_score(region.one_step.delta_f, region.explored.delta_f)), region.name)
        for region in results.regions
        if region.name != region.one_step.reference
    ]
    scores = [(score, name) for score, name in scores if math.isfinite(score)]
    if not scores:
        return Finding("")
    worst, name = max(scores)
    if worst <= DISAGREEMENT:
        return Finding(
            f"Reweighted region free energies and those of the {results.explored_by} agree within "
            f"{worst:.1f} combined standard errors."
        )
    more = "annealing with more particles" if results.annealed else "a longer exploration"
    return Finding(
        f"The free energy of {symbol(name)} differs from that of the {results.explored_by} by "
        f"{worst:.1f} combined standard errors: {more} tells which is right."
    )


def _judge_few(results: MoleculeResults) -> Finding:
    few = [symbol(region.name) for region in results.regions if region.one_step.few]
    if not few:
        return Finding("")
    return Finding(
        f"Fewer than {ENOUGH_IN_REGION} effective samples are in {', '.join(few)}: no free energy "
        "of these, nor its error bar, can be relied on."
    )


def _isomers_text(isomers: Isomers) -> str:
    held, sampled = (", ".join(words) or "nothing" for words in (isomers.held, isomers.sampled))
    return f"Held as in the input: {held}. Sampled: {sampled}."


def _outside_texts(results: MoleculeResults) -> list[str]:
    head = results.headline
    outside = results.isomers.outside[head.steps] if results.isomers else {}
    return [
        f"{count:,} of {head.n:,} raw samples ({100 * count / head.n:.2g} %) have {reason}; "
        "they have no weight."
        for reason, count in outside.items()
        if count
    ]
