"""Reduced energies and gradients of a density, under the contract of `PotentialEvaluator`.

u(x) = -log p(x) and grad_u(x) = -d log p / dx by automatic differentiation, float64. There is one
per process. A partial of it crosses process borders, and the density is built on the other side:
partial(DensityEvaluator, partial(build_density, "gmm9", None)).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from onestep_md.targets import gaps
from onestep_md.targets.densities import Density

# Numbers of x in one evaluation, which stay in the cache: with 4,000 rows at once, a row of gmm40
# takes 4 times as long, and one of lj55_f1 twice.
_NUMBERS = 2**15
_ROWS = 100  # in one evaluation, at least


class DensityEvaluator:
    """Evaluates one density.

    Args:
        build: makes the density; picklable, if the evaluator is made in another process.
    """

    def __init__(self, build: Callable[[], Density]):
        self.density = build()

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute reduced energies and their gradients.

        Args:
            x: (batch, dim); any float type, any values.

        Returns:
            u (batch,) and grad_u (batch, dim), float64. Where x or u is not finite, or the
            density raises for that row, u is +inf and the gradient 0; where the gradient alone
            is not finite, its row is NaN.

        Raises:
            ValueError: x has another shape.
        """
        x = np.ascontiguousarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.density.dim:
            raise ValueError(f"x has shape {x.shape}, expected (batch, {self.density.dim})")
        u, grad_u = np.full(len(x), np.inf), np.zeros_like(x)
        rows = np.flatnonzero(np.isfinite(x).all(axis=1))
        at_once = max(_ROWS, _NUMBERS // x.shape[1])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a Ray actor; several threads sum in another order
        try:
            for start in range(0, len(rows), at_once):
                part = rows[start : start + at_once]
                # a copy by torch has the same alignment everywhere, on which last bits depend
                u[part], grad_u[part] = self._evaluate(torch.tensor(x[part]))
        finally:
            torch.set_num_threads(threads)
        return gaps.mark(u, grad_u)

    def _evaluate(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        try:
            u, grad_u = evaluate_with_gradient(self.density, x)
        except (RuntimeError, ValueError, ArithmeticError):
            # a user's function may raise for a single row, for example in a factorisation; the
            # others are kept
            if len(x) == 1:
                return np.full(1, np.inf), np.zeros((1, x.shape[1]))
            each = [self._evaluate(row[None]) for row in x]
            all_u, all_grad_u = zip(*each, strict=True)
            return np.concatenate(all_u), np.concatenate(all_grad_u)
        return u.numpy(), grad_u.numpy()


def evaluate_with_gradient(density: Density, x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute energies (batch,) and gradients at x (batch, dim), NaN included."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        u = -density.log_prob(x)
        # rows are independent, so the gradient of the sum holds the gradient of every row
        (grad_u,) = torch.autograd.grad(u.sum(), x)
    return u.detach(), grad_u
