r"""Free energy, energy, entropy and heat capacity of a molecule along temperature.

With the configuration integral Z(T) = int exp(-U(x) / kT) dx, over positions in nm without rigid
motion,

    f(T) = -log Z(T),    F = kT f,    U(T) = <U>,    TS = U - F,    C_v = (<U^2> - <U>^2) / kT^2,

and for a region A of population p_A the same averages inside of it, F_A = F - kT log p_A, as
Z_A = p_A Z. Samples x ~ q of a flow have the weights w = exp(-U / kT) / q at every temperature
(reweighting along temperature: Ferrenberg and Swendsen, Phys. Rev. Lett. 61, 2635 (1988)).

Momenta are left out: d degrees of freedom add d kT / 2 to U, d k / 2 to C_v, and to F a function
of T and of the masses alone. The volume and the turns of rigid motion, and the unit of length,
add a constant to f. So F and TS are known up to a multiple of T; U, C_v, and what distinguishes
regions at one temperature, do not depend on any of it. The energy of an implicit solvent, which is
a free energy, counts as U at fixed parameters, and the entropy of that solvent is in U.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onestep_md.estimators import limits
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.estimators.free_energy import (
    resampled_block_sums,
    resampled_sums,
    spread,
    weigh_region,
)
from onestep_md.estimators.states import reweight
from onestep_md.estimators.weights import khat, relative_weights

MOLECULE = "molecule"  # name of all configurations together
REPLICATES = 200
_HEAT_CAPACITY = 3  # column of the quantities that has no zero to choose


@dataclass(frozen=True)
class Thermodynamics:
    """Quantities of all configurations, or of those in a region, at one temperature.

    Units are those of the energies, for the heat capacity per kelvin.
    """

    name: str
    free_energy: Estimate  # F
    energy: Estimate  # U
    entropy: Estimate  # TS
    heat_capacity: Estimate  # C_v
    effective: float  # effective samples


@dataclass(frozen=True)
class Ensemble:
    """Quantities at one temperature with their bootstrap replicates, the molecule first.

    Attributes:
        names: of the molecule and its regions.
        values: (1 + regions, 4) F, U, TS, C_v.
        replicates: (replicates, 1 + regions, 4) of them.
        effective: (1 + regions,) effective samples.
        reasons: why each has no estimate of anything; empty where it has one.
        capacity_reasons: why there is none of C_v alone.
    """

    names: tuple[str, ...]
    values: np.ndarray
    replicates: np.ndarray
    effective: np.ndarray
    reasons: tuple[str, ...]
    capacity_reasons: tuple[str, ...]

    def absolute(self) -> list[Thermodynamics]:
        """Return the quantities as they are defined above."""
        zero, zeros = np.zeros_like(self.values), np.zeros_like(self.replicates)
        return self._estimates(zero, zeros, self._joined_reasons())

    def relative(self, own: "Ensemble") -> list[Thermodynamics]:
        """Return differences of F, U and TS, and C_v as it is.

        The molecule is compared with that of `own`, the ensemble of another temperature, and every
        region with the molecule at its own temperature.
        """
        zero = np.repeat(self.values[:1], len(self.names), axis=0)
        zeros = np.repeat(self.replicates[:, :1], len(self.names), axis=1)
        zero[0], zeros[:, 0] = own.values[0], own.replicates[:, 0]
        zero[:, _HEAT_CAPACITY], zeros[..., _HEAT_CAPACITY] = 0.0, 0.0
        molecule, *regions = self._joined_reasons()
        return self._estimates(zero, zeros, (molecule or own.reasons[0], *regions))

    def between_regions(self, name: str) -> list[Thermodynamics]:
        """Return differences of F, U and TS of the regions to one of them, and C_v as it is.

        Log Z is in none of them, so that a region may have what the molecule has not.
        """
        first = self.names.index(name)
        zero = np.repeat(self.values[first : first + 1], len(self.names), axis=0)
        zeros = np.repeat(self.replicates[:, first : first + 1], len(self.names), axis=1)
        zero[:, _HEAT_CAPACITY], zeros[..., _HEAT_CAPACITY] = 0.0, 0.0
        reasons = [self.reasons[first] or reason for reason in self.reasons]
        return self._estimates(zero, zeros, reasons)[1:]

    def energy_of(self, name: str) -> Estimate:
        """Return <U> of a region."""
        zero, zeros = np.zeros_like(self.values), np.zeros_like(self.replicates)
        return self._estimates(zero, zeros, self.reasons)[self.names.index(name)].energy

    def _joined_reasons(self) -> tuple[str, ...]:
        """Reasons why nothing is known of the molecule, or of a region."""
        return tuple(self.reasons[0] or reason for reason in self.reasons)

    def _estimates(
        self, zero: np.ndarray, zeros: np.ndarray, reasons: Sequence[str]
    ) -> list[Thermodynamics]:
        def estimate(i: int, quantity: int) -> Estimate:
            capacity = self.capacity_reasons[i] if quantity == _HEAT_CAPACITY else ""
            if reasons[i] or capacity:
                return no_estimate(reasons[i] or capacity)
            value = self.values[i, quantity] - zero[i, quantity]
            replicates = self.replicates[:, i, quantity] - zeros[:, i, quantity]
            return Estimate(float(value), spread(replicates))

        return [
            Thermodynamics(
                name=name,
                free_energy=estimate(i, 0),
                energy=estimate(i, 1),
                entropy=estimate(i, 2),
                heat_capacity=estimate(i, _HEAT_CAPACITY),
                effective=float(self.effective[i]),
            )
            for i, name in enumerate(self.names)
        ]


def reweighted_ensemble(
    log_q: np.ndarray,
    potential: np.ndarray,
    temperature: float,
    k: float,
    regions: Sequence[str],
    inside: np.ndarray,
    seed: int,
    replicates: int = REPLICATES,
) -> Ensemble:
    """Reweight independent samples of known density to a temperature.

    The same seed at two temperatures draws the same replicates, so that differences between them
    have the error that they deserve.

    Args:
        log_q: (n,) log density of the samples; not finite for one without.
        potential: (n,) U; +inf where there is none.
        temperature: in K.
        k: Boltzmann's constant, in the units of U per kelvin.
        regions: their names.
        inside: bool (n, regions), whether a sample lies in a region.
        seed: of the bootstrap.
        replicates: number of bootstrap replicates.
    """
    log_w = np.full(len(log_q), -np.inf)
    there = np.isfinite(potential) & np.isfinite(log_q)
    log_w[there] = -potential[there] / (k * temperature) - log_q[there]
    columns, offset = _columns(relative_weights(log_w), potential, inside)
    sums = columns.sum(axis=0)
    drawn = resampled_sums(columns, np.random.default_rng(seed), replicates)
    found = reweight(log_w)
    effective, reasons = [found.ess * found.n], [found.doubt]
    for mask in inside.T:
        worth, tail, harmless = weigh_region(log_w[mask])
        effective.append(worth)
        reasons.append(_doubt_region(worth, tail, int(mask.sum()), harmless))
    values = _quantities(sums, _log_z(sums, log_w), temperature, k, offset)
    groups = [np.ones(len(log_w), dtype=bool), *inside.T]
    capacity_reasons = [
        _doubt_capacity(log_w[mask], potential[mask] - mean)
        for mask, mean in zip(groups, values[:, 1], strict=True)
    ]
    return Ensemble(
        names=(MOLECULE, *regions),
        values=values,
        replicates=_quantities(drawn, _log_z(drawn, log_w), temperature, k, offset),
        effective=np.array(effective),
        reasons=tuple(reasons),
        capacity_reasons=tuple(capacity_reasons),
    )


def particle_ensemble(
    log_z: Estimate,
    potential: np.ndarray,
    walkers: np.ndarray,
    temperature: float,
    k: float,
    regions: Sequence[str],
    inside: np.ndarray,
    seed: int,
    replicates: int = REPLICATES,
) -> Ensemble:
    """Average over correlated configurations of equal weight, made at the temperature.

    Args:
        log_z: at the temperature; its error counts as independent of the averages.
        potential: (n,) U.
        walkers: (n,) which trajectory or island each is from, in its order.
        temperature, k, regions, inside, seed, replicates: as of `reweighted_ensemble`.
    """
    generator = np.random.default_rng(seed)
    columns, offset = _columns(np.ones(len(potential)), potential, inside)
    g = max(statistical_inefficiency(series, walkers) for series in (potential, *inside.T))
    drawn, widen = resampled_block_sums(columns, g, walkers, generator, replicates)
    same = np.full(replicates, log_z.value)
    values = _quantities(columns.sum(axis=0), same[0], temperature, k, offset)
    with np.errstate(invalid="ignore"):
        averages = values + widen * (_quantities(drawn, same, temperature, k, offset) - values)
    noise = k * temperature * log_z.error * generator.standard_normal((replicates, 1))
    averages[..., 0] -= noise
    averages[..., 2] += noise  # TS = U - F
    effective = np.array([len(potential), *inside.sum(axis=0)]) / g
    fewest = [limits.ENOUGH_EFFECTIVE] + [limits.ENOUGH_IN_REGION] * len(regions)
    reasons = [
        f"{worth:.1f} effective particles" if worth < least else ""
        for worth, least in zip(effective, fewest, strict=True)
    ]
    return Ensemble(
        names=(MOLECULE, *regions),
        values=values,
        replicates=averages,
        effective=effective,
        reasons=tuple(reasons),
        capacity_reasons=("",) * len(reasons),
    )


def _columns(w: np.ndarray, potential: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """w, w (U - c) and w (U - c)^2 of the molecule and of every region, side by side, and c.

    The offset c is the mean of U, near which the variance loses no digits.
    """
    u = np.where(w > 0.0, potential, 0.0)
    offset = float(w @ u / max(w.sum(), 1.0))
    u = np.where(w > 0.0, u - offset, 0.0)
    moments = np.stack([w, w * u, w * u**2], axis=1)
    groups = np.column_stack([np.ones(len(w)), inside])
    return (groups[:, :, None] * moments[:, None, :]).reshape(len(w), -1), offset


def _log_z(sums: np.ndarray, log_w: np.ndarray) -> np.ndarray:
    """Log of the mean weight, from sums (..., 3 groups) of weights relative to the largest."""
    with np.errstate(divide="ignore"):
        return log_w.max() + np.log(sums[..., 0] / log_w.size)


def _quantities(
    sums: np.ndarray, log_z: np.ndarray, temperature: float, k: float, offset: float
) -> np.ndarray:
    """F, U, TS and C_v, (..., groups, 4), from sums (..., 3 groups) of `_columns`, and log Z."""
    kT = k * temperature
    weight, first, second = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # regions without samples
        mean = first / weight
        free_energy = -kT * (log_z[..., None] + np.log(weight / weight[..., :1]))
        heat_capacity = (second / weight - mean**2) / (kT * temperature)
    energy = mean + offset
    return np.stack([free_energy, energy, energy - free_energy, heat_capacity], axis=-1)


def _doubt_region(effective: float, tail: float, n: int, harmless: bool) -> str:
    """Why the weights of n samples in a region tell nothing of it; empty if they do."""
    if effective < limits.ENOUGH_IN_REGION:
        return f"{effective:.1f} effective samples"
    if limits.khat_fails(tail, n, harmless):
        return f"k-hat {tail:.2f} of the weights is too high"
    return ""


def _doubt_capacity(log_w: np.ndarray, deviations: np.ndarray) -> str:
    """Why weighted samples tell nothing of C_v, from U - <U>; empty if they do.

    Its average runs over w (U - <U>)^2, whose tail is heavier than that of w, and needs a k-hat of
    its own (arXiv 1507.02646).
    """
    there = np.isfinite(log_w) & (deviations != 0.0)
    log_squares = np.full(len(log_w), -np.inf)
    log_squares[there] = log_w[there] + 2.0 * np.log(np.abs(deviations[there]))
    if not there.any():
        return "no sample has any weight"
    tail = khat(log_squares)
    if limits.khat_fails(tail, len(log_w), harmless=False):
        return f"k-hat {tail:.2f} of w (U - <U>)^2 is too high"
    return ""
