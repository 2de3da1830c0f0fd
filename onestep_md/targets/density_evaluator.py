"""Reduced energies and gradients of a density, under the contract of `PotentialEvaluator`.

u(x) = -log p(x) and grad_u(x) = -d log p / dx by automatic differentiation, float64. One per
process; a partial of it crosses process borders, the density itself is built at the far side:
partial(DensityEvaluator, partial(build_density, "gmm9", None)).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from onestep_md.targets import gaps
from onestep_md.targets.densities import Density

# Of x, what is evaluated at once: it stays in the cache. 4,000 rows of gmm40 at once take 4 times
# as long for each, those of lj55_f1 twice.
_NUMBERS = 2**15
_ROWS = 100  # at least


class DensityEvaluator:
    """Evaluates one density.

    Args:
        build: Makes the density. Has to be picklable where the evaluator is made elsewhere.
    """

    def __init__(self, build: Callable[[], Density]):
        self.density = build()

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reduced energies and their gradients.

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
        torch.set_num_threads(1)  # as in a Ray actor: several sum in another order
        try:
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                # a copy by torch, aligned alike everywhere: last bits depend on that too
                u[some], grad_u[some] = self._evaluate(torch.tensor(x[some]))
        finally:
            torch.set_num_threads(threads)
        return gaps.mark(u, grad_u)

    def _evaluate(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        try:
            u, grad_u = evaluate_with_gradient(self.density, x)
        except (RuntimeError, ValueError, ArithmeticError):
            # A function of the user's may raise for a single row, say in a factorisation; the
            # others must not be lost with it.
            if len(x) == 1:
                return np.full(1, np.inf), np.zeros((1, x.shape[1]))
            each = [self._evaluate(row[None]) for row in x]
            all_u, all_grad_u = zip(*each, strict=True)
            return np.concatenate(all_u), np.concatenate(all_grad_u)
        return u.numpy(), grad_u.numpy()


def evaluate_with_gradient(density: Density, x: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (batch,) and gradients at x (batch, dim), as they come, NaN included."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        u = -density.log_prob(x)
        # Rows do not see each other, so the gradient of the sum holds every row's own.
        (grad_u,) = torch.autograd.grad(u.sum(), x)
    return u.detach(), grad_u
