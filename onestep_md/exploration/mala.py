"""Metropolis-adjusted Langevin moves of a whole population, from energies and gradients alone.

One move proposes y ~ N(x - h^2/2 C grad u(x), h^2 C) and accepts it with the Metropolis-Hastings
probability (Roberts and Tweedie, Bernoulli 2, 341 (1996)), so exp(-u) stays invariant whatever
the step h and the preconditioner C = L L^T are, as long as neither depends on x.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from onestep_md.coordinates.linear_forces import ROWS, fit_linear_forces

BEST_STEP = 1.65  # times dim^(-1/6), see `optimal_step`
TARGET_ACCEPTANCE = 0.6  # the optimum, 0.574 in many dimensions, is flat
# One step for all is too long in a funnel's neck and too short in its mouth: every fourth move
# tries the one or the other. On the 10-D funnel this takes two thirds off the error of log Z.
STEP_CYCLE = (1.0, 1.0, 1.0, 0.25, 1.0, 1.0, 1.0, 4.0)


class EnergyFunction(Protocol):
    """Energies and gradients, as all evaluators compute them."""

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute reduced energies in kT (n,) and gradients (n, dim) at x (n, dim).

        Rows outside the support, or that overflow, have u = +inf and a zero gradient.
        """


Tempering = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def mala(
    target: EnergyFunction,
    x: np.ndarray,
    u: np.ndarray,
    grad_u: np.ndarray,
    covariance: np.ndarray,
    step: float,
    moves: int,
    generator: np.random.Generator,
    tempering: Tempering | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Move every sample on its own; nothing adapts in here, so that exp(-u) stays invariant.

    Args:
        target: evaluated once per move, on all samples.
        x: (n, dim), each of finite energy.
        u: (n,) energies of x in kT.
        grad_u: (n, dim) gradients of x.
        covariance: the preconditioner C, (dim, dim).
        step: h, in units of the widths that C describes; see `optimal_step` and `adapt_step`.
            Every fourth move takes a quarter of it, or four times as much.
        moves: number of moves.
        generator: for proposals and acceptance.
        tempering: maps (x, u, grad_u) to the energy and gradient that the moves sample instead of
            u itself; u and grad_u are still returned untempered.

    Returns:
        the moved x, u, grad_u (new arrays), and the accepted fraction of the moves with step h
        (nan without moves).
    """
    x, u, grad_u = x.copy(), u.copy(), grad_u.copy()
    tempering = tempering or (lambda x, u, grad_u: (u, grad_u))
    factor = np.linalg.cholesky(covariance)
    energy, gradient = tempering(x, u, grad_u)
    drift = gradient @ factor  # rows L^T g
    acceptance = []
    for h in (step * STEP_CYCLE[k % len(STEP_CYCLE)] for k in range(moves)):
        noise = generator.standard_normal(x.shape)
        with np.errstate(over="ignore", invalid="ignore"):  # wild proposals are rejected below
            y = x + (h * noise - 0.5 * h**2 * drift) @ factor.T
            wild = ~np.isfinite(y.sum(axis=1))
            y[wild] = x[wild]  # staying is a rejection
            u_y, grad_u_y = target.evaluate(y)
            energy_y, gradient_y = tempering(y, u_y, grad_u_y)
            drift_y = gradient_y @ factor
            # the way back, z' = L^-1 (x - y + h^2/2 C g(y)) / h = s - z, s = h/2 L^T (g(x) + g(y))
            # log [p(y) q(x|y) / (p(x) q(y|x))] = u(x) - u(y) + (|z|^2 - |z'|^2) / 2
            #                                   = u(x) - u(y) + s.z - |s|^2 / 2
            s = 0.5 * h * (drift + drift_y)
            log_ratio = energy - energy_y + np.einsum("ij,ij->i", s, noise - 0.5 * s)
        # standard_exponential is -log(uniform); nan compares false, so it is a rejection too
        accept = log_ratio > -generator.standard_exponential(len(x))
        pairs = ((x, y), (u, u_y), (grad_u, grad_u_y), (energy, energy_y), (drift, drift_y))
        for old, new in pairs:
            old[accept] = new[accept]
        if h == step:
            acceptance.append(accept.mean())
    return x, u, grad_u, float(np.mean(acceptance)) if acceptance else float("nan")


def optimal_step(dim: int) -> float:
    """Compute the best step for a Gaussian whose covariance is the preconditioner.

    The exponent and the acceptance of 0.574 are from Roberts and Rosenthal, J. R. Stat. Soc. B 60,
    255 (1998).
    """
    return BEST_STEP * dim ** (-1.0 / 6.0)


def adapt_step(step: float, acceptance: float) -> float:
    """Adapt the step for the next call of `mala` towards an acceptance of 0.6."""
    return step * float(np.exp(1.5 * (acceptance - TARGET_ACCEPTANCE)))


def estimate_preconditioner(x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Estimate the preconditioner as the harmonic mean (dim, dim) of cov(x) and cov(gradient)^-1.

    For a Gaussian both are its covariance. With several modes cov(x) contains their distances,
    which are far too long for moves, but <g g^T> = <Hessian u> is from the width of one mode.
    Inside hard walls it is the other way round: there the gradient may vanish. Both estimates take
    many samples; with fewer a fit of linear forces is better, if they are linear.
    """
    inverse = np.linalg.inv
    fitted = fit_linear_forces(x, gradient)
    if fitted:
        return inverse(fitted[1])
    return 2.0 * inverse(inverse(estimate_covariance(x)) + estimate_covariance(gradient))


def estimate_covariance(x: np.ndarray) -> np.ndarray:
    """Estimate the covariance (dim, dim) of x (n, dim); its diagonal where x has few rows."""
    n, dim = x.shape
    variance = x.var(axis=0) + np.finfo(x.dtype).tiny
    diagonal = np.diag(variance)
    if n < ROWS * dim:
        return diagonal
    return diagonal + (1.0 - dim / n) * (np.cov(x.T).reshape(dim, dim) - diagonal)
