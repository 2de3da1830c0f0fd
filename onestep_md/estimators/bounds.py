"""Log Z four ways from log weights, and the effective sample size seen from the target.

For flow samples x ~ q and target samples x ~ p = p~ / Z, with log w = log p~ - log q in both:
    ELBO = <log w>_q  <=  log Z = log <w>_q  <=  EUBO = <log w>_p,
BAR joins both sets (Bennett 1976; Shirts et al. 2003), and of the two forms of one number,
    <w>_q^2 / <w^2>_q = Z / <w>_p,
the first, Kish's, is computed where the flow is, and the second where the target is. A number that
depends on a few samples is no estimate: it is nan and has a reason.
"""

from math import sqrt
from warnings import catch_warnings

import numpy as np

from onestep_md.estimators.correlation import import_pymbar, thin
from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.estimators.limits import CONTRADICTION, FEWEST_EFFECTIVE, LARGEST_ERROR
from onestep_md.estimators.weights import checked_log_w, ess, log_mean_weight, relative_weights

_NO_OVERLAP = "flow and target samples have no overlap"


def log_z(log_w: np.ndarray) -> Estimate:
    """Return log Z = log <w> from flow samples; no estimate if a few carry all the weight."""
    worth = ess(log_w) * np.size(log_w)
    if worth < FEWEST_EFFECTIVE:
        return no_estimate(_few_reason(log_w, worth))
    return _log_mean(log_w)


def _few_reason(log_w: np.ndarray, worth: float) -> str:
    if worth == 0.0:
        return f"none of the {np.size(log_w)} samples has any weight"
    return f"the {np.size(log_w)} samples are worth {worth:.1f} by their weights"


def _log_mean(log_w: np.ndarray) -> Estimate:
    """Logarithm of the mean weight and its error; some weight must not be zero."""
    relative = relative_weights(log_w)
    mean = relative.mean()
    # var(log <w>) = var(w) / (n <w>^2) = 1/(n r) - 1/n with the Kish fraction r = <w>^2 / <w^2>;
    # written with the deviations it cannot go negative by rounding
    error = float(relative.std() / mean / sqrt(relative.size))
    return Estimate(log_mean_weight(log_w), error)


def elbo(log_w: np.ndarray) -> Estimate:
    """Return <log w> over flow samples; -inf, without an error, if any sample weighs zero."""
    log_w = checked_log_w(log_w)
    zero = int(np.isneginf(log_w).sum())
    if zero:
        reason = f"{zero} of {log_w.size} samples have no weight"
        return Estimate(float("-inf"), float("nan"), reason)
    return _mean(log_w, 1.0)


def eubo(log_w_target: np.ndarray, inefficiency: float = 1.0) -> Estimate:
    """Return <log w> over target samples; +inf if the flow cannot reach one of them (q = 0).

    Args:
        log_w_target: (m,) log p~ - log q at samples of the target.
        inefficiency: their statistical inefficiency; 1 for independent samples.
    """
    log_w_target = _checked_target(log_w_target)
    beyond = int(np.isposinf(log_w_target).sum())
    if beyond:
        reason = f"the flow has no density at {beyond} of {log_w_target.size} target samples"
        return Estimate(float("inf"), float("nan"), reason)
    return _mean(log_w_target, inefficiency)


def forward_ess(log_z: Estimate, log_w_target: np.ndarray, inefficiency: float = 1.0) -> Estimate:
    """Return the forward ESS Z / <w>_p, the ESS of the flow by target samples, a fraction.

    It is 0 if the flow cannot reach one of them. One heavy frame makes it small, with an error as
    large as itself: then the ESS of the flow's own samples is too high.

    Args:
        log_z: log Z of the flow's samples, or by BAR.
        log_w_target: (m,) log p~ - log q at samples of the target.
        inefficiency: their statistical inefficiency; 1 for independent samples.
    """
    log_w_target = _checked_target(log_w_target)
    m, beyond = log_w_target.size, int(np.isposinf(log_w_target).sum())
    if beyond:
        reason = f"the flow has no density at {beyond} of {m} target samples"
        return Estimate(0.0, float("nan"), reason)
    if not np.isfinite(log_z.value):
        return no_estimate(f"log Z has none: {log_z.reason}")
    if m <= inefficiency:
        return no_estimate(f"{m} target samples, correlated as if they were one")
    mean = _log_mean(log_w_target)
    value = float(np.exp(min(log_z.value - mean.value, 700.0)))
    # d log(Z / <w>_p) = d log Z - d log <w>_p, the latter of a correlated series as in `_mean`
    correlated = mean.error * sqrt(m * inefficiency / (m - inefficiency))
    return Estimate(value, value * float(np.hypot(log_z.error, correlated)))


