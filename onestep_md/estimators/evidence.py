"""Evidence of a weighted ensemble at one number of steps K, and its warnings.

`bounds` and `weights` have the numbers, `limits` the thresholds.
"""

from dataclasses import dataclass

import numpy as np

from onestep_md.estimators import limits
from onestep_md.estimators.bounds import (
    bar,
    count_above,
    elbo,
    eubo,
    expected_above,
    forward_ess,
    log_z,
)
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import UNKNOWN, Estimate, disagree, percent_text, z_score
from onestep_md.estimators.weights import (
    checked_log_w,
    clipped_ess,
    ess,
    ess_error,
    ess_sets,
    harmless,
    khat,
    largest_weight,
)


@dataclass(frozen=True)
class Evidence:
    """Numbers of one K: ESS as fractions, natural logarithms, log Z of exp(-u)."""

    steps: int
    n: int
    ess: float
    ess_error: float
    ess_sets: tuple[float, ...]  # ESS of every full set of 10,000 samples, if there are several
    ess_clipped: float
    khat: float
    heaviest: float  # largest weight, as a fraction of the sum of all
    harmless: bool  # no weight is large enough for k-hat to matter, see `weights.harmless`
    forward_ess: Estimate  # ESS by target samples; UNKNOWN without them
    held_out: int  # target samples behind EUBO, BAR and the forward ESS
    unusable: int  # target samples whose weight is not a number
    above: int  # target samples that weigh more than every sample of the flow
    above_limit: float  # largest such number for a flow that misses nothing
    log_z: Estimate
    elbo: Estimate
    eubo: Estimate  # UNKNOWN without target samples
    bar: Estimate
    negative_determinants: int
    checked: int  # samples whose sign of the determinant was computed
    log_det_error: float | None  # largest |dense log-determinant - that of the weight|
    round_trip: float | None  # largest error of inverting the map; None if not measured
    infinite: int  # samples of zero weight (infinite energy)
    seconds_per_1000: float
    auxiliaries: int  # draws of auxiliary coordinates behind a weight
    ess_joint: Estimate  # ESS with the first draw alone; UNKNOWN if there is no other

    @property
    def ess_error_known(self) -> bool:
        """Whether the weights have the fourth moment that the error of their ESS needs."""
        return self.khat <= limits.ESS_KHAT_LIMIT

    @property
    def reverse_ess(self) -> Estimate:
        """The ESS of the flow's samples with its error."""
        return Estimate(self.ess, self.ess_error)

    @property
    def ess_differs(self) -> bool:
        """Whether that ESS and the forward ESS contradict each other."""
        score = z_score(self.reverse_ess, self.forward_ess)
        return limits.ess_differs(self.ess, self.forward_ess.value, score, self.ess_error_known)

    @property
    def khat_limit(self) -> float:
        """k-hat above which n weights are not to be trusted (arXiv 1507.02646)."""
        return limits.khat_limit(self.n)

    @property
    def khat_fails(self) -> bool:
        """Whether the tail of the weights is heavy, or of unknown weight, and matters."""
        return limits.khat_fails(self.khat, self.n, self.harmless)

    @property
    def folds(self) -> bool:
        """Whether more of the checked samples are folded than weights can bear."""
        return self.negative_determinants > limits.FOLDED_LIMIT * max(self.checked, 1)

    @property
    def inverse_fails(self) -> bool:
        """Whether inverting the map missed by too much; a miss that is no number is one."""
        return self.round_trip is not None and not self.round_trip <= limits.ROUND_TRIP_LIMIT

    @property
    def log_det_fails(self) -> bool:
        """Whether the log-determinant in the weights is wrong."""
        return self.log_det_error is not None and not self.log_det_error <= limits.LOG_DET_LIMIT

    def warnings(self) -> list[str]:
        """Return one sentence per failed diagnostic, which names the number that it spoils."""
        texts = (
            *_warn_of_weights(self),
            *_warn_of_missing(self),
            *_warn_of_target(self),
            *_warn_of_map(self),
        )
        return [f"K = {self.steps}: {text}" for text in texts]


