"""Rules that judge the evidence of every run, each with its sentence.

Thresholds are those of `estimators.limits`. "good": nothing speaks against the numbers. "care":
usable, with the named reservations. "bad": weights or map failed a test, so that error bars do not
cover the error. "broken": a bound that always holds is violated.
"""

import math
from dataclasses import dataclass
from typing import Literal

from onestep_md.analysis.numbers import percent
from onestep_md.analysis.records.results import Results
from onestep_md.estimators.estimate import Estimate, disagree, z_score
from onestep_md.estimators.evidence import Evidence
from onestep_md.estimators.limits import (
    BLIND,
    DISAGREEMENT,
    ENOUGH_EFFECTIVE,
    ENOUGH_SAMPLES,
    HARMLESS,
)

Level = Literal["good", "care", "bad", "broken"]
LEVELS: tuple[Level, ...] = ("good", "care", "bad", "broken")


@dataclass(frozen=True)
class Finding:
    """The sentence of one rule, empty if there is nothing to judge, and its level."""

    text: str
    level: Level = "good"


UNSEEN = Finding(
    "Nothing on this page sees what neither the exploration nor the flow has visited: a "
    "conformation that both miss changes none of these numbers, nor their errors."
)


def failed_columns(row: Evidence, known_log_z: Estimate) -> frozenset[str]:
    """Find the columns of the table of evidence whose number failed a test."""
    tests = {
        "forward ESS": row.ess_differs,
        "k-hat": row.khat_fails,
        "ELBO": z_score(row.elbo, known_log_z) > DISAGREEMENT,
        "log Z": disagree(row.log_z, row.bar) or disagree(row.log_z, known_log_z),
        "EUBO": any(z_score(z, row.eubo) > DISAGREEMENT for z in (row.log_z, known_log_z)),
        "BAR": disagree(row.log_z, row.bar),
        "folded": row.folds,
        "round trip": row.inverse_fails or row.log_det_fails,
    }
    return frozenset(name for name, failed in tests.items() if failed)


def is_blind(row: Evidence) -> bool:
    """Whether the flow hardly visits part of the target, so that its ESS is far too high."""
    return row.ess_differs and row.forward_ess.value < BLIND * row.ess


def judge_ess(results: Results) -> Finding:
    """Judge how many independent samples the weighted ones are worth."""
    head, base = results.headline, results.row(0)
    steps = "One-step" if head.steps == 1 else f"{head.steps}-step"
    effective = head.ess * head.n
    text = (
        f"{steps} ESS {100 * head.ess:.3g} % over {head.n:,} samples, worth "
        f"{effective:,.0f} independent ones"
    )
    if head.ess_sets:
        low, high = 100 * min(head.ess_sets), 100 * max(head.ess_sets)
        size = f"{ENOUGH_SAMPLES:,}"
        text += f", and {low:.3g} to {high:.3g} % in {len(head.ess_sets)} sets of {size} of them"
    if base is not None and base.ess > 0:
        gain = head.ess / base.ess
        factor = f"{float(f'{gain:.2g}'):,g}"  # two digits, but 120 rather than 1.2e+02
        text += f" ({100 * base.ess:.3g} % without the network, a factor {factor})"
    if head.auxiliaries > 1:
        text += (
            f". A weight is made of {head.auxiliaries} draws of the auxiliary coordinates; with "
            f"the flow's own alone the ESS is {100 * head.ess_joint.value:.3g} %"
        )
    return Finding(f"{text}.", "good" if effective >= ENOUGH_EFFECTIVE else "bad")


def judge_weights(row: Evidence) -> Finding:
    """Judge the weights by k-hat."""
    if row.khat <= row.khat_limit:
        return Finding(f"Weights reliable: k-hat {row.khat:.2f}, limit {row.khat_limit:.2f}.")
    if not row.khat_fails:
        khat = "not known" if math.isnan(row.khat) else f"{row.khat:.2f}"
        most = max(row.heaviest / HARMLESS, 1e-4)
        return Finding(
            f"Weights reliable: k-hat is {khat}, but no weight is large: the heaviest sample "
            f"holds {100 * row.heaviest:.2g} % of their sum, so that what their tail hides moves "
            f"log Z by no more than its error or {most:.1g}."
        )
    if math.isnan(row.khat):
        return Finding("k-hat could not be computed, so nothing vouches for the weights.", "bad")
    return Finding(
        f"Weights unreliable: k-hat {row.khat:.2f} is above {row.khat_limit:.2f}. The flow misses "
        "part of the target and error bars may not cover it; train longer.",
        "bad",
    )


def judge_forward_ess(row: Evidence, target_samples: str) -> Finding:
    """Judge whether the forward ESS, of `target_samples`, is that of the flow."""
    if math.isnan(row.forward_ess.value):
        return Finding("")
    reverse, forward = percent(row.reverse_ess, row.ess_error_known), percent(row.forward_ess)
    if is_blind(row):
        return Finding(
            f"The ESS seen from {target_samples}, the forward ESS, is {forward} % instead of "
            f"{reverse} %: the flow hardly visits where {row.above:,} of {row.held_out:,} of them "
            "are, and its weights do not know of it.",
            "bad",
        )
    if row.ess_differs:
        return Finding(
            f"The ESS seen from {target_samples}, {forward} %, and that of the flow, {reverse} %, "
            "differ."
        )
    return Finding(f"Seen from {target_samples} the ESS is {forward} %.")


def judge_map(row: Evidence) -> Finding:
    """Judge the map by its certificates."""
    level: Level = "bad" if row.folds or row.log_det_fails else "good"
    if not row.checked:
        text = "The map was not checked for folds; the weights are exact only if it has none."
        return Finding(text, "care" if level == "good" else level)
    if row.log_det_fails:
        return Finding(
            f"The log-determinant in the weights is off by up to {row.log_det_error:.0e}: the "
            "weights and log Z are wrong.",
            level,
        )
    if row.negative_determinants:
        return Finding(
            f"{row.negative_determinants:,} of {row.checked:,} checked samples are folded "
            "(negative determinant): their region is counted more than once.",
            level,
        )
    # none in n samples: less than 3/n with 95 % confidence
    text = f"No folded samples in {row.checked:,}, so fewer than {300 / row.checked:.2g} %"
    if row.round_trip is not None:
        text += f"; inverting the map misses by at most {row.round_trip:.0e}"
    return Finding(f"{text}.")


def judge_log_z(results: Results, bar: str) -> Finding:
    """Judge whether log Z from one step, from more steps and from BAR, named `bar`, agree."""
    head = results.headline
    others = [(f"K = {row.steps}", row.log_z) for row in results.evidence if row.steps == 4]
    others += [(bar, head.bar)]
    others = [(name, value) for name, value in others if math.isfinite(value.value)]
    scores = [abs(z_score(head.log_z, value)) for _, value in others]
    worst = max((score for score in scores if math.isfinite(score)), default=math.nan)
    if math.isnan(worst):
        return Finding("")
    *names, last = f"K = {head.steps}", *(name for name, _ in others)
    verb = "agree within" if worst <= DISAGREEMENT else "DISAGREE by"
    text = f"log Z from {', '.join(names)} and {last} {verb} {worst:.1f} combined standard errors."
    return Finding(text, "good" if worst <= DISAGREEMENT else "bad")
