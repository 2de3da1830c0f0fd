r"""Averages along temperature from the energies of a replica exchange, by MBAR.

Frames of the temperatures T_i are samples of exp(-b_i u), b_i = T_0 / T_i, so that energies alone
say what the ensemble is at any temperature in between (Shirts and Chodera, J. Chem. Phys. 129,
124105 (2008)). No flow is in these numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onestep_md.estimators.correlation import import_pymbar, statistical_inefficiency, thin
from onestep_md.estimators.estimate import Estimate

if TYPE_CHECKING:
    import pymbar


@dataclass(frozen=True)
class LadderAverages:
    """What the frames of all temperatures say of one temperature.

    Attributes:
        temperature: temperature in K.
        delta_log_z: log Z less that at the reference temperature.
        energy: <U>.
        heat_capacity: (<U^2> - <U>^2) / kT^2, energy per kelvin.
    """

    temperature: float
    delta_log_z: Estimate
    energy: Estimate
    heat_capacity: Estimate


def average_ladder(
    u: np.ndarray, ladder: np.ndarray, reference: float, wanted: Sequence[float], k: float
) -> list[LadderAverages]:
    """Estimate averages at the wanted temperatures that lie within the ladder.

    Args:
        u: (n, replicas) energies in kT of the lowest temperature, in time order; nan for none.
        ladder: (replicas,) rising temperatures, K.
        reference: temperature whose log Z is subtracted, K; within the ladder.
        wanted: temperatures, K.
        k: Boltzmann's constant, in the units of energies per kelvin.
    """
    inside = [t for t in wanted if ladder[0] <= t <= ladder[-1]]
    if not inside:
        return []
    kept = [_thin_energies(column) for column in u.T]
    energies = k * ladder[0] * np.concatenate(kept)
    shift = energies.mean()
    b = 1.0 / (k * np.array([*ladder, reference, *inside]))
    counts = np.array([len(column) for column in kept] + [0] * (1 + len(inside)))
    rows = b[:, None] * (energies - shift)
    mbar = import_pymbar().MBAR(rows, counts)
    free, zero = mbar.compute_free_energy_differences(), len(ladder)
    averages = []
    for state, temperature in enumerate(inside, start=zero + 1):
        mean = _average(mbar, energies - shift, rows[state])
        # about the mean, whose error then does not count to the first order
        square = _average(mbar, (energies - shift - mean.value) ** 2, rows[state])
        kT2 = k * temperature**2
        difference = -free["Delta_f"][zero, state] + (b[zero] - b[state]) * shift
        averages.append(
            LadderAverages(
                temperature=temperature,
                delta_log_z=Estimate(float(difference), float(free["dDelta_f"][zero, state])),
                energy=Estimate(mean.value + shift, mean.error),
                heat_capacity=Estimate(square.value / kT2, square.error / kT2),
            )
        )
    return averages


def _average(mbar: "pymbar.MBAR", values: np.ndarray, u: np.ndarray) -> Estimate:
    """Estimate the average of values (n,) in the state of energies u (n,)."""
    result = mbar.compute_expectations(values, u_kn=u)
    return Estimate(float(result["mu"][0]), float(result["sigma"][0]))


def _thin_energies(column: np.ndarray) -> np.ndarray:
    """Keep independent energies of one temperature."""
    known = column[np.isfinite(column)]
    return known[thin(len(known), statistical_inefficiency(known))]