def count_above(log_w: np.ndarray, log_w_target: np.ndarray) -> int:
    """Return how many target samples weigh more than every sample of the flow."""
    return int((_checked_target(log_w_target) > checked_log_w(log_w).max()).sum())


def expected_above(log_w: np.ndarray, m: int) -> float:
    """Return how many of m target samples weigh more than all n of a flow that misses nothing.

    A new sample of the flow is the heaviest with probability 1 / (n + 1), and one of the target
    w / Z times as often: by w of the heaviest so far, for a tail of index 1/2, twice its share.
    """
    relative = relative_weights(log_w)
    return 2.0 * m / float(relative.sum()) if relative.any() else 0.0


def bar(
    log_w_flow: np.ndarray,
    log_w_target: np.ndarray,
    inefficiency: float = 1.0,
    walkers: np.ndarray | None = None,
) -> Estimate:
    """Return log Z from flow and target samples together, by Bennett's acceptance ratio.

    Args:
        log_w_flow: (n,) log p~ - log q at flow samples; -inf is infinite forward work.
        log_w_target: (m,) the same at samples of the target, in time order within a walker;
            +inf is infinite reverse work.
        inefficiency: statistical inefficiency of the target samples; they are thinned by it.
        walkers: (m,) walker of every target sample; None is one walker.
    """
    log_w_target = _checked_target(log_w_target)
    thinned = log_w_target[thin(log_w_target.size, inefficiency, walkers)]
    if thinned.size < FEWEST_EFFECTIVE:
        return no_estimate(f"the target samples are worth {thinned.size} independent ones")
    # state 0 is the flow (reduced potential -log q, free energy 0), state 1 the target (u, -log Z)
    # w_F = u_1 - u_0 at samples of 0 = -log p~ + log q = -log w
    w_F = -checked_log_w(log_w_flow)
    # w_R = u_0 - u_1 at samples of 1 = +log w
    w_R = thinned
    if not np.isfinite(w_F).any():
        return no_estimate(f"none of the {w_F.size} samples has any weight")
    if not np.isfinite(w_R).any():
        return no_estimate("the flow has no density at any target sample")
    # delta_f = f_1 - f_0 = -log Z. Adding c to w_F and subtracting it from w_R adds c to delta_f.
    # It is moved to about 1000, because pymbar stops at a RELATIVE change and takes 0.0 for
    # converged
    c = 1000.0 + _log_mean(log_w_flow).value
    w_F, w_R = _bound_work(w_F) + c, _bound_work(w_R) - c
    pymbar = import_pymbar()
    try:
        with np.errstate(all="ignore"), catch_warnings(action="ignore"):
            result = pymbar.bar(w_F, w_R, method="bisection", uncertainty_method="MBAR")
    except (pymbar.utils.ConvergenceError, pymbar.utils.BoundsError):
        return no_estimate(_NO_OVERLAP)
    delta_f = float(result["Delta_f"])
    if not _overlap(w_F, w_R, delta_f) >= min(FEWEST_EFFECTIVE, w_F.size / 4, w_R.size / 4):
        return no_estimate(_NO_OVERLAP)
    # <w / Z>_q and <Z / w>_p are at most one, and by Markov's inequality a mean exceeds a
    # thousand once in a thousand times at most, correlated or not, however heavy its tail
    z = c - delta_f
    excess = max(_log_mean(log_w_flow).value - z, _log_mean(-thinned).value + z)
    if excess > CONTRADICTION:
        return no_estimate(
            f"flow and target samples contradict each other: a mean that is 1 is e^{excess:.3g}"
        )
    error = _bar_error(w_F, w_R, delta_f, _inefficiency_after_thinning(inefficiency))
    # at poor overlap the error above is too low and pymbar's MBAR form too high: take the larger;
    # for a perfect flow the MBAR form is the root of a rounding error (nan), which fmax ignores
    return Estimate(c - delta_f, float(np.fmax(error, result["dDelta_f"])))