def _warn_of_weights(e: Evidence) -> list[str]:
    """Warnings about the weights of the flow's samples."""
    texts = []
    if e.n < limits.ENOUGH_SAMPLES:
        texts.append(
            f"only {e.n} samples, fewer than {limits.ENOUGH_SAMPLES}: ESS itself is uncertain"
        )
    if e.ess * e.n < limits.ENOUGH_EFFECTIVE:
        texts.append(
            f"only {e.ess * e.n:.0f} effective samples: the error bars of log Z and of the "
            "reweighted averages are themselves unreliable; draw more samples or train longer"
        )
    if not e.harmless and np.isnan(e.khat):
        texts.append("k-hat could not be computed, so nothing vouches for the weights and log Z")
    elif e.khat_fails:
        texts.append(
            f"k-hat = {e.khat:.2f} is above {e.khat_limit:.2f}: weights unreliable: the flow "
            "misses part of the target; train longer"
        )
    if 0 < e.infinite < e.n:
        texts.append(
            f"{e.infinite} of {e.n} samples have infinite energy: ELBO is -inf; the weights and "
            "log Z stay exact, these samples weigh nothing"
        )
    return texts


def _warn_of_missing(e: Evidence) -> list[str]:
    """Warnings about numbers that have no estimate or are infinite, with the reason."""
    texts = []
    for name, value in (
        ("log Z", e.log_z),
        ("ELBO", e.elbo),
        ("EUBO", e.eubo),
        ("BAR", e.bar),
        ("forward ESS", e.forward_ess),
    ):
        if not value.reason or (name == "ELBO" and e.infinite):
            continue
        if np.isnan(value.value):
            texts.append(f"no estimate of {name}: {value.reason}")
        else:
            texts.append(f"{name} is {value.value:g}: {value.reason}")
    if e.unusable:
        texts.append(
            f"{e.unusable} of {e.unusable + e.held_out} target samples have a weight that is not "
            "a number and are left out of EUBO, BAR and the forward ESS: their energy is not "
            "finite, or the map cannot be inverted there"
        )
    return texts


def _warn_of_target(e: Evidence) -> list[str]:
    """Warnings where the flow's samples and those of the target disagree."""
    texts = []
    if e.ess_differs:
        percents = [percent_text(value) for value in (e.reverse_ess, e.forward_ess)]
        cause = (
            "the flow hardly visits part of the target, and its own samples cannot tell; train "
            "longer"
            if e.ess > e.forward_ess.value
            else "heavy samples of the flow lie where the target samples have hardly been; "
            "explore longer"
        )
        texts.append(
            f"the ESS of the flow's samples ({percents[0]}) and that seen from the target, the "
            f"forward ESS ({percents[1]}), disagree: {cause}"
        )
    if e.above > e.above_limit:
        texts.append(
            f"{e.above} of {e.held_out} target samples have weights above that of every sample of "
            "the flow: it hardly visits the place where they are, and its weights, log Z and ESS "
            "do not know of it"
        )
    if disagree(e.log_z, e.bar):
        texts.append(
            f"log Z from the flow ({e.log_z.format('')}) and from BAR ({e.bar.format('')}) "
            "disagree: the flow misses part of the target, the map folds, or the "
            "exploration is too short"
        )
    if z_score(e.log_z, e.eubo) > limits.DISAGREEMENT:
        texts.append(
            f"EUBO ({e.eubo.format('')}) lies below log Z ({e.log_z.format('')}), which cannot "
            "be: the map folds, or the exploration misses part of the target"
        )
    return texts


