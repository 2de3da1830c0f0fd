"""The map from circular states to torsions that networks see, with a closed derivative."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onestep_md.coordinates.marginals import Marginals


class AngleDecoder(nn.Module):
    """The map from circular states to torsions, for networks on any device."""

    def __init__(self, marginals: Marginals):
        """Take the marginals of the torsions."""
        super().__init__()
        self.marginals = marginals

    def forward(self, circle: Tensor) -> Tensor:
        """Map angles (batch, n_circular) to torsions."""
        return _Quantile.apply(circle, self.marginals)[0]


class _Quantile(torch.autograd.Function):
    """`Marginals.quantile`, whose slope is one over its density."""

    generate_vmap_rule = True

    @staticmethod
    def forward(circle: Tensor, marginals: Marginals) -> tuple[Tensor, Tensor]:
        angles, log_density = marginals.quantile(circle.double())
        return angles.to(circle.dtype), torch.exp(-log_density).to(circle.dtype)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Marginals], output: tuple) -> None:
        circle, ctx.marginals = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(circle)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None

    @staticmethod
    def jvp(ctx, change: Tensor, _: None) -> tuple[Tensor, None]:
        # of the input alone, so that it can be differentiated
        (circle,) = ctx.saved_tensors
        log_density = ctx.marginals.quantile(circle.double())[1]
        return change * torch.exp(-log_density).to(change.dtype), None
