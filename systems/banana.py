"""The example of a user's own density: a bent Gaussian in the plane (Rosenbrock's "banana").

log p(x, y) = -x^2 / 2 - 10 (y - x^2)^2

Given x, y is Gaussian with variance 1/20, so Z = sqrt(2 pi) sqrt(2 pi / 20) = 2 pi / sqrt(20)
and log Z = log(2 pi) - log(20) / 2 = 0.340011.
"""

from torch import Tensor


def log_density(xy: Tensor) -> Tensor:
    """Unnormalised log density: (batch, 2) float64 to (batch,)."""
    x, y = xy[:, 0], xy[:, 1]
    return -0.5 * x**2 - 10.0 * (y - x**2) ** 2
