r"""The flat chart of a density on R^n: x = mu + L s, whitened by the samples it is fitted to."""

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart

_NOISE = 4.0  # standard errors; smaller correlations are taken for zero


class FlatChart(Chart):
    """Centred, scaled and decorrelated; the base is a Gaussian fitted to the samples."""

    def __init__(self, x: Tensor):
        """Fit to equal-weight samples x (n, dim), float64."""
        super().__init__()
        self.register_buffer("centre", x.mean(0))
        scale = x.std(0)
        correlation = torch.corrcoef(x.T).reshape(x.shape[1], x.shape[1])
        # noise would tilt the axes of a density that is a product along them
        small = correlation.abs() < _NOISE / len(x) ** 0.5
        self._whiten(torch.where(small, 0.0, correlation) * (scale * scale[:, None]))

    def __str__(self) -> str:
        return f"{self.n_linear} whitened coordinates"

    @property
    def n_linear(self) -> int:
        return len(self.centre)

    @property
    def n_circular(self) -> int:
        return 0

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return self.centre + s @ self.mix.T, self.log_det_mix.expand(len(s))

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.centre) @ self.unmix.T, self.log_det_mix.expand(len(x))

    def pull_back(self, s: Tensor, grad_u: Tensor) -> Tensor:
        return -grad_u @ self.mix
