"""Rotations that align positions best, by Kabsch, Acta Cryst. A32, 922 (1976)."""

import torch
from torch import Tensor


def kabsch_rotation(x: Tensor, reference: Tensor) -> Tensor:
    """Find the proper rotations R (batch, 3, 3) that bring centred x @ R nearest to the reference.

    Args:
        x: (batch, atoms, 3).
        reference: (batch, atoms, 3).
    """
    a = x - x.mean(1, keepdim=True)
    b = reference - reference.mean(1, keepdim=True)
    return nearest_orthogonal(a.transpose(1, 2) @ b, proper=True)


def nearest_orthogonal(matrix: Tensor, proper: bool) -> Tensor:
    """Find the orthogonal matrices nearest to (batch, D, D), of determinant 1 where proper.

    For matrix = x^T y they are the R for which x R is nearest to y.
    """
    u, _, vt = torch.linalg.svd(matrix)
    if not proper:
        return u @ vt
    # flip the least important axis where the best orthogonal matrix is a reflection
    sign = torch.ones(len(matrix), 1, matrix.shape[-1], dtype=matrix.dtype)
    sign[:, 0, -1] = torch.linalg.det(u @ vt)
    return (u * sign) @ vt