def _warn_of_map(e: Evidence) -> list[str]:
    """Warnings about the map: the weights are exact only where it is injective."""
    texts = []
    if e.negative_determinants:
        texts.append(
            f"{e.negative_determinants} of {e.checked} samples have a negative determinant: the "
            "map folds there, and log Z, ESS and weights count the folded part more than once"
        )
    if e.inverse_fails:
        texts.append(
            f"inverting the map misses by up to {e.round_trip:.1e}, limit "
            f"{limits.ROUND_TRIP_LIMIT:.0e}: EUBO, BAR and the exactness of the weights are in "
            "doubt"
        )
    if e.log_det_fails:
        texts.append(
            f"the log-determinant in the weights is off by up to {e.log_det_error:.1e} from that "
            f"of the dense Jacobian, limit {limits.LOG_DET_LIMIT:.0e}: log Z and the weights "
            "are wrong"
        )
    if e.steps > 0 and (e.checked == 0 or e.round_trip is None):
        texts.append("not checked for folds: the weights are exact only if the map is injective")
    return texts


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
    """Compute the evidence of one K.

    Args:
        steps: K; 0 for the base alone.
        log_w: (n,) log weights of the flow samples.
        log_w_target: (m,) log p~ - log q at target samples, in time order within a walker.
        target_walkers: (m,) walker of every target sample; None is one walker.
        target_inefficiency: statistical inefficiency; None measures it from log_w_target.
        negative_determinants: number of samples with a negative determinant, of `checked`.
        checked: number of samples whose sign of the determinant was computed.
        log_det_error: largest difference of the weight's log-determinant from the dense one.
        round_trip: largest error of inverting the map.
        seconds: time to draw the n samples with their weights.
        log_w_joint: (n,) log weights of the samples by the first auxiliary draw alone.
        auxiliaries: number of draws behind log_w and log_w_target.
    """
    log_w = checked_log_w(log_w)
    z, joint = log_z(log_w), UNKNOWN
    if auxiliaries > 1:
        assert log_w_joint is not None
        log_w_joint = checked_log_w(log_w_joint)
        joint = Estimate(ess(log_w_joint), ess_error(log_w_joint))
    return Evidence(
        steps=steps,
        n=log_w.size,
        ess=ess(log_w),
        ess_error=ess_error(log_w),
        ess_sets=ess_sets(log_w),
        ess_clipped=clipped_ess(log_w),
        khat=khat(log_w),
        heaviest=largest_weight(log_w),
        harmless=harmless(log_w, z.error),
        **_compare_with_target(log_w, z, log_w_target, target_walkers, target_inefficiency),
        log_z=z,
        elbo=elbo(log_w),
        negative_determinants=int(negative_determinants),
        checked=int(checked),
        log_det_error=None if log_det_error is None else float(log_det_error),
        round_trip=None if round_trip is None else float(round_trip),
        infinite=int(np.isneginf(log_w).sum()),
        seconds_per_1000=float(seconds / log_w.size * 1000.0),
        auxiliaries=auxiliaries,
        ess_joint=joint,
    )


def _compare_with_target(
    log_w: np.ndarray,
    z: Estimate,
    log_w_target: np.ndarray | None,
    walkers: np.ndarray | None,
    inefficiency: float | None,
) -> dict:
    """Numbers that need target samples; those without a proper weight are counted and left out.

    A target sample has a finite energy, so log w = -inf is as wrong as nan.
    """
    usable = np.zeros(0, bool) if log_w_target is None else np.asarray(log_w_target) > -np.inf
    counts = {"held_out": int(usable.sum()), "unusable": int((~usable).sum())}
    if not usable.any():
        nothing = {"eubo": UNKNOWN, "bar": UNKNOWN, "forward_ess": UNKNOWN}
        return counts | nothing | {"above": 0, "above_limit": 0.0}
    log_w_target = np.asarray(log_w_target)[usable]
    walkers = None if walkers is None else np.asarray(walkers)[usable]
    g = inefficiency or statistical_inefficiency(log_w_target, walkers)
    both = bar(log_w, log_w_target, g, walkers)
    known = z if np.isfinite(z.value) else both
    # frames come in runs of g, and a run or three are chance
    expected = expected_above(log_w, log_w_target.size)
    return counts | {
        "eubo": eubo(log_w_target, g),
        "bar": both,
        "forward_ess": forward_ess(known, log_w_target, g),
        "above": count_above(log_w, log_w_target),
        "above_limit": expected + limits.DISAGREEMENT * np.sqrt(g * max(expected, 1.0)),
    }
