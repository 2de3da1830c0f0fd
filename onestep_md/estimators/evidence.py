"""Evidence of a weighted ensemble at one number of steps K, and what it warns about.

The numbers are those of `bounds` and `weights`, the thresholds those of `limits`. Called at the
end of a run, once for every K.
"""

from dataclasses import asdict, dataclass, fields

import numpy as np

from onestep_md.estimators import limits
from onestep_md.estimators.bounds import (
    above_all,
    bar,
    elbo,
    eubo,
    expected_above,
    forward_ess,
    log_z,
)
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import Estimate, percent_text, z_score
from onestep_md.estimators.weights import (
    checked_log_w,
    clipped_ess,
    ess,
    ess_error,
    ess_sets,
    harmless,
    heaviest,
    khat,
)


@dataclass(frozen=True)
class Evidence:
    """What one number of steps K is worth; fractions, natural logs, log Z of exp(-u)."""

    steps: int
    n: int
    ess: float
    ess_error: float
    ess_sets: tuple[float, ...]  # of every full set of 10,000 samples, if there are several
    ess_clipped: float
    khat: float
    heaviest: float  # share of the largest weight in the sum of all
    harmless: bool  # too small for k-hat to matter, see `weights.harmless`
    forward_ess: Estimate | None  # the ESS as target samples see it; None without them
    held_out: int  # target samples that EUBO, BAR and the forward ESS are made of
    unusable: int  # others, whose weight is not a number
    above: int  # of the target samples, those that weigh more than every sample of the flow
    above_limit: float  # how many of them a flow that misses nothing may have
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

    @property
    def ess_error_known(self) -> bool:
        """Whether the weights have the fourth moment that the error of their ESS needs."""
        return self.khat <= limits.ESS_KHAT_LIMIT

    def warnings(self) -> list[str]:
        """Returns one sentence per failed diagnostic, each naming the number that it spoils."""
        found = (*_weights(self), *_missing(self), *_target(self), *_map(self))
        return [f"K = {self.steps}: {text}" for text in found]

    def as_dict(self) -> dict:
        """Returns plain dicts, lists and numbers: estimates as {value, error, reason, text}."""
        values = asdict(self)
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if isinstance(value, Estimate):
                values[name] = value.as_dict()
        known = {"ess_error_known": self.ess_error_known}
        return values | known | {"warnings": self.warnings()}


def _weights(e: Evidence) -> list[str]:
    """Warnings about the weights of the flow's samples."""
    found, limit = [], limits.khat_limit(e.n)
    if e.n < limits.ENOUGH_SAMPLES:
        found.append(
            f"only {e.n} samples, fewer than {limits.ENOUGH_SAMPLES}: ESS itself is uncertain"
        )
    if e.ess * e.n < limits.ENOUGH_EFFECTIVE:
        found.append(
            f"only {e.ess * e.n:.0f} effective samples: the error bars of log Z and of the "
            "reweighted averages are themselves unreliable; draw more samples or train longer"
        )
    if not e.harmless and np.isnan(e.khat):
        found.append("k-hat could not be computed, so nothing vouches for the weights and log Z")
    elif limits.khat_fails(e.khat, e.n, e.harmless):
        found.append(
            f"k-hat = {e.khat:.2f} is above {limit:.2f}: weights unreliable: the flow "
            "misses part of the target; train longer"
        )
    if 0 < e.infinite < e.n:
        found.append(
            f"{e.infinite} of {e.n} samples have infinite energy: ELBO is -inf; the weights and "
            "log Z stay exact, these samples weigh nothing"
        )
    return found


def _missing(e: Evidence) -> list[str]:
    """What cannot be told, or is infinite, and why."""
    found = []
    for name, value in (
        ("log Z", e.log_z),
        ("ELBO", e.elbo),
        ("EUBO", e.eubo),
        ("BAR", e.bar),
        ("forward ESS", e.forward_ess),
    ):
        if value is None or not value.reason or (name == "ELBO" and e.infinite):
            continue
        if np.isnan(value.value):
            found.append(f"no estimate of {name}: {value.reason}")
        else:
            found.append(f"{name} is {value.value:g}: {value.reason}")
    if e.unusable:
        found.append(
            f"{e.unusable} of {e.unusable + e.held_out} target samples have a weight that is not "
            "a number and are left out of EUBO, BAR and the forward ESS: their energy is not "
            "finite, or the map cannot be inverted there"
        )
    return found


def _target(e: Evidence) -> list[str]:
    """Warnings where the flow's samples and those of the target disagree."""
    found = []
    ours = Estimate(e.ess, e.ess_error)
    theirs = e.forward_ess
    score = 0.0 if theirs is None else z_score(ours, theirs)
    if theirs and limits.ess_differs(e.ess, theirs.value, score, e.ess_error_known):
        texts = [percent_text(value) for value in (ours, theirs)]
        cause = (
            "the flow hardly visits part of the target, and its own samples cannot tell; train "
            "longer"
            if score > 0
            else "heavy samples of the flow lie where the target samples have hardly been; "
            "explore longer"
        )
        found.append(
            f"the ESS of the flow's samples ({texts[0]}) and that seen from the target, the "
            f"forward ESS ({texts[1]}), disagree: {cause}"
        )
    if e.above > e.above_limit:
        found.append(
            f"{e.above} of {e.held_out} target samples have weights above that of every sample of "
            "the flow: it hardly visits the place where they are, and its weights, log Z and ESS "
            "do not know of it"
        )
    if e.bar is not None and abs(z_score(e.log_z, e.bar)) > limits.DISAGREEMENT:
        found.append(
            f"log Z from the flow ({e.log_z.format('')}) and from BAR ({e.bar.format('')}) "
            "disagree: the flow misses part of the target, the map folds, or the "
            "exploration is too short"
        )
    if e.eubo is not None and z_score(e.log_z, e.eubo) > limits.DISAGREEMENT:
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
    if e.round_trip is not None and not e.round_trip <= limits.ROUND_TRIP_LIMIT:
        found.append(
            f"inverting the map misses by up to {e.round_trip:.1e}, limit "
            f"{limits.ROUND_TRIP_LIMIT:.0e}: EUBO, BAR and the exactness of the weights are in "
            "doubt"
        )
    if e.log_det_error is not None and not e.log_det_error <= limits.LOG_DET_LIMIT:
        found.append(
            f"the log-determinant in the weights is off by up to {e.log_det_error:.1e} from that "
            f"of the dense Jacobian, limit {limits.LOG_DET_LIMIT:.0e}: log Z and the weights "
            "are wrong"
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
    z, joint = log_z(log_w), None
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
        heaviest=heaviest(log_w),
        harmless=harmless(log_w, z.error),
        **_beside_target(log_w, z, log_w_target, target_walkers, target_inefficiency),
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


def _beside_target(
    log_w: np.ndarray,
    z: Estimate,
    log_w_target: np.ndarray | None,
    walkers: np.ndarray | None,
    inefficiency: float | None,
) -> dict:
    """What target samples tell of a flow; those without a proper weight are counted and left out.

    A sample of the target has a finite energy, so that log w = -inf is as wrong as nan.
    """
    usable = np.zeros(0, bool) if log_w_target is None else np.asarray(log_w_target) > -np.inf
    counts = {"held_out": int(usable.sum()), "unusable": int((~usable).sum())}
    if not usable.any():
        nothing = {"eubo": None, "bar": None, "forward_ess": None}
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
        "above": above_all(log_w, log_w_target),
        "above_limit": expected + limits.DISAGREEMENT * np.sqrt(g * max(expected, 1.0)),
    }
