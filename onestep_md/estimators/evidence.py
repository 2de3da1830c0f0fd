"""Evidence of a weighted ensemble: log Z four ways, its diagnostics, and what they warn about.

For flow samples x ~ q and target samples x ~ p = p~ / Z, with log w = log p~ - log q in both:
    ELBO = <log w>_q  <=  log Z = log <w>_q  <=  EUBO = <log w>_p,
and BAR joins both sets (Bennett 1976; Shirts et al. 2003). Called at the end of a run, once for
every number of steps K.
"""

from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np

from onestep_md.estimators.correlation import decorrelated, import_pymbar, statistical_inefficiency
from onestep_md.estimators.estimate import Estimate, agreement
from onestep_md.estimators.weights import (
    checked_log_w,
    clipped_ess,
    ess,
    ess_error,
    khat,
    khat_limit,
    relative_weights,
)

ROUND_TRIP_LIMIT = 1e-3  # largest round-trip error of a map that counts as inverted
LOG_DET_LIMIT = 1e-6  # largest disagreement of two double-precision log-determinants
ENOUGH_SAMPLES = 10_000  # below it the ESS hangs on weights that were not drawn yet
ENOUGH_EFFECTIVE = 100  # effective samples; below it not even the error bars are known
DISAGREEMENT = 3.0  # combined standard errors between two estimates of one number


def log_z(log_w: np.ndarray) -> Estimate:
    """Returns log Z = log <w> from flow samples; -inf if every weight is zero."""
    relative = relative_weights(log_w)
    mean = relative.mean()
    if mean == 0.0:
        return Estimate(float("-inf"), float("nan"))
    # log Z = max + log <w / w_max>
    value = float(np.max(log_w) + np.log(mean))
    # var(log <w>) = var(w) / (n <w>^2) = 1/(n r) - 1/n with the Kish fraction r = <w>^2 / <w^2>;
    # written with the deviations it cannot go negative by rounding
    return Estimate(value, float(relative.std() / mean / sqrt(relative.size)))


def elbo(log_w: np.ndarray) -> Estimate:
    """Returns <log w> over flow samples; -inf, without an error, if any sample weighs zero."""
    log_w = checked_log_w(log_w)
    if np.isneginf(log_w).any():
        return Estimate(float("-inf"), float("nan"))
    return _mean(log_w, 1.0)


def eubo(log_w_target: np.ndarray, inefficiency: float = 1.0) -> Estimate:
    """Returns <log w> over target samples; +inf if the flow cannot reach one of them (q = 0).

    Args:
        log_w_target: (m,) log p~ - log q at samples of the target.
        inefficiency: their statistical inefficiency, 1 for independent samples.
    """
    log_w_target = _checked_target(log_w_target)
    if np.isposinf(log_w_target).any():
        return Estimate(float("inf"), float("nan"))
    return _mean(log_w_target, inefficiency)


def bar(
    log_w_flow: np.ndarray,
    log_w_target: np.ndarray,
    inefficiency: float = 1.0,
    walkers: np.ndarray | None = None,
) -> Estimate:
    """Returns log Z from flow and target samples together, by Bennett's acceptance ratio.

    Args:
        log_w_flow: (n,) log p~ - log q at flow samples; -inf is infinite forward work.
        log_w_target: (m,) the same at samples of the target, in time order within a walker;
            +inf is infinite reverse work.
        inefficiency: statistical inefficiency of the target samples; they are thinned by it.
        walkers: (m,) walker of every target sample; one walker if not given.
    """
    log_w_target = _checked_target(log_w_target)
    thinned = log_w_target[decorrelated(log_w_target.size, inefficiency, walkers)]
    # state 0 is the flow (reduced potential -log q, free energy 0), state 1 the target (u, -log Z)
    # w_F = u_1 - u_0 at samples of 0 = -log p~ + log q = -log w
    w_F = -checked_log_w(log_w_flow)
    # w_R = u_0 - u_1 at samples of 1 = +log w
    w_R = thinned
    if not (np.isfinite(w_F).any() and np.isfinite(w_R).any()):
        return Estimate(float("nan"), float("inf"))
    # delta_f = f_1 - f_0 = -log Z. Adding c to w_F and taking it from w_R adds c to delta_f. It is
    # moved to about 1000, because pymbar stops at a RELATIVE change and takes 0.0 for converged
    c = 1000.0 + log_z(log_w_flow).value
    w_F, w_R = _bounded(w_F) + c, _bounded(w_R) - c
    pymbar = import_pymbar()
    try:
        with np.errstate(all="ignore"):
            result = pymbar.bar(w_F, w_R, method="bisection", uncertainty_method="MBAR")
    except (pymbar.utils.ConvergenceError, pymbar.utils.BoundsError):
        return Estimate(float("nan"), float("inf"))
    delta_f = float(result["Delta_f"])
    error = _bar_error(w_F, w_R, delta_f, _left_after_thinning(inefficiency))
    # at poor overlap the error above is too low and pymbar's MBAR form too high: take the larger;
    # for a perfect flow the MBAR form is the root of a rounding error (nan), which fmax ignores
    return Estimate(c - delta_f, float(np.fmax(error, result["dDelta_f"])))


