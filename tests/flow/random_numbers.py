"""Seeded numbers in float64, and networks that are far from their untrained state."""

import torch
from torch import Tensor, nn


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Independent N(0, 1) numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def shaken(module: nn.Module, scale: float) -> nn.Module:
    """The module itself, with normal noise of this width added to every parameter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(scale * noise)
    return module
