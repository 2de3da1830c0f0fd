"""A Gaussian fitted to a density of many dimensions by its forces, to anneal from.

Pilot passes from wide Gaussians, as `annealing` makes them, have a long way to go in hundreds of
dimensions, and a population that is no larger than these cannot tell the covariance that their
moves need. But such densities are often nearly Gaussian: fields, regressions, posteriors of much
data. So: the mode, the curvature there, and then a few steps to the Gaussian nearest to the
density. A funnel shows in forces that are not linear, several modes in minima from other starts.
"""

import numpy as np
from scipy.optimize import minimize

from onestep_md.coordinates.linear_forces import fit_linear_forces
from onestep_md.exploration.smc import Checked, Gaussian

_NEAR = 1e-5  # of the mode, in units of x: forces are linear there
_STARTS, _FAR = 4, 4.0  # minimisations from N(0, _FAR^2), which have to find the same mode
_ROUNDS = 6
_DAMPING = 0.7  # of these rounds: undamped ones may oscillate


def fit_gaussian(
    target: Checked, dim: int, particles: int, generator: np.random.Generator
) -> Gaussian | None:
    """The Gaussian N(m, S) nearest to exp(-u) in the sense of KL(N || exp(-u)).

    At the minimum <grad u> = 0 and S^-1 = <Hessian u> over N (Opper and Archambeau, Neural Comput.
    21, 786 (2009)), and both averages are what a linear fit to the forces at samples of N finds.

    Returns:
        None if there are several modes or none, or if forces are not linear enough over the width.
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
    """In widths of a Gaussian."""
    return float(np.sqrt((x - mean) @ precision @ (x - mean)))


def _fit_at(target: Checked, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    u, grad_u = target.evaluate(x)
    return fit_linear_forces(x, grad_u) if np.isfinite(u).all() else None
