"""The shape of conformations (batch, atoms, 3): what rigid motion leaves as it is."""

import torch


def distances(x: torch.Tensor) -> torch.Tensor:
    """All distances (batch, atoms, atoms)."""
    return (x[:, :, None] - x[:, None]).norm(dim=-1)


def signed_volumes(x: torch.Tensor) -> torch.Tensor:
    """Triple products of consecutive difference vectors: change sign under reflection."""
    d = x[:, 1:] - x[:, :-1]
    return (torch.linalg.cross(d[:, :-2], d[:, 1:-1]) * d[:, 2:]).sum(-1)
