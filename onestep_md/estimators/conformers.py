r"""Conformers as tuples of wells: their numbers and their entropy.

Conformer i of population p_i has the free energy -log p_i in kT above that of the molecule. The
entropy of the molecule is that of the choice between its conformers, and their own,

    S = S_c + sum_i p_i S_i,    S_c = -k sum_i p_i log p_i.
"""

import numpy as np

from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.estimators.free_energy import spread
from onestep_md.estimators.limits import ENOUGH_EFFECTIVE
from onestep_md.estimators.weights import ess, normalised_weights


def number_conformers(wells: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the different rows of wells by falling population.

    Args:
        wells: (n, torsions) wells of samples.
        weights: (n,) their weights, of sum one.

    Returns:
        The different rows (conformers, torsions), and the conformer of every sample (n,).
    """
    rows, number = np.unique(wells, axis=0, return_inverse=True)
    number = number.reshape(-1)
    order = np.argsort(-np.bincount(number, weights, len(rows)), kind="stable")
    place = np.empty(len(rows), dtype=int)
    place[order] = np.arange(len(rows))
    return rows[order], place[number]


def find_row(rows: np.ndarray, wells: np.ndarray) -> np.ndarray:
    """Find the places (n,) of wells (n, torsions) among rows; -1 for those not there."""
    places = {tuple(row): place for place, row in enumerate(rows.tolist())}
    return np.array([places.get(tuple(row), -1) for row in wells.tolist()])


def conformational_entropy(
    conformer: np.ndarray, log_w: np.ndarray, generator: np.random.Generator, replicates: int = 200
) -> Estimate:
    """Estimate S_c / k from independent weighted samples, with its bootstrap error.

    The entropy of frequencies is too low, by (conformers - 1) / 2n for n equal weights; the
    bootstrap repeats that on what was drawn, and its mean difference is added.

    Args:
        conformer: (n,) conformer of every sample, from 0.
        log_w: (n,) log weights, of which one is finite.
        generator: draws the bootstrap replicates.
        replicates: number of bootstrap replicates.
    """
    effective = ess(log_w) * len(log_w)
    if effective < ENOUGH_EFFECTIVE:
        return no_estimate(f"{effective:.1f} effective samples")
    w, n = normalised_weights(log_w), len(log_w)
    found = _entropy(np.bincount(conformer, w))
    drawn = np.empty(replicates)
    for k in range(replicates):
        counts = np.bincount(generator.integers(n, size=n), minlength=n)
        drawn[k] = _entropy(np.bincount(conformer, counts * w))
    return Estimate(max(0.0, 2.0 * found - float(drawn.mean())), spread(drawn))


def _entropy(population: np.ndarray) -> float:
    p = population[population > 0.0] / population.sum()
    return float(-(p * np.log(p)).sum())
