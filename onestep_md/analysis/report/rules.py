"""The evidence in plain words: what a chemist may do with these numbers, and what spoils them.

Three levels. "good": nothing speaks against the numbers. "care": usable, with the named
reservations. "bad": weights or map failed a test, so that error bars do not cover the error.
"""

import math
from dataclasses import dataclass

from onestep_md.analysis.figures.style import symbol
from onestep_md.analysis.records.measurements import EvidenceRow, Measured, Measurements
from onestep_md.analysis.records.molecule import Isomers, Region, RunRecord
from onestep_md.analysis.report.page import percent
from onestep_md.estimators.limits import (
    DISAGREEMENT,
    ENOUGH_EFFECTIVE,
    ENOUGH_IN_REGION,
    ENOUGH_SAMPLES,
    FOLDED_LIMIT,
    HARMLESS,
    LOG_DET_LIMIT,
    LOW_ACCEPTANCE,
    ess_differs,
)

UNSEEN = (
    "Nothing on this page sees what neither the exploration nor the flow has visited: a "
    "conformation that both miss changes none of these numbers, nor their errors."
)
_BLIND = 0.5  # of the ESS; a forward ESS below it means more than a short error bar
_ROUNDING = 1e-9  # relative, of sums over samples

TITLES = {
    "good": "The weights and free energies can be used.",
    "care": "Usable with care: see the warnings beside the numbers.",
    "bad": "Do not rely on the reweighted numbers yet.",
}


@dataclass(frozen=True)
class Verdict:
    """Level, title and sentences for the top of the page, warnings for its sections."""

    level: str
    title: str
    sentences: tuple[str, ...]
    evidence_warnings: tuple[str, ...]
    run_warnings: tuple[str, ...]
    free_energy_warnings: tuple[str, ...] = ()


def judge(run: RunRecord) -> Verdict:
    """Weigh the evidence of a run."""
    head = run.headline
    spread = log_z_spread(run, f"BAR against the {run.explored_by}")
    sentences = [
        ess_sentence(run),
        weights_sentence(head),
        forward_sentence(head, f"held-out samples of the {run.explored_by}"),
        map_sentence(head),
        log_z_sentence(spread),
        _regions_sentence(run),
        _few_sentence(run),
    ]
    if run.isomers:
        sentences += [_isomers_sentence(run.isomers), *_outside_sentences(run.isomers)]
    sentences.append(UNSEEN)
    evidence = [text for row in run.evidence for text in row.warnings]
    free_energy = _free_energy_warnings(run)
    bad = spoiled(head) or blind(head) or spread[0] > DISAGREEMENT
    others = (*head.warnings, *free_energy, *_run_warnings(run))
    level = "bad" if bad else "care" if others or not head.checked else "good"
    return Verdict(
        level=level,
        title=TITLES[level],
        sentences=tuple(text for text in sentences if text),
        evidence_warnings=tuple(evidence),
        run_warnings=_run_warnings(run),
        free_energy_warnings=tuple(free_energy),
    )


def spoiled(row: EvidenceRow) -> bool:
    """Whether the weights failed a test: their tail, their number, folds, the determinant."""
    return (
        not row.khat_ok
        or row.negative > FOLDED_LIMIT * max(row.checked, 1)
        or not row.ess.value * row.n >= ENOUGH_EFFECTIVE
        or row.log_det_error > LOG_DET_LIMIT
    )


def differs(row: EvidenceRow) -> bool:
    """Whether the ESS of the flow and that seen from the target contradict each other."""
    score = z_score(row.ess, row.forward_ess)
    return ess_differs(row.ess.value, row.forward_ess.value, score, row.ess_error_known)


def blind(row: EvidenceRow) -> bool:
    """Whether the target has been where the flow hardly goes, so that its weights say too much."""
    return differs(row) and row.forward_ess.value < _BLIND * row.ess.value


