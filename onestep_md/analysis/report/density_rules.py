"""The evidence of a run on a density in plain words: can the one-step weights and log Z be used?

Levels as in `verdict`. Beyond the tests there: the known log Z, the modes that the target is
known to have, and ELBO <= log Z <= EUBO at every K, which holds for any normalised flow density.
A violation is therefore never bad luck of training; it means that something is wrong.
"""

import math

from onestep_md.analysis.records.density import DensityRecord
from onestep_md.analysis.records.measurements import EvidenceRow
from onestep_md.analysis.report.page import estimate
from onestep_md.analysis.report.verdict import (
    UNSEEN,
    Verdict,
    blind,
    ess_sentence,
    forward_sentence,
    log_z_sentence,
    log_z_spread,
    map_sentence,
    spoiled,
    weights_sentence,
    z_score,
)
from onestep_md.estimators.limits import DISAGREEMENT

_EXACT = (
    "EUBO, BAR and the forward ESS use exact samples of the target, which visit all of it: what "
    "the flow misses shows there, unless it is rarer than one sample in all."
)
TITLES = {
    "good": "The one-step samples, their weights and log Z can be used.",
    "care": "Usable with care: see the warnings beside the numbers.",
    "bad": "Do not rely on the weights and log Z yet.",
    "broken": "Something is wrong: ELBO ≤ log Z ≤ EUBO does not hold.",
}


def judge_density(run: DensityRecord) -> Verdict:
    """Weigh the evidence of a run."""
    head, spread = run.headline, log_z_spread(run, "BAR")
    broken = [text for row in run.evidence for text in broken_bounds(row, run)]
    sentences = [
        *(broken or [_bounds_sentence(run)]),
        ess_sentence(run),
        weights_sentence(head),
        forward_sentence(head, _source(run)),
        map_sentence(head),
        _known_sentence(run),
        log_z_sentence(spread),
        _modes_sentence(run),
        _EXACT if run.exact else UNSEEN,
    ]
    bad = (
        broken
        or spoiled(head)
        or blind(head)
        or spread[0] > DISAGREEMENT
        or abs(z_score(head.log_z, run.log_z)) > DISAGREEMENT
        or modes_missed(run, head.steps)
    )
    bounded = math.isfinite(head.eubo.value)
    good = head.checked and bounded and not (head.warnings or run.warnings)
    level = "bad" if bad else "good" if good else "care"
    return Verdict(
        level=level,
        title=TITLES["broken" if broken else level],
        sentences=tuple(text for text in sentences if text),
        evidence_warnings=tuple(text for row in run.evidence for text in row.warnings),
        run_warnings=run.warnings,
    )


def broken_bounds(row: EvidenceRow, run: DensityRecord) -> list[str]:
    """One sentence per bound that is violated at this K by more than 3 standard errors."""
    suspects = "the map folds, its determinant is wrong, or "
    outside = "the known value is." if run.exact else "the annealing missed part of the target."
    found = []
    for low, high, names, cause in (
        (row.elbo, row.log_z, ("ELBO", "log Z"), "these weights are not of these samples."),
        (row.elbo, run.log_z, ("ELBO", "the known log Z"), "the known value is."),
        (row.log_z, row.eubo, ("log Z", "EUBO"), outside),
        (run.log_z, row.eubo, ("The known log Z", "EUBO"), outside),
    ):
        score = z_score(low, high)
        if score > DISAGREEMENT:
            values = [estimate(v) if v.error else f"{v.value:.6g}" for v in (low, high)]
            found.append(
                f"K = {row.steps}: {names[0]} ({values[0]}) lies above {names[1]} ({values[1]}) "
                f"by {score:.1f} standard errors, which cannot be: {suspects}{cause}"
            )
    return found


def modes_missed(run: DensityRecord, steps: int) -> bool:
    """Whether some known mode lacks its share of the K-step samples."""
    found = run.modes_found.get(steps)
    return run.modes is not None and found is not None and found < run.modes


def _source(run: DensityRecord) -> str:
    return "exact samples of the target" if run.exact else "held-out samples of the annealing"


def _bounds_sentence(run: DensityRecord) -> str:
    head = run.headline
    if not math.isfinite(head.log_z.value):
        return "There is no estimate of log Z: too few samples have any weight."
    if not math.isfinite(head.eubo.value):
        why = {"inf": "is infinite", "no estimate": "cannot be told"}
        why = why.get(head.eubo.text, "is infinite or was not measured")
        return f"EUBO {why}: nothing bounds log Z from above."
    lower = "−∞" if head.infinite else estimate(head.elbo)
    return (
        f"ELBO ≤ log Z ≤ EUBO holds at every K; one step: {lower} ≤ {estimate(head.log_z)} ≤ "
        f"{estimate(head.eubo)} nats. EUBO and BAR use {_source(run)}."
    )


def _known_sentence(run: DensityRecord) -> str:
    head, known = run.headline, run.log_z.value
    if not math.isfinite(head.log_z.value):
        return ""
    found = f"log Z = {estimate(head.log_z)} nats from K = {head.steps}"
    if not math.isfinite(known):
        return f"{found}; the true value is not known."
    score = abs(z_score(head.log_z, run.log_z))
    text = f"{known:.6g}".replace("-", "−")
    if not score <= DISAGREEMENT and math.isfinite(score):
        return f"{found} DISAGREES with the known {text} by {score:.1f} standard errors."
    if math.isfinite(score):
        return f"{found} agrees with the known {text} within {score:.1f} standard errors."
    exact = head.log_z.value == known
    return f"{found}; known: {text}{'' if exact else ', not comparable without an error'}."


def _modes_sentence(run: DensityRecord) -> str:
    steps = run.headline.steps
    found = run.modes_found.get(steps)
    if run.modes is None or found is None:
        return ""
    if not modes_missed(run, steps):
        return f"All {run.modes:,} modes are found by the raw samples at K = {steps}."
    return (
        f"Only {found:,} of {run.modes:,} modes are found at K = {steps}: the others hold less "
        "than a tenth of an equal share of the raw samples. Weights cannot bring back what was "
        "never drawn; explore longer or train longer."
    )
