"""A Gaussian fitted to a density of many dimensions by its forces, to anneal from.

Pilot passes from wide Gaussians have a long way to go in hundreds of dimensions, and their
population is too small to estimate the covariance that its moves need. But such densities are
often nearly Gaussian: fields, regressions, posteriors of much data. The fit takes the mode, the
curvature there, and then a few steps to the Gaussian nearest to the density. Forces that are not
linear reveal a funnel, and minima from other starts reveal several modes.
"""

import numpy as np
from scipy.optimize import minimize

from onestep_md.coordinates.linear_forces import fit_linear_forces
from onestep_md.exploration.base_density import Checked, Gaussian

_NEAR = 1e-5  # distance of the mode, in units of x, in which forces are linear
_STARTS, _FAR = 4, 4.0  # minimisations from N(0, _FAR^2), which have to end in the same mode
_ROUNDS = 6
_DAMPING = 0.7  # undamped rounds may oscillate


def fit_gaussian(
    target: Checked, dim: int, particles: int, generator: np.random.Generator
) -> Gaussian | None:
    """Fit the Gaussian N(m, S) nearest to exp(-u) in the sense of KL(N || exp(-u)).

    At the minimum <grad u> = 0 and S^-1 = <Hessian u> over N (Opper and Archambeau, Neural Comput.
    21, 786 (2009)); a linear fit to the forces at samples of N estimates both averages.

    Returns:
        none if there are several modes or no mode, or if forces are not linear enough over the
        width.
    """

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        u, grad_u = target.evaluate(x[None])
        return u[0], grad_u[0]

    starts = _FAR * generator.standard_normal((_STARTS, dim))
    modes = [
        minimize(energy, start, jac=True, method="L-BFGS-B").x
        for start in (0.0 * starts[0], *starts)
    ]
    x = modes[0] + _NEAR * generator.standard_normal((particles, dim))
    fitted = _fit_at(target, x)
    if fitted is None or max(_distance(mode, *fitted) for mode in modes) > 1.0:
        return None
    for _ in range(_ROUNDS):
        mean, precision = fitted
        x = Gaussian(mean, np.linalg.inv(precision)).sample(particles, generator)
        new = _fit_at(target, x)
        if new is None:
            return None
        fitted = mean + _DAMPING * (new[0] - mean), precision + _DAMPING * (new[1] - precision)
    mean, precision = fitted
    return Gaussian(mean, np.linalg.inv(precision))


def _distance(x: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> float:
    """Compute the distance of x from the mean, in widths of the Gaussian."""
    return float(np.sqrt((x - mean) @ precision @ (x - mean)))


def _fit_at(target: Checked, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit mean and precision to the forces at x, all of which must have an energy."""
    u, grad_u = target.evaluate(x)
    return fit_linear_forces(x, grad_u) if np.isfinite(u).all() else None