def _bar_error(w_F: np.ndarray, w_R: np.ndarray, delta_f: float, inefficiency: float) -> float:
    """Standard error of BAR, its reverse part enlarged by a statistical inefficiency."""
    # with M = log(n_F / n_R): f_F = 1 / (1 + exp(M + w_F - delta_f)), f_R likewise with -M, +
    M = np.log(w_F.size / w_R.size)
    log_f_F = -np.logaddexp(0.0, M + w_F - delta_f)
    log_f_R = -np.logaddexp(0.0, -M + w_R + delta_f)
    # BAR solves log sum f_F - log sum f_R = 0. By Crooks' relation the derivative of the left side
    # is 1 on average for any M, so var(delta_f) = var(log <f_F>) + var(log <f_R>)
    # and var(log <f>) is that of log_z
    return float(np.hypot(log_z(log_f_F).error, sqrt(inefficiency) * log_z(log_f_R).error))


def _left_after_thinning(inefficiency: float) -> float:
    """Statistical inefficiency that is left after keeping every ceil(g)-th sample."""
    # for correlations rho^t: g = 1 + 2 sum_t rho^t = (1 + rho) / (1 - rho)
    rho = (inefficiency - 1.0) / (inefficiency + 1.0)
    # thinned to every s-th: the same with rho^s; 1.0 for g = 1, 1.3 for large g
    rho_s = rho ** np.ceil(inefficiency)
    return float((1.0 + rho_s) / (1.0 - rho_s))


def _bounded(work: np.ndarray) -> np.ndarray:
    """Work with values more than 500 kT above the smallest cut there, +inf included.

    Such a sample enters BAR with exp(-500) of the best one's share, below the last digit, but
    pymbar's exponentials underflow from 745 kT on.
    """
    return np.minimum(work, work.min() + 500.0)


def _mean(values: np.ndarray, inefficiency: float) -> Estimate:
    """Mean and standard error of a correlated series."""
    # var(mean) = sigma^2 g / n, and the sample variance has mean sigma^2 (1 - g / n)
    # so var(mean) = s^2 g / (n - g)
    n = values.size
    error = values.std() * sqrt(inefficiency / (n - inefficiency)) if n > inefficiency else np.inf
    return Estimate(float(values.mean()), float(error))


def _checked_target(log_w_target: np.ndarray) -> np.ndarray:
    """log_w at target samples: +inf (unreachable for the flow) is allowed, -inf is impossible."""
    return -checked_log_w(-np.asarray(log_w_target, dtype=np.float64))


@dataclass(frozen=True)
class Evidence:
    """What one number of steps K is worth; fractions, natural logs, log Z of exp(-u)."""

    steps: int
    n: int
    ess: float
    ess_error: float
    ess_clipped: float
    khat: float
    log_z: Estimate
    elbo: Estimate
    eubo: Estimate | None  # None without target samples
    bar: Estimate | None
    negative_determinants: int
    checked: int  # samples whose determinant sign was looked at
    log_det_error: float | None  # largest |dense log-determinant - the one in the weight|
    round_trip: float | None  # largest error of inverting the map; None if not measured
    infinite: int  # samples of zero weight (infinite energy)
    seconds_per_1000: float
    auxiliaries: int  # draws of auxiliary coordinates that a weight is made of
    ess_joint: Estimate | None  # with the first draw alone; None if there is no other

    def warnings(self) -> list[str]:
        """Returns one sentence per failed diagnostic, each naming the number that it spoils."""
        return [f"K = {self.steps}: {text}" for text in (*_weights(self), *_map(self))]

    def as_dict(self) -> dict:
        """Returns plain dicts, lists and numbers: estimates as {value, error}."""
        return {**asdict(self), "warnings": self.warnings()}


