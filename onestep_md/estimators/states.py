r"""Free energies of several states from one set of samples of known density.

For samples x ~ q and states with energies u_k, log w_k = -u_k(x) - log q(x), and

    log Z_k = log <w_k>_q,    cov(log Z_j, log Z_k) = cov(w_j, w_k) / (n Z_j Z_k),

so that two states that weigh the samples alike have a difference of small error. Where there are
samples of one of the states besides, MBAR joins them with those of q (Shirts and Chodera, J. Chem.
Phys. 129, 124105 (2008)); the other states are then its states without samples.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from onestep_md.estimators import limits
from onestep_md.estimators.bounds import log_z
from onestep_md.estimators.correlation import import_pymbar, thin
from onestep_md.estimators.estimate import UNKNOWN, Estimate, no_estimate
from onestep_md.estimators.weights import ess, ess_error, harmless, khat, normalised_weights

Method = Literal["reweighting", "MBAR", "bridge"]
_CEILING = 700.0  # kT above the lowest; a larger energy weighs nothing, and pymbar overflows


@dataclass(frozen=True)
class Reweighted:
    """What the samples of a flow say of one state.

    Attributes:
        log_z: of exp(-u), by the mean weight.
        n: samples.
        ess, ess_error: their effective sample size as a fraction, and its error.
        khat: tail index of the weights.
        harmless: no weight is large enough for it to matter.
        missing: samples that have no energy, or no weight.
    """

    log_z: Estimate
    n: int
    ess: float
    ess_error: float
    khat: float
    harmless: bool
    missing: int

    @property
    def reliable(self) -> bool:
        """Whether the error of log Z can be believed."""
        return not self.doubt

    @property
    def doubt(self) -> str:
        """Why the error of log Z cannot be believed; empty if it can."""
        effective = self.ess * self.n
        if effective < limits.ENOUGH_EFFECTIVE:
            return f"the samples are worth {effective:.1f} in this state"
        if self.ess < limits.RELIABLE_ESS:
            return f"an ESS of {100 * self.ess:.1f} % is too low for an error bar"
        if limits.khat_fails(self.khat, self.n, self.harmless):
            return f"k-hat {self.khat:.2f} of the weights is too high"
        return ""

    @property
    def ess_error_known(self) -> bool:
        """Whether the weights have the fourth moment that the error of their ESS needs."""
        return self.khat <= limits.ESS_KHAT_LIMIT

    @property
    def bias(self) -> float:
        """Bias of log Z, log <w> being concave: -var(log <w>) / 2, to the first order."""
        return -0.5 * self.log_z.error**2


def reweight(log_w: np.ndarray) -> Reweighted:
    """Estimate log Z of one state from log weights (n,), -inf where there is none."""
    found = log_z(log_w)
    return Reweighted(
        log_z=found,
        n=log_w.size,
        ess=ess(log_w),
        ess_error=ess_error(log_w),
        khat=khat(log_w),
        harmless=harmless(log_w, found.error),
        missing=int(np.isneginf(log_w).sum()),
    )


def log_z_covariance(log_w: np.ndarray) -> np.ndarray:
    """Covariance (k, k) of log Z of k states from log weights (k, n) of the same samples.

    Zero for a state in which no sample has any weight.
    """
    n = log_w.shape[1]
    relative = np.stack(
        [n * normalised_weights(row) if np.isfinite(row).any() else np.ones(n) for row in log_w]
    )
    deviations = relative - 1.0
    return deviations @ deviations.T / n**2


def mbar(
    log_q: np.ndarray,
    u: np.ndarray,
    log_q_frames: np.ndarray,
    u_frames: np.ndarray,
    inefficiency: float,
    walkers: np.ndarray | None,
) -> list[Estimate]:
    """Log Z of k states from samples of q and frames of the first state together, by MBAR.

    Args:
        log_q: (n,) log density of the flow at its samples.
        u: (k, n) energies of the states there.
        log_q_frames: (m,) log density of the flow at the frames.
        u_frames: (k, m) energies of the states there.
        inefficiency: statistical inefficiency of the frames, which are thinned by it.
        walkers: (m,) walker of every frame, in time order; None is one walker.
    """
    kept = thin(log_q_frames.size, inefficiency, walkers)
    kept = kept[np.isfinite(log_q_frames[kept])]
    inside = np.isfinite(log_q)
    if kept.size < limits.FEWEST_EFFECTIVE or not inside.any():
        return [no_estimate(f"{kept.size} independent frames") for _ in u]
    counts = np.array([inside.sum(), kept.size, *[0] * (len(u) - 1)])
    rows = np.vstack(
        [
            -np.concatenate([log_q[inside], log_q_frames[kept]]),
            np.concatenate([u[:, inside], u_frames[:, kept]], axis=1),
        ]
    )
    lowest = rows.min(axis=1, keepdims=True)
    # pymbar stops at a relative change: every row starts near zero
    rows = np.minimum(rows - lowest, _CEILING)
    pymbar = import_pymbar()
    try:
        with np.errstate(all="ignore"):
            found = pymbar.MBAR(rows, counts).compute_free_energy_differences()
    except (pymbar.utils.ParameterError, pymbar.utils.ConvergenceError, np.linalg.LinAlgError):
        return [no_estimate("MBAR did not converge") for _ in u]
    # f_q = 0 and f_k = -log Z_k, each from its own lowest energy
    delta_f, errors = found["Delta_f"][0, 1:], found["dDelta_f"][0, 1:]
    shift = lowest[1:, 0] - lowest[0, 0]
    return [
        Estimate(float(-f - s), float(error)) if np.isfinite(error) else UNKNOWN
        for f, s, error in zip(delta_f, shift, errors, strict=True)
    ]


def bridge_trouble(acceptance: float, log_z: Estimate, founders: float) -> str:
    """Say why a bridge does not hold; nothing if it does.

    Args:
        acceptance: of its moves, the lowest of all temperatures.
        log_z: with the error from the spread over its islands.
        founders: effective number of the start's particles that have descendants.
    """
    if acceptance < limits.LOW_ACCEPTANCE:
        return f"its moves are accepted {100 * acceptance:.0f} % at one temperature"
    if not log_z.error <= limits.LARGEST_BRIDGE_ERROR:
        return f"its islands disagree, log Z is {log_z.format('')}"
    if founders < limits.FEWEST_FOUNDERS:
        return f"its particles descend from {founders:.0f} of the start"
    return ""
