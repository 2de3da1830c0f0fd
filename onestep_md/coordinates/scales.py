r"""Coordinates whose width depends on others: y_i = m_i + s_i exp(a_i + B_i y_P), s_i normal.

Hierarchical models are like this: the logarithm of a variance is itself a parameter. A fit that is
linear in the logarithm also holds where the samples never got, as in the neck of a funnel. Parents
P are not scaled themselves, so both directions and the log-determinant have a closed form.
"""

import math

import torch
from torch import Tensor, nn

_DEPENDENT = 0.1  # correlation of log |y_i| with y_j; 1 % of its variance
_NOISE = 5.0  # standard errors of a correlation: smaller ones of few samples mean nothing
_OUTLIER = 4.0  # standard deviations, at which parents are clipped in the fit
_ROUNDS = 5  # in which centres and widths are fitted in turn
_GAIN = 0.02  # nats by which a child must become more Gaussian
_EULER = 0.5772156649015329
_TINY = 1e-12


class Scales(nn.Module):
    """Widths of some of `dim` coordinates as functions of others.

    Attributes:
        parents: (p,) numbers of the coordinates that determine widths.
        scaled: (c,) numbers of the coordinates that have these widths.
    """

    parents: Tensor
    scaled: Tensor
    slope: Tensor
    centre: Tensor
    level: Tensor

    def __init__(
        self, parents: Tensor, scaled: Tensor, slope: Tensor, centre: Tensor, level: Tensor
    ):
        """Take the attributes, and B (p, c), m (c,) and a (c,)."""
        super().__init__()
        self.register_buffer("parents", parents)
        self.register_buffer("scaled", scaled)
        self.register_buffer("slope", slope)
        self.register_buffer("centre", centre)
        self.register_buffer("level", level)

    @classmethod
    def fit(cls, y: Tensor, single: list[int]) -> "Scales":
        """Fit to equal-weight samples.

        Args:
            y: (n, dim) centred samples of unit variance, float64.
            single: columns of one mode; the others are left alone.
        """
        parents, children = _find_families(y, single)
        y_parents, y_children = y[:, parents], y[:, children]
        inputs = torch.cat([torch.ones(len(y), 1, dtype=y.dtype), y_parents], dim=-1)
        centre = torch.zeros(len(children), dtype=y.dtype)
        for _ in range(_ROUNDS):
            # log |y_i - m_i| = a_i + B_i y_P + log |s_i|, and log |s_i| is independent of y_P
            slope = torch.linalg.lstsq(inputs, _log_size(y_children - centre)).solution[1:]
            # a plain mean may be off by many widths of the narrow part
            precision = torch.exp(-2.0 * y_parents @ slope)
            centre = (precision * y_children).sum(0) / precision.sum(0)
        residual = (y_children - centre) * precision.sqrt()
        level = residual.square().mean(0).sqrt().log()
        # widths of a bent density depend on coordinates too, but there y_i itself is Gaussian
        better = _non_gaussian(residual) + _GAIN < _non_gaussian(y_children)
        if not better.any():
            parents, slope = [], slope[:0]
        scaled = torch.tensor(children, dtype=torch.long)[better]
        fitted = (value[..., better] for value in (slope, centre, level))
        return cls(torch.tensor(parents, dtype=torch.long), scaled, *fitted)

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map s (batch, dim) to y, and log|det dy/ds| (batch,)."""
        log_scale = self.level + s[:, self.parents] @ self.slope
        scaled = self.centre + s[:, self.scaled] * torch.exp(log_scale)
        return s.index_copy(1, self.scaled, scaled), log_scale.sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `forward`; the same log|det dy/ds|."""
        log_scale = self.level + y[:, self.parents] @ self.slope
        unscaled = (y[:, self.scaled] - self.centre) * torch.exp(-log_scale)
        return y.index_copy(1, self.scaled, unscaled), log_scale.sum(-1)


def _find_families(y: Tensor, single: list[int]) -> tuple[list[int], list[int]]:
    """Find parents, those that explain most first, and children among the columns `single`."""
    clipped = y.clamp(-_OUTLIER, _OUTLIER)
    size = _log_size(y)
    clipped, size = ((a - a.mean(0)) / a.std(0) for a in (clipped, size))
    correlation = (size.T @ clipped).abs() / len(y)  # [child, parent]
    allowed = torch.zeros(y.shape[1], dtype=torch.bool)
    allowed[single] = True
    correlation.fill_diagonal_(0.0)
    least = max(_DEPENDENT, _NOISE / math.sqrt(len(y)))
    correlation *= allowed[:, None] & allowed & (correlation > least)
    parents: list[int] = []
    is_child = torch.zeros_like(allowed)
    while True:
        explains = correlation.square().sum(0).masked_fill(is_child, 0.0)
        parent = int(explains.argmax())
        if explains[parent] == 0.0:
            return parents, is_child.nonzero().squeeze(-1).tolist()
        parents.append(parent)
        is_child |= correlation[:, parent] > 0.0
        correlation[parent] = 0.0  # parents are not scaled
        correlation[:, parent] = 0.0
        is_child[parents] = False


def _non_gaussian(y: Tensor) -> Tensor:
    """Measure how far columns (n, k) are from Gaussian, by the log of width over typical size."""
    typical = _log_size(y).mean(0) + 0.5 * (math.log(2.0) + _EULER)  # E log |N(0, 1)|
    return (0.5 * y.square().mean(0).log() - typical).abs()


def _log_size(y: Tensor) -> Tensor:
    return torch.log(y.abs().clamp(min=_TINY))