def z_score(a: Measured, b: Measured) -> float:
    """(a - b) in combined standard errors; nan where an error is unknown or all is zero."""
    difference, error = a.value - b.value, math.hypot(a.error, b.error)
    rounding = _ROUNDING * max(1.0, abs(b.value))
    if error < rounding:  # an exact flow has errors below the last digit
        return difference / rounding if difference else math.nan
    return difference / error


def log_z_spread(run: Measurements, bar: str) -> tuple[float, list[str]]:
    """Largest |z| of log Z from one step to that from more steps and from BAR; their names."""
    head = run.headline
    others = [(f"K = {row.steps}", row.log_z) for row in run.evidence if row.steps == 4]
    others += [(bar, head.bar)]
    others = [(name, value) for name, value in others if math.isfinite(value.value)]
    scores = [abs(z_score(head.log_z, value)) for _, value in others]
    scores = [score for score in scores if math.isfinite(score)]
    return max(scores, default=math.nan), [f"K = {head.steps}", *(name for name, _ in others)]


def ess_sentence(run: Measurements) -> str:
    """How many independent samples the weighted ones are worth."""
    head, base = run.headline, run.row(0)
    steps = "One-step" if head.steps == 1 else f"{head.steps}-step"
    text = (
        f"{steps} ESS {100 * head.ess.value:.3g} % over {head.n:,} samples, worth "
        f"{head.ess.value * head.n:,.0f} independent ones"
    )
    if head.ess_sets:
        low, high = 100 * min(head.ess_sets), 100 * max(head.ess_sets)
        size = f"{ENOUGH_SAMPLES:,}"
        text += f", and {low:.3g} to {high:.3g} % in {len(head.ess_sets)} sets of {size} of them"
    if base is not None and base.ess.value > 0:
        gain = head.ess.value / base.ess.value
        factor = f"{float(f'{gain:.2g}'):,g}"  # two digits, but 120 rather than 1.2e+02
        text += f" ({100 * base.ess.value:.3g} % without the network, a factor {factor})"
    if head.auxiliaries > 1:
        text += (
            f". A weight is made of {head.auxiliaries} draws of the auxiliary coordinates; with "
            f"the flow's own alone the ESS is {100 * head.ess_joint.value:.3g} %"
        )
    return text + "."


def weights_sentence(row: EvidenceRow) -> str:
    """What k-hat says of the weights."""
    if row.khat <= row.khat_limit:
        return f"Weights reliable: k-hat {row.khat:.2f}, limit {row.khat_limit:.2f}."
    if row.khat_ok:
        khat = "not known" if math.isnan(row.khat) else f"{row.khat:.2f}"
        most = max(row.heaviest / HARMLESS, 1e-4)
        return (
            f"Weights reliable: k-hat is {khat}, but no weight is large: the heaviest sample "
            f"holds {100 * row.heaviest:.2g} % of their sum, so that what their tail hides moves "
            f"log Z by no more than its error or {most:.1g}."
        )
    if math.isnan(row.khat):
        return "k-hat could not be computed, so nothing vouches for the weights."
    return (
        f"Weights unreliable: k-hat {row.khat:.2f} is above {row.khat_limit:.2f}. The flow misses "
        "part of the target and error bars may not cover it; train longer."
    )


def forward_sentence(row: EvidenceRow, of: str) -> str:
    """Whether samples of the target, named by `of`, see the same ESS; nothing without them."""
    if math.isnan(row.forward_ess.value):
        return ""
    ours, theirs = percent(row.ess, row.ess_error_known), percent(row.forward_ess)
    if blind(row):
        return (
            f"The ESS seen from {of}, the forward ESS, is {theirs} % instead of {ours} %: the "
            f"flow hardly visits where {row.above:,} of {row.held_out:,} of them are, and its "
            "weights do not know of it."
        )
    if differs(row):
        return f"The ESS seen from {of}, {theirs} %, and that of the flow, {ours} %, differ."
    return f"Seen from {of} the ESS is {theirs} %."


