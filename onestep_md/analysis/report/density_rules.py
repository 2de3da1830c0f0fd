"""Rules for densities alone: the bounds of log Z, its known value, the known modes.

ELBO <= log Z <= EUBO holds at every K for any normalised flow density. A violation is therefore
never bad luck of training; it means that something is wrong.
"""

import math

from onestep_md.analysis.numbers import estimate, number
from onestep_md.analysis.records.density import DensityResults
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
from onestep_md.estimators.estimate import z_score
from onestep_md.estimators.evidence import Evidence
from onestep_md.estimators.limits import DISAGREEMENT

TITLES: dict[Level, str] = {
    "good": "The one-step samples, their weights and log Z can be used.",
    "care": "Usable with care: see the warnings beside the numbers.",
    "bad": "Do not rely on the weights and log Z yet.",
    "broken": "Something is wrong: ELBO ≤ log Z ≤ EUBO does not hold.",
}
_EXACT = Finding(
    "EUBO, BAR and the forward ESS use exact samples of the target, which visit all of it: what "
    "the flow misses shows there, unless it is rarer than one sample in all."
)


def findings(results: DensityResults) -> list[Finding]:
    """Apply all rules, in the order of the page."""
    head = results.headline
    broken = [finding for row in results.evidence for finding in _broken_bounds(row, results)]
    return [
        *(broken or [_judge_bounds(results)]),
        judge_ess(results),
        judge_weights(head),
        judge_forward_ess(head, results.target_samples),
        judge_map(head),
        _judge_known(results),
        judge_log_z(results, "BAR"),
        _judge_modes(results),
        _EXACT if results.exact_samples else UNSEEN,
    ]


def misses_modes(results: DensityResults, steps: int) -> bool:
    """Whether some known mode lacks its share of the K-step samples."""
    count = results.modes_found.get(steps)
    return results.modes is not None and count is not None and count < results.modes


def _broken_bounds(row: Evidence, results: DensityResults) -> list[Finding]:
    """Make one finding per bound that is violated at this K."""
    suspects = "the map folds, its determinant is wrong, or "
    exact = results.exact_samples
    outside = "the known value is." if exact else "the annealing missed part of the target."
    findings = []
    for low, high, names, cause in (
        (row.elbo, row.log_z, ("ELBO", "log Z"), "these weights are not of these samples."),
        (row.elbo, results.known_log_z, ("ELBO", "the known log Z"), "the known value is."),
        (row.log_z, row.eubo, ("log Z", "EUBO"), outside),
        (results.known_log_z, row.eubo, ("The known log Z", "EUBO"), outside),
    ):
        score = z_score(low, high)
        if score > DISAGREEMENT:
            values = [estimate(v) if v.error else f"{v.value:.6g}" for v in (low, high)]
            text = (
                f"K = {row.steps}: {names[0]} ({values[0]}) lies above {names[1]} ({values[1]}) "
                f"by {score:.1f} standard errors, which cannot be: {suspects}{cause}"
            )
            findings.append(Finding(text, "broken"))
    return findings


def _judge_bounds(results: DensityResults) -> Finding:
    head = results.headline
    level: Level = "good" if math.isfinite(head.eubo.value) else "care"
    if not math.isfinite(head.log_z.value):
        text = "There is no estimate of log Z: too few samples have any weight."
        return Finding(text, level)
    if level == "care":
        why = "is infinite or was not measured"
        if math.isinf(head.eubo.value):
            why = "is infinite"
        elif head.eubo.reason:
            why = "cannot be told"
        return Finding(f"EUBO {why}: nothing bounds log Z from above.", level)
    lower = "−∞" if head.infinite else estimate(head.elbo)
    return Finding(
        f"ELBO ≤ log Z ≤ EUBO holds at every K; one step: {lower} ≤ {estimate(head.log_z)} ≤ "
        f"{estimate(head.eubo)} nats. EUBO and BAR use {results.target_samples}."
    )


def _judge_known(results: DensityResults) -> Finding:
    head, known = results.headline, results.known_log_z
    if not math.isfinite(head.log_z.value):
        return Finding("")
    log_z = f"log Z = {estimate(head.log_z)} nats from K = {head.steps}"
    if not math.isfinite(known.value):
        return Finding(f"{log_z}; the true value is not known.")
    score, text = abs(z_score(head.log_z, known)), number(known.value, ".6g")
    if head.log_z.value == known.value and not head.log_z.error > 0:
        return Finding(f"{log_z}; known: {text}.")
    if not math.isfinite(score):
        return Finding(f"{log_z}; known: {text}, not comparable without an error.")
    if score > DISAGREEMENT:
        text = f"DISAGREES with the known {text} by {score:.1f} standard errors."
        return Finding(f"{log_z} {text}", "bad")
    return Finding(f"{log_z} agrees with the known {text} within {score:.1f} standard errors.")


def _judge_modes(results: DensityResults) -> Finding:
    steps = results.headline.steps
    count = results.modes_found.get(steps)
    if results.modes is None or count is None:
        return Finding("")
    if not misses_modes(results, steps):
        text = f"All {results.modes:,} modes are found by the raw samples at K = {steps}."
        return Finding(text)
    return Finding(
        f"Only {count:,} of {results.modes:,} modes are found at K = {steps}: the others hold "
        "less than a tenth of an equal share of the raw samples. Weights cannot bring back what "
        "was never drawn; explore longer or train longer.",
        "bad",
    )
