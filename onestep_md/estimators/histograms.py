"""Histograms of distances between atoms and of energies, with their errors."""

from collections.abc import Mapping

import numpy as np

from onestep_md.estimators.weights import normalised_weights

_BINS = 80
_EDGE = 1e-3  # fraction of the reference beyond either quantile
_MARGIN = 0.2  # shown beyond either quantile, in units of their distance


def histograms(
    kind: str,
    ensembles: Mapping[str, tuple[np.ndarray, np.ndarray]],
    reference: np.ndarray,
    positive: bool,
) -> dict[str, np.ndarray]:
    """Histograms of one quantity in several ensembles, as arrays to save.

    Args:
        kind: name of the quantity in the names of the arrays.
        ensembles: by name, values (n, k) of n samples and their log weights (n,).
        reference: values of any shape; their quantiles set the range.
        positive: whether the quantity cannot be negative.

    Returns:
        `<kind>_edges` (bins + 1,) and for every name `<kind>_<name>` (2, bins): densities, errors.
    """
    low, high = np.quantile(reference, (_EDGE, 1.0 - _EDGE))
    margin = _MARGIN * (high - low)
    low = max(0.0, low - margin) if positive else low - margin
    edges = np.linspace(low, high + margin, _BINS + 1)
    arrays = {f"{kind}_edges": edges}
    for name, (values, log_w) in ensembles.items():
        arrays[f"{kind}_{name}"] = np.stack(histogram(values, log_w, edges))
    return arrays


def pair_distances(positions: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
    """Distances (n, k) of `pairs` (k, 2), or of all pairs, at positions (n, atoms, D)."""
    i, j = np.triu_indices(positions.shape[1], 1) if pairs is None else pairs.T
    return np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)


def histogram(
    values: np.ndarray, log_w: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Density and its standard error in every bin, of weighted samples with several values each.

    Args:
        values: (n, k); the k of one sample are not independent.
        log_w: (n,) log weights.
        edges: (bins + 1,) of equal width.
    """
    n, bins = len(values), len(edges) - 1
    width = edges[1] - edges[0]
    index = np.floor((values - edges[0]) / width)
    inside = (index >= 0) & (index < bins)
    flat = (np.arange(n)[:, None] * bins + np.where(inside, index, 0).astype(int))[inside]
    each = np.bincount(flat, minlength=n * bins).reshape(n, bins) / (values.shape[1] * width)
    w = normalised_weights(log_w)
    density = w @ each
    return density, np.sqrt(np.square(w) @ np.square(each - density))