def map_sentence(row: EvidenceRow) -> str:
    """What the certificates say of the map."""
    if not row.checked:
        return "The map was not checked for folds; the weights are exact only if it has none."
    if row.log_det_error > LOG_DET_LIMIT:
        return (
            f"The log-determinant in the weights is off by up to {row.log_det_error:.0e}: the "
            "weights and log Z are wrong."
        )
    if row.negative:
        return (
            f"{row.negative:,} of {row.checked:,} checked samples are folded (negative "
            "determinant): their region is counted more than once."
        )
    # none of n seen: below 3/n with 95 % confidence
    text = f"No folded samples in {row.checked:,}, so fewer than {300 / row.checked:.2g} %"
    if math.isfinite(row.round_trip):
        text += f"; inverting the map misses by at most {row.round_trip:.0e}"
    return text + "."


def log_z_sentence(spread: tuple[float, list[str]]) -> str:
    """Whether the ways to log Z of `log_z_spread` agree; nothing if there is only one."""
    worst, compared = spread
    if not math.isfinite(worst):
        return ""
    names = ", ".join(compared[:-1]) + f" and {compared[-1]}"
    verb = "agree within" if worst <= DISAGREEMENT else "DISAGREE by"
    return f"log Z from {names} {verb} {worst:.1f} combined standard errors."


def _regions_sentence(run: RunRecord) -> str:
    scores = [(abs(z_score(r.delta_f, r.explored_delta_f)), r.name) for r in run.regions]
    scores = [(score, name) for score, name in scores if math.isfinite(score)]
    if not scores:
        return ""
    worst, name = max(scores)
    if worst <= DISAGREEMENT:
        return (
            f"Reweighted region free energies and those of the {run.explored_by} agree within "
            f"{worst:.1f} combined standard errors."
        )
    more = "annealing with more particles" if run.annealed else "a longer exploration"
    return (
        f"The free energy of {symbol(name)} differs from that of the {run.explored_by} by "
        f"{worst:.1f} combined standard errors: {more} tells which is right."
    )


def _few_sentence(run: RunRecord) -> str:
    few = [symbol(region.name) for region in run.regions if region.few]
    if not few:
        return ""
    return (
        f"Fewer than {ENOUGH_IN_REGION} effective samples are in {', '.join(few)}: no free energy "
        "of these, nor its error bar, can be relied on."
    )


def _few_text(region: Region) -> str:
    return (
        f"{symbol(region.name)} hangs on {region.effective:.1f} effective samples, of "
        f"{region.inside:,} inside: neither its free energy nor the error bar can be relied on; "
        "draw more with `python -m onestep_md.sample`, or train longer."
    )


def _isomers_sentence(isomers: Isomers) -> str:
    held, sampled = (", ".join(words) or "nothing" for words in (isomers.held, isomers.sampled))
    return f"Held as in the input: {held}. Sampled: {sampled}."


def _outside_sentences(isomers: Isomers) -> list[str]:
    return [
        f"{count:,} of {isomers.n:,} raw samples ({100 * count / isomers.n:.2g} %) have {reason}; "
        "they have no weight."
        for reason, count in isomers.outside.items()
        if count
    ]


def _free_energy_warnings(run: RunRecord) -> list[str]:
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
    for region in run.regions:
        score = z_score(region.delta_f, region.explored_delta_f)
        if abs(score) > DISAGREEMENT:
            found.append(
                f"{symbol(region.name)}: reweighted and {run.explored_by} differ by "
                f"{abs(score):.1f} combined standard errors; one of them has not sampled this "
                "region well."
            )
        if region.few:
            found.append(_few_text(region))
        elif region.tail:
            found.append(
                f"{symbol(region.name)}: k-hat {region.khat:.2f} of the samples inside, limit "
                f"{region.khat_limit:.2f}: a few heavy ones decide, and the error bar may be too "
                "small; draw more with `python -m onestep_md.sample`, or train longer."
            )
        if not math.isfinite(region.delta_f.error):
            found.append(
                f"{symbol(region.name)}: too few samples fell into it for an error bar; draw more "
                "with `python -m onestep_md.sample`."
            )
    return found


def _run_warnings(run: RunRecord) -> tuple[str, ...]:
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
    if run.isomers:
        found += _outside_sentences(run.isomers)
    return tuple(found)
