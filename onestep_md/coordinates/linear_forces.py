"""Mean and precision from forces, where samples are too few to estimate a covariance.

The covariance of d coordinates takes many times d samples. But the forces of a Gaussian are
exactly linear, grad u = A (x - m), and more than d samples determine A and m without any noise.
"""

import numpy as np

ROWS = 10  # samples per dimension that a covariance takes
_FEWEST_ROWS = 2  # samples per dimension that a linear force takes, as some may be copies
_LINEAR = 0.9  # fraction of the variance of forces that is linear in a nearly Gaussian density
_FLATTEST = 1e-8  # of the eigenvalues of A, relative to the largest


def fit_linear_forces(x: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit mean (dim,) and precision A (dim, dim) by regressing gradients on x, both (n, dim).

    For samples of exp(-u), A estimates the inverse of their covariance, whatever u is:
    <grad u (x - m)^T> is the identity, by partial integration.

    Returns:
        none where x has enough rows for a covariance, or too few for a fit, or where the forces
        are not linear in x or not attractive.
    """
    n, dim = x.shape
    if not _FEWEST_ROWS * dim <= n < ROWS * dim:
        return None
    x_mean, gradient_mean = x.mean(axis=0), gradient.mean(axis=0)
    centred, rest = x - x_mean, gradient - gradient_mean
    variance = (rest * rest).sum() / (n - 1)
    try:
        slope = np.linalg.solve(centred.T @ centred, centred.T @ rest)
    except np.linalg.LinAlgError:  # x does not span all dimensions
        return None
    rest = rest - centred @ slope
    if not (rest * rest).sum() / (n - 1 - dim) < (1.0 - _LINEAR) * variance:
        return None
    precision = 0.5 * (slope + slope.T)
    values = np.linalg.eigvalsh(precision)
    if values[0] < _FLATTEST * values[-1]:
        return None
    return x_mean - np.linalg.solve(precision, gradient_mean), precision
