r"""The flat chart of a density on R^n: x = mu + L y(s), fitted to samples.

L whitens. y(s) are the coordinates themselves; those of several modes go through their marginals
(`line_marginals`), and those whose width depends on others are scaled (`scales`).
"""

import numpy as np
import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart, Whitening
from onestep_md.coordinates.line_marginals import LineMarginals
from onestep_md.coordinates.linear_forces import fit_linear_forces
from onestep_md.coordinates.scales import Scales

_NOISE = 5.0  # standard errors; smaller correlations are taken for zero


class FlatChart(Chart):
    """Whitened coordinates, with several modes flattened and dependent widths evened out.

    The base is a Gaussian fitted to the samples, with the marginals of independent coordinates of
    several modes and with widths that depend on other coordinates.
    """

    centre: Tensor
    mix: Tensor
    unmix: Tensor
    log_det_mix: Tensor

    def __init__(
        self, centre: Tensor, whitening: Whitening, marginals: LineMarginals, scales: Scales
    ):
        """Take mu (dim,), L, and the maps of the coordinates of L^-1 (x - mu)."""
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("mix", whitening.mix)
        self.register_buffer("unmix", whitening.unmix)
        self.register_buffer("log_det_mix", whitening.log_det)
        self.marginals, self.scales = marginals, scales

    @classmethod
    def fit(
        cls,
        x: Tensor,
        gaussian: tuple[Tensor, Tensor] | None = None,
        gradient: Tensor | None = None,
    ) -> "FlatChart":
        """Fit to samples.

        Args:
            x: (n, dim) equal-weight samples, float64.
            gaussian: mean (dim,) and covariance (dim, dim), if better estimates than those of x
                are known.
            gradient: (n, dim) du/dx at x, if it is known.
        """
        centre, covariance = gaussian or (x.mean(0), _covariance(x))
        whitening = Whitening.from_covariance(covariance)
        y = (x - centre) @ whitening.unmix.T
        marginals = LineMarginals.fit(y, None if gradient is None else -gradient @ whitening.mix)
        return cls(centre, whitening, marginals, Scales.fit(y, marginals.single))

    def __str__(self) -> str:
        flattened = len(self.marginals.modal)
        left = ", modes left to the flow" if self.is_multimodal else ""
        scaled, parents = len(self.scales.scaled), len(self.scales.parents)
        scales = f", {scaled} scaled by {parents} others" if scaled else ""
        return f"{self.n_linear} whitened coordinates, {flattened} of them flattened{scales}{left}"

    @property
    def n_linear(self) -> int:
        return len(self.centre)

    @property
    def n_circular(self) -> int:
        return 0

    @property
    def is_gaussian(self) -> bool:
        """Whether the base is no more than a Gaussian in x."""
        return len(self.marginals.modal) == len(self.scales.scaled) == 0

    @property
    def is_multimodal(self) -> bool:
        return self.marginals.tangled

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        modal = self.marginals.modal
        flattened, log_slope = self.marginals.quantile(s[:, modal])
        y, log_scale = self.scales(s.index_copy(1, modal, flattened))
        x = self.centre + y @ self.mix.T
        return x, self.log_det_mix + log_slope.sum(-1) + log_scale

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = (x - self.centre) @ self.unmix.T
        y, log_scale = self.scales.inverse(y)
        modal = self.marginals.modal
        s, log_slope = self.marginals.cumulative(y[:, modal])
        return y.index_copy(1, modal, s), self.log_det_mix + log_slope.sum(-1) + log_scale


def _covariance(x: Tensor) -> Tensor:
    """Estimate the covariance (dim, dim) of x (n, dim), zero where correlations are noise.

    Noise would tilt the axes of a density that is a product along them. The correlation of ranks
    decides, because a few samples dominate that of heavy tails.
    """
    shape = (x.shape[1], x.shape[1])
    order = (x.argsort(0).argsort(0) + 0.5) / len(x)
    of_ranks = torch.corrcoef(torch.special.ndtri(order).T).reshape(shape)
    full = torch.corrcoef(x.T).reshape(shape)
    sparse = torch.where(of_ranks.abs() < _NOISE / len(x) ** 0.5, 0.0, full)
    # with many zeros, a matrix of strong correlations may no longer be positive definite
    least, least_sparse = (torch.linalg.eigvalsh(matrix)[0] for matrix in (full, sparse))
    scale = x.std(0)
    return (sparse if least_sparse > 0.5 * least else full) * (scale * scale[:, None])


def fit_flat_chart(x: np.ndarray, grad_u: np.ndarray) -> FlatChart:
    """Fit the chart of a density to samples, or to their forces where samples are too few."""
    fitted, gradient = fit_linear_forces(x, grad_u), torch.from_numpy(grad_u)
    if fitted is None:
        return FlatChart.fit(torch.from_numpy(x), None, gradient)
    mean, precision = map(torch.from_numpy, fitted)
    return FlatChart.fit(torch.from_numpy(x), (mean, torch.linalg.inv(precision)), gradient)
