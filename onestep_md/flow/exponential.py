r"""exp(S) v of symmetric matrices by the Taylor series, with derivatives of the same price.

Differentiated term by term, every term of the series leaves a matrix behind. Instead, with
T_k(v) = S^k v / k! and for the gradient g of what exp(S) v goes into,

    d/dv = exp(S) g,   d/dS = int_0^1 exp(t S) g (exp((1-t) S) v)^T dt
                            = sum_{j,l} T_j(g) T_l(v)^T  j! l! / (j + l + 1)!

which is one product of narrow matrices. Vectors are rows, v^T S = (S v)^T: on a CPU a batch of
such products takes a seventh of the time of S v for 39 coordinates.
"""

import functools
import math

import torch
from torch import Tensor

LARGEST = 4.0  # eigenvalue of S for which the series is long enough
_TERMS = {torch.float32: 21, torch.float64: 35}  # 4^21 / 21! = 9e-8, 4^35 / 35! = 1e-19


def exponential(matrix: Tensor, vector: Tensor) -> Tensor:
    """Exp(matrix) vector.

    Args:
        matrix: (batch, n D, n D) symmetric, of eigenvalues up to LARGEST.
        vector: (batch, n, D).

    Returns:
        (batch, n, D).
    """
    return _Exponential.apply(matrix, vector.flatten(1)).view_as(vector)


class _Exponential(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, vector: Tensor) -> Tensor:
        start = vector[:, None]
        total = start
        for k in reversed(range(1, _TERMS[vector.dtype])):
            total = torch.baddbmm(start, total, matrix, alpha=1.0 / k)
        return total.squeeze(1)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        matrix, vector = ctx.saved_tensors
        terms = [torch.stack([gradient, vector], dim=1)]
        for k in range(1, _TERMS[vector.dtype]):
            terms.append(terms[-1] @ matrix / k)
        left, right = torch.stack(terms, dim=1).unbind(2)
        return left.mT @ (_weights(len(terms)).to(left) @ right), left.sum(1)

    @staticmethod
    def jvp(ctx, d_matrix: Tensor, d_vector: Tensor) -> Tensor:
        matrix, vector = ctx.saved_tensors
        term, change = vector[:, None], d_vector[:, None]
        total = change
        for k in range(1, _TERMS[vector.dtype]):
            change = (term @ d_matrix + change @ matrix) / k
            term = term @ matrix / k
            total = total + change
        return total.squeeze(1)


@functools.cache
def _weights(terms: int) -> Tensor:
    """The factors j! l! / (j + l + 1)!, (terms, terms)."""
    f = math.factorial
    rows = [[f(j) * f(k) / f(j + k + 1) for k in range(terms)] for j in range(terms)]
    return torch.tensor(rows, dtype=torch.float64)
