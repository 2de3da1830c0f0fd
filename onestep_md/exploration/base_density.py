"""Densities that a pass starts from, and the check of the energies that it is led by."""

from typing import Protocol

import numpy as np

from onestep_md.errors import TargetError
from onestep_md.exploration import mala

Population = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (n, dim), u (n,), grad_u (n, dim)


class Base(Protocol):
    """A normalised density to start from, as the energy u_0 = -log p_0.

    Attributes:
        width: (dim,) widths of the coordinates; samples far beyond them have run away.
    """

    width: np.ndarray

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Draw (n, dim)."""

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute u_0 (n,) and its gradient (n, dim)."""


class Checked:
    """Counts the evaluations of a target and refuses energies that mean nothing.

    Where there is an energy and no gradient, the gradient is taken for zero: any guess is valid
    there, because the energy decides about the move.
    """

    def __init__(self, target: mala.EnergyFunction):
        self.target, self.count = target, 0

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the target, with a gradient everywhere.

        Raises:
            TargetError: an energy is nan or -inf.
        """
        u, grad_u = self.target.evaluate(x)
        self.count += len(x)
        good = (u == np.inf) | np.isfinite(u)
        if not good.all():
            i = int(np.argmin(good))
            raise TargetError(
                f"at x = {np.array2string(x[i], precision=4, threshold=8)} the energy is {u[i]}. "
                "Return u = +inf outside the support; a density that is infinite at a point has "
                "to be transformed or cut off there."
            )
        known = np.isfinite(grad_u).all(axis=1)
        return u, np.where(known[:, None], grad_u, 0.0)


class Gaussian:
    """The base N(m, S), as the energy u_0(x) = -log N(x; m, S)."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray):
        self.mean, self.width = mean, np.sqrt(np.diag(covariance))
        self.factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(self.factor)
        self.precision = inverse.T @ inverse
        # -log N(m; m, S) = log det(2 pi S) / 2
        self.lowest = float(np.log(np.sqrt(2.0 * np.pi) * np.diag(self.factor)).sum())

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Draw (n, dim)."""
        return self.mean + generator.standard_normal((n, len(self.mean))) @ self.factor.T

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute u_0 (n,) and its gradient (n, dim)."""
        gradient = (x - self.mean) @ self.precision
        return self.lowest + 0.5 * np.einsum("ij,ij->i", x - self.mean, gradient), gradient


def start_population(
    base: Base, target: mala.EnergyFunction, n: int, generator: np.random.Generator
) -> Population:
    """Draw n samples of the base and evaluate the target there."""
    x = base.sample(n, generator)
    return x, *target.evaluate(x)
