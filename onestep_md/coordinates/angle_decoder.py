"""The map from circular states to torsions that networks see, by a table.

The chart itself inverts the distribution function of a torsion exactly; that takes a search and
some forty calls of torch, in every layer of a flow. Networks need to see the torsion, but not its
last digits: they see a cubic between the nodes of a table, monotone (Fritsch and Carlson, SIAM J.
Numer. Anal. 17, 238 (1980)), whose slope is as exact as its value.
"""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onestep_md.coordinates.marginals import Marginals

# On a barrier the floor of a marginal lets a torsion turn a hundred times as fast as its state: by
# at most 0.15 rad from node to node.
_CELLS = 4096
_WIDTH = 2.0 * math.pi / _CELLS
_STEEPEST = 3.0  # in secants of both neighbours: steeper cubics need not be monotone


class AngleDecoder(nn.Module):
    """The map from circular states to torsions, for networks on any device."""

    cubics: Tensor

    def __init__(self, marginals: Marginals):
        """Take the marginals of the torsions."""
        super().__init__()
        # the chart keeps the marginals, so that no checkpoint of a flow has to
        self.register_buffer("cubics", _tabulate(marginals), persistent=False)

    def forward(self, circle: Tensor) -> Tensor:
        """Map angles (batch, n_circular) to torsions."""
        return _Cubic.apply(circle, self.cubics)[0]


class _Cubic(torch.autograd.Function):
    """The cubic of each angle's cell, and its slope."""

    generate_vmap_rule = True

    @staticmethod
    def forward(circle: Tensor, cubics: Tensor) -> tuple[Tensor, Tensor]:
        at, (start, left, square, cube) = _cells(circle, cubics)
        value = torch.addcmul(left, at, torch.addcmul(square, at, cube))
        slope = torch.addcmul(left, at, torch.addcmul(square, at, cube, value=1.5), value=2.0)
        return torch.addcmul(start, at, value).to(circle), (slope / _WIDTH).to(circle)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        circle, cubics = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(circle, cubics)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None

    @staticmethod
    def jvp(ctx, change: Tensor, _: None) -> tuple[Tensor, None]:
        # of the input alone, so that it can be differentiated
        at, (_start, left, square, cube) = _cells(*ctx.saved_tensors)
        slope = left + at * (2.0 * square + 3.0 * at * cube)
        return change * (slope / _WIDTH).to(change), None


def _cells(circle: Tensor, cubics: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Find the places in [0, 1] of angles (batch, n) in their cells, and coefficients there."""
    turned = torch.remainder(circle.double() + math.pi, 2.0 * math.pi) / _WIDTH
    cell = turned.detach().long().clamp(0, _CELLS - 1)  # a state may be nan
    row = cell + _CELLS * torch.arange(circle.shape[1], device=cell.device)
    # rows of one table: three times as fast as indices of two dimensions
    coefficients = cubics.index_select(0, row.flatten()).unflatten(0, row.shape)
    return turned - cell, coefficients.unbind(-1)


def _tabulate(marginals: Marginals) -> Tensor:
    """Compute the coefficients (n cells, 4) of cubics of the place in a cell, constants first."""
    nodes = _WIDTH * torch.arange(_CELLS + 1, dtype=torch.float64) - math.pi
    n = len(marginals.density)
    values, log_density = marginals.quantile(nodes[:, None].expand(-1, n))
    values = torch.cat([values[:-1], values.new_full((1, n), math.pi)])  # +-pi are one state
    rises = values.diff(dim=0)
    around = torch.minimum(rises, rises.roll(1, 0))
    limit = _STEEPEST * torch.cat([around, around[:1]])
    slopes = torch.minimum(_WIDTH * torch.exp(-log_density), limit)
    left, right = slopes[:-1], slopes[1:]
    square, cube = 3.0 * rises - 2.0 * left - right, left + right - 2.0 * rises
    return torch.stack([values[:-1], left, square, cube], -1).transpose(0, 1).flatten(0, 1)
