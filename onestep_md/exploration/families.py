"""Errors of annealing by its families: particles of one founder are relatives."""

import numpy as np


def family_error(founder: np.ndarray, wells: np.ndarray) -> float:
    """Estimate the relative error of Z where families decide between wells.

    With the fractions f of the founders' families and n particles, sqrt(sum f^2 - 1/n) is the
    genealogical estimate of Lee and Whiteley, Biometrika 105, 609 (2018), which supposes that
    relatives stay equal. Their wells do, as far as moves do not cross; the fraction r of pairs of
    relatives that are in one well because they are relatives multiplies the variance.

    Args:
        founder: (n,) number of the particle of the start that each descends from.
        wells: (n, torsions) number of the well that each torsion is in; the torsion that is
            crossed least counts.
    """
    n = len(founder)
    fraction = np.bincount(founder) / n
    genealogical = max(0.0, (fraction**2).sum() - 1.0 / n)
    kept = max((_retention(founder, column) for column in wells.T), default=0.0)
    return float(np.sqrt(kept * genealogical))


def _retention(founder: np.ndarray, well: np.ndarray) -> float:
    """Estimate (P(two relatives in one well) - P(any two)) / (1 - P(any two)), at least 0."""
    sizes = np.bincount(founder).astype(float)
    pairs = (sizes * (sizes - 1.0)).sum()
    alike = (np.bincount(well) / len(well)) ** 2
    if pairs == 0.0 or alike.sum() > 1.0 - 1e-3:
        return 0.0
    _, both = np.unique(founder * (well.max() + 1) + well, return_counts=True)
    together = (both * (both - 1.0)).sum() / pairs
    return max(0.0, (together - alike.sum()) / (1.0 - alike.sum()))
