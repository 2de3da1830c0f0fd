"""Importance weights: normalisation, effective sample size, tail index, resampling.

A flow sample x ~ q carries log w = log p~(x) - log q(x), with p~ = exp(-u) unnormalised. A sample
of infinite energy has log w = -inf and weight zero, and it counts: dropping it would change q.
Every function takes log_w of shape (n,), and none clips or smooths it.
"""

import numpy as np

from onestep_md.errors import OneStepError
from onestep_md.estimators.limits import ENOUGH_SAMPLES, HARMLESS, NEGLIGIBLE


def checked_log_w(log_w: np.ndarray) -> np.ndarray:
    """Return log_w as float64 (n,); refuse values that no estimator can use."""
    log_w = np.asarray(log_w, dtype=np.float64)
    if log_w.ndim != 1 or log_w.size == 0:
        raise ValueError(f"log_w must have shape (n,) with n > 0, not {log_w.shape}")
    if np.isnan(log_w).any() or np.isposinf(log_w).any():
        raise ValueError(
            "log_w holds nan or +inf: a sample without a finite energy or image gets -inf"
        )
    return log_w


def relative_weights(log_w: np.ndarray) -> np.ndarray:
    """Return w / max(w), in [0, 1], shape (n,); all zero where every log weight is -inf."""
    log_w = checked_log_w(log_w)
    return np.exp(log_w - log_w.max()) if np.isfinite(log_w.max()) else np.zeros_like(log_w)


def normalised_weights(log_w: np.ndarray) -> np.ndarray:
    """Return the weights (n,) in float64, summing to 1.

    Raises:
        OneStepError: every weight is zero.
    """
    relative = relative_weights(log_w)
    if not relative.any():
        raise OneStepError(
            f"all {relative.size} samples have infinite energy or zero weight: no sample can be "
            "weighted. Train longer, or look at the raw samples for overlapping atoms."
        )
    return relative / relative.sum()


def stored_weights(log_w: np.ndarray) -> np.ndarray:
    """Return the weights (n,) to store; nan, as every average then is, if all are zero."""
    relative = relative_weights(log_w)
    return normalised_weights(log_w) if relative.any() else np.full(relative.size, np.nan)


def log_mean_weight(log_w: np.ndarray) -> float:
    """Return log <w>, the logarithm of the mean weight; some weight must not be zero."""
    # max + log <w / w_max>
    return float(np.max(log_w) + np.log(relative_weights(log_w).mean()))


def ess(log_w: np.ndarray) -> float:
    """Return Kish's effective sample size as a fraction of n, in [0, 1]."""
    relative = relative_weights(log_w)
    # ESS / n = (sum w)^2 / (n sum w^2)
    return float(relative.sum() ** 2 / (relative.size * (relative**2).sum() or 1.0))


def ess_error(log_w: np.ndarray) -> float:
    """Return the standard error of `ess` (a fraction), by the delta method.

    The method needs <w^4>, which the drawn tail may underestimate: see `ess_error_known`.
    """
    w = relative_weights(log_w)
    fraction = ess(log_w)
    if fraction == 0.0:
        return float("nan")
    # r = m1^2 / m2 with the moments m1 = <w>, m2 = <w^2>
    # dr = r (2 dm1 / m1 - dm2 / m2), so each sample contributes r (2 w / m1 - w^2 / m2 - 1),
    # whose mean over the samples is r (2 - 1 - 1) = 0
    influence = fraction * (2.0 * w / w.mean() - w**2 / (w**2).mean() - 1.0)
    return float(np.sqrt((influence**2).mean() / w.size))


def clipped_ess(log_w: np.ndarray, fraction: float = 1e-4) -> float:
    """Return `ess` with the top `fraction` of the weights set to the smallest of them.

    A convention of published tables, biased upwards; with fraction * n <= 1 it equals `ess`.
    """
    log_w = checked_log_w(log_w)
    top = max(1, int(np.ceil(fraction * log_w.size)))
    smallest_of_top = np.partition(log_w, log_w.size - top)[log_w.size - top]
    return ess(np.minimum(log_w, smallest_of_top))


def khat(log_w: np.ndarray) -> float:
    """Return the PSIS tail index k-hat of the weights (arXiv 1507.02646).

    Weights have finite moments below order 1/k. Equal weights have no tail: -inf. Too few samples
    (n < 25), or a tail in which nearly all weights are zero or tied: nan.
    """
    relative = np.sort(relative_weights(log_w))
    n = relative.size
    tail = relative[-max(5, int(3.0 * np.sqrt(n))) :]
    # a tail of (nearly) zeros and a few huge weights would be fitted as a light one
    if n < 25 or tail[0] == 0.0:
        return float("nan")
    if tail[0] == tail[-1]:
        return float("-inf")
    from arviz_stats.base import array_stats  # numpy and scipy only, unlike arviz_stats itself

    # psislw takes MINUS the log weights (its home is leave-one-out, with log likelihoods)
    with np.errstate(all="ignore"):
        k = float(array_stats.psislw(-np.asarray(log_w, dtype=np.float64))[1])
    return k if np.isfinite(k) else float("nan")


def largest_weight(log_w: np.ndarray) -> float:
    """Return the largest normalised weight; nan if all are zero."""
    relative = relative_weights(log_w)
    return float(1.0 / relative.sum()) if relative.any() else float("nan")


def harmless(log_w: np.ndarray, error: float) -> bool:
    """Whether no weight is large enough for the tail index to matter, whatever k-hat says.

    k-hat is the shape of the heaviest weights above a threshold. Nearly equal weights, a few of
    which are a little larger, have as steep a shape as weights over many orders of magnitude, and
    k-hats far above 1. But <w> = Z is finite, so that the tail has an index k < 1, and beyond the
    largest drawn weight, a share s of the sum, it hides about s / (1 - k) of it:

        n int_0^(1/n) p^-k dp / n^k = 1 / (1 - k)   in units of the largest of n weights p^-k

    ten times s at k = 0.9. So the tail may be ignored where s is a tenth of the standard error of
    the number in question, or of an error that matters to nobody.

    Args:
        log_w: (n,) log weights.
        error: relative standard error of a sum of weights, that of log Z or of a population.
    """
    return bool(largest_weight(log_w) <= HARMLESS * np.fmax(error, NEGLIGIBLE))


def ess_sets(log_w: np.ndarray) -> tuple[float, ...]:
    """Return `ess` of every full set of ENOUGH_SAMPLES samples; nothing if there are not two.

    Samples of a flow are independent, so consecutive parts are as good as new sets. The ESS of a
    set depends on its size, since a larger one finds heavier weights: smaller parts would have a
    higher ESS that scatters less.
    """
    log_w = checked_log_w(log_w)
    count = log_w.size // ENOUGH_SAMPLES
    if count < 2:
        return ()
    return tuple(ess(part) for part in log_w[: count * ENOUGH_SAMPLES].reshape(count, -1))


def resample(log_w: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    """Draw n indices in proportion to the weights, by systematic resampling.

    Returns:
        Rising indices (n,); sample i occurs floor(n w_i) or ceil(n w_i) times.
    """
    cumulative = np.cumsum(normalised_weights(log_w))
    cumulative /= cumulative[-1]
    # side="right" skips samples of zero weight, also where a position meets an edge exactly
    positions = (np.arange(n) + generator.random()) / n
    return np.searchsorted(cumulative, positions, side="right")
