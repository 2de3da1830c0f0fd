r"""The flat chart of a density on R^n: x = mu + L y(s), fitted to samples.

L whitens; y(s) are the coordinates themselves, or for those of several modes their quantiles.
"""

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.line_marginals import LineMarginals

_NOISE = 4.0  # standard errors; smaller correlations are taken for zero


class FlatChart(Chart):
    """Centred, scaled, decorrelated, and coordinates of several modes flattened.

    The base is a Gaussian fitted to the samples, or the marginals of what has several modes.
    """

    def __init__(self, x: Tensor):
        """Fit to equal-weight samples x (n, dim), float64."""
        super().__init__()
        self.register_buffer("centre", x.mean(0))
        scale = x.std(0)
        correlation = torch.corrcoef(x.T).reshape(x.shape[1], x.shape[1])
        # noise would tilt the axes of a density that is a product along them
        small = correlation.abs() < _NOISE / len(x) ** 0.5
        self._whiten(torch.where(small, 0.0, correlation) * (scale * scale[:, None]))
        self.marginals = LineMarginals((x - self.centre) @ self.unmix.T)

    def __str__(self) -> str:
        flattened = len(self.marginals.modal)
        left = ", modes left to the flow" if self.modes_left else ""
        return f"{self.n_linear} whitened coordinates, {flattened} of them flattened{left}"

    @property
    def n_linear(self) -> int:
        return len(self.centre)

    @property
    def n_circular(self) -> int:
        return 0

    @property
    def modes_left(self) -> bool:
        return self.marginals.tangled

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        modal = self.marginals.modal
        y, log_slope = self.marginals.quantile(s[:, modal])
        x = self.centre + s.index_copy(1, modal, y) @ self.mix.T
        return x, self.log_det_mix + log_slope.sum(-1)

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = (x - self.centre) @ self.unmix.T
        modal = self.marginals.modal
        s, log_slope = self.marginals.cumulative(y[:, modal])
        return y.index_copy(1, modal, s), self.log_det_mix + log_slope.sum(-1)
