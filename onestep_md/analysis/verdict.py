"""The evidence in plain words: what a chemist may do with these numbers, and what spoils them.

Three levels. "good": nothing speaks against the numbers. "care": usable, with the named
reservations. "bad": weights or map failed a test, so that error bars do not cover the error.
"""

import math
from dataclasses import dataclass

from onestep_md.analysis.measurements import EvidenceRow, Measured, Measurements
from onestep_md.analysis.record import RunRecord
from onestep_md.analysis.style import symbol
from onestep_md.estimators.evidence import LOG_DET_LIMIT

FOLDED_LIMIT = 1e-3  # fraction of checked samples with a negative determinant
FEWEST_EFFECTIVE = 100  # below it error bars are themselves unreliable
DISAGREEMENT = 3.0  # combined standard errors
_ROUNDING = 1e-9  # relative, of sums over samples
LOW_ACCEPTANCE = 0.1  # of replica exchanges or MALA moves; below it samples hardly mix

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
        map_sentence(head),
        log_z_sentence(spread),
        _regions_sentence(run),
    ]
    if run.handedness.centres:
        sentences.append(_handedness_sentence(run))
    evidence = [text for row in run.evidence for text in row.warnings]
    free_energy = _free_energy_warnings(run)
    bad = spoiled(head) or spread[0] > DISAGREEMENT
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
        not khat_ok(row)
        or row.negative > FOLDED_LIMIT * max(row.checked, 1)
        or not row.ess.value * row.n >= FEWEST_EFFECTIVE
        or row.log_det_error > LOG_DET_LIMIT
    )


def khat_ok(row: EvidenceRow) -> bool:
    """Whether the tail of the weights is tame; nan is not."""
    return row.khat <= row.khat_limit


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
    if math.isnan(row.khat):
        return "k-hat could not be computed, so nothing vouches for the weights."
    if khat_ok(row):
        return f"Weights reliable: k-hat {row.khat:.2f}, limit {row.khat_limit:.2f}."
    return (
        f"Weights unreliable: k-hat {row.khat:.2f} is above {row.khat_limit:.2f}. The flow misses "
        "part of the target and error bars may not cover it; train longer."
    )


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


def _handedness_sentence(run: RunRecord) -> str:
    hand = run.handedness
    centres = "centre" if hand.centres == 1 else "centres"
    if not hand.inverted:
        return f"Every sample has the handedness of the input ({hand.centres} {centres})."
    share = 100 * hand.inverted / hand.n
    return f"{hand.inverted:,} of {hand.n:,} raw samples ({share:.2g} %) have an inverted centre."


def _free_energy_warnings(run: RunRecord) -> list[str]:
    head, found = run.headline, []
    if not khat_ok(head):
        found.append(
            f"k-hat {head.khat:.2f} is above {head.khat_limit:.2f}: the error bars of the "
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
    if run.handedness.inverted:
        found.append(_handedness_sentence(run))
    return tuple(found)
