"""Thresholds of all judgements: of the evidence, the verdict, the tables and the reports.

A number beyond its threshold is printed with a sentence that says so.
"""

import math

ROUND_TRIP_LIMIT = 1e-3  # largest round-trip error of a map that counts as inverted
LOG_DET_LIMIT = 1e-6  # largest disagreement of two double-precision log-determinants
FOLDED_LIMIT = 1e-3  # fraction of checked samples with a negative determinant

ENOUGH_SAMPLES = 10_000  # below it the ESS depends on weights that were not drawn yet
ENOUGH_EFFECTIVE = 100  # effective samples; below it not even the error bars are known
ENOUGH_IN_REGION = 30  # effective samples in a region; below it its row is marked
FEWEST_EFFECTIVE = 5  # effective samples; below it there is no estimate
LARGEST_ERROR = 10.0  # nats; a mean of log w with a larger error is no estimate
CONTRADICTION = 7.0  # nats; a mean of 1 exceeds e^7 at most once in a thousand times

DISAGREEMENT = 3.0  # combined standard errors between two estimates of one number
ESS_KHAT_LIMIT = 0.25  # k-hat; above it <w^4>, and so the error of the ESS, may not exist
# an ESS; below it the error of log Z of another state is too small: over 20 sets of 10,000 samples
# of alanine dipeptide it was half of the spread at 4 %, and right at 26 % and more
RELIABLE_ESS = 0.1
ROUNDING = 1e-9  # relative, of sums over samples; no smaller error counts
BLIND = 0.5  # forward ESS over ESS; below it a small error bar alone is no explanation
ESS_RATIO = 1.25  # larger over smaller ESS; no less counts where its error is too small
HARMLESS = 0.1  # share of the largest weight, in units of the error that it may shift
NEGLIGIBLE = 0.005  # kT; a smaller error of a free energy does not matter
MODE_SHARE = 0.1  # fraction of n / modes; a mode with fewer samples counts as missed
FEWEST_FOUNDERS = 30.0  # effective, of a bridge; fewer make its islands alike by chance
LARGEST_BRIDGE_ERROR = 0.5  # kT; islands that disagree by more have found different places
LOW_ACCEPTANCE = 0.1  # of replica exchanges or MALA moves; below it samples hardly mix


def khat_limit(n: int) -> float:
    """Return the k-hat above which n weights are unreliable: min(0.7, 1 - 1/log10 n)."""
    return min(0.7, 1.0 - 1.0 / math.log10(n)) if n > 10 else 0.0


def khat_fails(khat: float, n: int, harmless: bool) -> bool:
    """Whether a tail index, which may be nan, makes n weights unreliable; see `harmless`."""
    return not (khat <= khat_limit(n) or harmless)


def ess_differs(ess: float, forward: float, score: float, error_known: bool) -> bool:
    """Whether the ESS and the forward ESS contradict each other.

    Args:
        ess: ESS by the flow's samples.
        forward: ESS by the target's samples.
        score: their difference in combined standard errors.
        error_known: whether k-hat allows an error of `ess`; see ESS_KHAT_LIMIT.
    """
    if not abs(score) > DISAGREEMENT:  # nan where there is nothing to compare with
        return False
    return error_known or max(ess, forward) > ESS_RATIO * min(ess, forward)
