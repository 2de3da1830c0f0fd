r"""Log-determinants of charts by dense Jacobians of x, an independent check of closed forms.

For the positions of n atoms, dx is over 3n numbers, and the state has fewer: rigid motion is
integrated out, and some bonds may be constrained. The missing columns are

    dx = |det [J, T, R, C]| ds dt domega dc,

T and R, the velocities of the atoms in unit translations and rotations, and C, in which the
constrained lengths c change at unit rate. C = G^T (G G^T)^-1, with the gradients G of c, is
orthogonal to all the others, along which c does not change. So

    log|det dx/ds| = log|det [J, T, R]| - log|det G^T|,

|det A| = det(A^T A)^{1/2} for A of more rows than columns. No angles enter.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def jacobian(to_x: Callable[[Tensor], tuple[Tensor, Tensor]], s: Tensor) -> Tensor:
    """Compute dx/ds (batch, numbers of x, dim) by reverse mode."""
    with torch.enable_grad():
        s = s.detach().requires_grad_()
        x = to_x(s)[0].flatten(1)
        rows = [
            torch.autograd.grad(number, s, retain_graph=True)[0] for number in x.sum(0).unbind()
        ]
    return torch.stack(rows, dim=1)


def log_abs_det(columns: Tensor) -> Tensor:
    """Compute log|det A| (batch,) of A (batch, rows, columns), which may have more rows."""
    triangle = torch.linalg.qr(columns, mode="r")[1]
    return triangle.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


def rigid_motions(x: Tensor) -> Tensor:
    """Build T and R (batch, 3 n, 6) at x (batch, n, 3); (batch, 6, 5) for two on the x axis."""
    axes = torch.eye(3, dtype=x.dtype)
    shifts = axes.expand(*x.shape[:2], 3, 3)
    turns = torch.linalg.cross(axes.expand_as(shifts), x[:, :, None].expand_as(shifts))
    if x.shape[1] == 2:
        turns = turns[:, :, 1:]
    # [atom, motion, direction] -> [atom and direction, motion]
    return torch.cat([shifts, turns], dim=2).transpose(2, 3).flatten(1, 2)


def length_gradients(x: Tensor, pairs: Tensor) -> Tensor:
    """Compute G^T (batch, 3 n, pairs) of the distances of pairs (2, pairs) at x (batch, n, 3)."""
    i, j = pairs
    away = torch.nn.functional.normalize(x[:, i] - x[:, j], dim=-1)
    gradients = x.new_zeros(len(x), x.shape[1], 3, len(i))
    column = torch.arange(len(i))
    gradients[:, i, :, column] = away.transpose(0, 1)
    gradients[:, j, :, column] = -away.transpose(0, 1)
    return gradients.flatten(1, 2)