def _weights(e: Evidence) -> list[str]:
    """Warnings about the weights and the estimates made from them."""
    found = []
    if e.n < ENOUGH_SAMPLES:
        found.append(f"only {e.n} samples, fewer than {ENOUGH_SAMPLES}: ESS itself is uncertain")
    if e.ess * e.n < ENOUGH_EFFECTIVE:
        found.append(
            f"only {e.ess * e.n:.0f} effective samples: the error bars of log Z and of the "
            "reweighted averages are themselves unreliable; draw more samples or train longer"
        )
    if np.isnan(e.khat):
        found.append("k-hat could not be computed, so nothing vouches for the weights and log Z")
    elif e.khat > khat_limit(e.n):
        found.append(
            f"k-hat = {e.khat:.2f} is above {khat_limit(e.n):.2f}: weights unreliable: the flow "
            "misses part of the target; train longer"
        )
    if e.infinite:
        found.append(
            f"{e.infinite} of {e.n} samples have infinite energy: ELBO is -inf; the weights and "
            "log Z stay exact, these samples weigh nothing"
        )
    if e.bar is not None and abs(agreement(e.log_z, e.bar)) > DISAGREEMENT:
        found.append(
            f"log Z from the flow ({e.log_z.format('')}) and from BAR ({e.bar.format('')}) "
            "disagree: the flow misses part of the target, the map folds, or the "
            "exploration is too short"
        )
    if e.eubo is not None and agreement(e.log_z, e.eubo) > DISAGREEMENT:
        found.append(
            f"EUBO ({e.eubo.format('')}) lies below log Z ({e.log_z.format('')}), which cannot "
            "be: the map folds, or the exploration misses part of the target"
        )
    return found


def _map(e: Evidence) -> list[str]:
    """Warnings about the map behind the weights: they are exact only where it is injective."""
    found = []
    if e.negative_determinants:
        found.append(
            f"{e.negative_determinants} of {e.checked} samples have a negative determinant: the "
            "map folds there, and log Z, ESS and weights count the folded part more than once"
        )
    if e.round_trip is not None and not e.round_trip <= ROUND_TRIP_LIMIT:
        found.append(
            f"inverting the map misses by up to {e.round_trip:.1e}, limit {ROUND_TRIP_LIMIT:.0e}: "
            "EUBO, BAR and the exactness of the weights are in doubt"
        )
    if e.log_det_error is not None and not e.log_det_error <= LOG_DET_LIMIT:
        found.append(
            f"the log-determinant in the weights is off by up to {e.log_det_error:.1e} from that "
            f"of the dense Jacobian, limit {LOG_DET_LIMIT:.0e}: log Z and the weights are wrong"
        )
    if e.steps > 0 and (e.checked == 0 or e.round_trip is None):
        found.append("not checked for folds: the weights are exact only if the map is injective")
    return found


def evaluate_evidence(
    steps: int,
    log_w: np.ndarray,
    log_w_target: np.ndarray | None = None,
    target_walkers: np.ndarray | None = None,
    target_inefficiency: float | None = None,
    negative_determinants: int = 0,
    checked: int = 0,
    log_det_error: float | None = None,
    round_trip: float | None = None,
    seconds: float = float("nan"),
    log_w_joint: np.ndarray | None = None,
    auxiliaries: int = 1,
) -> Evidence:
    """Computes every number of `Evidence` for one K.

    Args:
        steps: K, 0 for the base alone.
        log_w: (n,) log weights of the flow samples.
        log_w_target: (m,) log p~ - log q at target samples, in time order within a walker.
        target_walkers: (m,) walker of every target sample; one walker if not given.
        target_inefficiency: measured from log_w_target if not given.
        negative_determinants: samples with a negative determinant, of `checked`.
        checked: samples whose determinant sign was looked at.
        log_det_error: largest difference of the weight's log-determinant from a dense one.
        round_trip: largest error of inverting the map.
        seconds: time spent on drawing the n samples with their weights.
        log_w_joint: (n,) log weights of the samples by their first auxiliary draw alone.
        auxiliaries: how many draws log_w and log_w_target are made of.
    """
    log_w = checked_log_w(log_w)
    upper = both = joint = None
    if auxiliaries > 1:
        log_w_joint = checked_log_w(log_w_joint)
        joint = Estimate(ess(log_w_joint), ess_error(log_w_joint))
    if log_w_target is not None:
        g = target_inefficiency or statistical_inefficiency(log_w_target, target_walkers)
        upper = eubo(log_w_target, g)
        both = bar(log_w, log_w_target, g, target_walkers)
    return Evidence(
        steps=steps,
        n=log_w.size,
        ess=ess(log_w),
        ess_error=ess_error(log_w),
        ess_clipped=clipped_ess(log_w),
        khat=khat(log_w),
        log_z=log_z(log_w),
        elbo=elbo(log_w),
        eubo=upper,
        bar=both,
        negative_determinants=int(negative_determinants),
        checked=int(checked),
        log_det_error=None if log_det_error is None else float(log_det_error),
        round_trip=None if round_trip is None else float(round_trip),
        infinite=int(np.isneginf(log_w).sum()),
        seconds_per_1000=float(seconds / log_w.size * 1000.0),
        auxiliaries=auxiliaries,
        ess_joint=joint,
    )