def _log_fermi(w_F: np.ndarray, w_R: np.ndarray, delta_f: float) -> tuple[np.ndarray, np.ndarray]:
    """The log f_F and log f_R, whose sums BAR makes equal."""
    # with M = log(n_F / n_R): f_F = 1 / (1 + exp(M + w_F - delta_f)), f_R likewise with -M, +
    M = np.log(w_F.size / w_R.size)
    return -np.logaddexp(0.0, M + w_F - delta_f), -np.logaddexp(0.0, -M + w_R + delta_f)


def _overlap(w_F: np.ndarray, w_R: np.ndarray, delta_f: float) -> float:
    """Samples in the overlap, the smaller sum of f: n_F n_R / (n_F + n_R) for a perfect flow."""
    return float(min(np.exp(log_f).sum() for log_f in _log_fermi(w_F, w_R, delta_f)))


def _bar_error(w_F: np.ndarray, w_R: np.ndarray, delta_f: float, inefficiency: float) -> float:
    """Standard error of BAR; a statistical inefficiency enlarges its reverse part."""
    log_f_F, log_f_R = _log_fermi(w_F, w_R, delta_f)
    # BAR solves log sum f_F - log sum f_R = 0. By Crooks' relation the derivative of the left side
    # is 1 on average for any M, so var(delta_f) = var(log <f_F>) + var(log <f_R>)
    # and var(log <f>) is that of log_z
    forward, reverse = _log_mean(log_f_F).error, _log_mean(log_f_R).error
    return float(np.hypot(forward, sqrt(inefficiency) * reverse))


def _inefficiency_after_thinning(inefficiency: float) -> float:
    """Statistical inefficiency of a series of which every ceil(g)-th sample is kept."""
    # for correlations rho^t: g = 1 + 2 sum_t rho^t = (1 + rho) / (1 - rho)
    rho = (inefficiency - 1.0) / (inefficiency + 1.0)
    # thinned to every s-th: the same with rho^s; 1.0 for g = 1, 1.3 for large g
    rho_s = rho ** np.ceil(inefficiency)
    return float((1.0 + rho_s) / (1.0 - rho_s))


def _bound_work(work: np.ndarray) -> np.ndarray:
    """Cut work at 500 kT above the smallest.

    Such a sample enters BAR with exp(-500) of the best one's share, below the last digit, but
    pymbar's exponentials underflow from 745 kT on.
    """
    return np.minimum(work, work.min() + 500.0)


def _mean(values: np.ndarray, inefficiency: float) -> Estimate:
    """Mean and standard error of a correlated series; no estimate if single samples decide."""
    n = values.size
    if n <= inefficiency:
        correlated = f"{n} samples, correlated as if they were one"
        return no_estimate(correlated if n > 1 else "one sample")
    # var(mean) = sigma^2 g / n, and the sample variance has mean sigma^2 (1 - g / n)
    # so var(mean) = s^2 g / (n - g)
    mean = Estimate(
        float(values.mean()), float(values.std() * sqrt(inefficiency / (n - inefficiency)))
    )
    if mean.error > LARGEST_ERROR:
        return no_estimate(f"{mean.format('')} nats, made by single samples")
    return mean


def _checked_target(log_w_target: np.ndarray) -> np.ndarray:
    """log_w at target samples: +inf (unreachable for the flow) is allowed, -inf is impossible."""
    return -checked_log_w(-np.asarray(log_w_target, dtype=np.float64))
