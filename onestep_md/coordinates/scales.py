r"""Coordinates whose width depends on others: y_i = m_i + s_i exp(a_i + B_i y_P), s_i normal.

As in hierarchical models, where the logarithm of a variance is itself a parameter. What is linear
in the logarithm is fitted where the samples are, and holds where they never got: in the neck of a
funnel. Parents P are scaled by nothing, so both directions and the log-determinant are closed.
"""

import math

import torch
from torch import Tensor, nn

_DEPENDENT = 0.1  # correlation of log |y_i| with y_j; 1 % of its variance
_NOISE = 5.0  # standard errors of a correlation: smaller ones of few samples mean nothing
_OUTLIER = 4.0  # standard deviations, beyond which a parent says nothing more to the fit
_ROUNDS = 5  # in which centres and widths are fitted in turn
_GAIN = 0.02  # nats that a child must become more Gaussian by
_EULER = 0.5772156649015329
_TINY = 1e-12


class Scales(nn.Module):
    """Widths of some of `dim` coordinates as functions of others.

    Attributes:
        parents: (p,) which coordinates tell widths.
        scaled: (c,) which ones they tell the widths of.
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
        parents, children = _families(y, single)
        known, theirs = y[:, parents], y[:, children]
        inputs = torch.cat([torch.ones(len(y), 1, dtype=y.dtype), known], dim=-1)
        centre = torch.zeros(len(children), dtype=y.dtype)
        for _ in range(_ROUNDS):
            # log |y_i - m_i| = a_i + B_i y_P + log |s_i|, and log |s_i| knows nothing of y_P
            slope = torch.linalg.lstsq(inputs, _log_size(theirs - centre)).solution[1:]
            # the mean of a narrow part is off by much more than its width, if wide parts weigh
            precision = torch.exp(-2.0 * known @ slope)
            centre = (precision * theirs).sum(0) / precision.sum(0)
        plain = (theirs - centre) * precision.sqrt()
        level = plain.square().mean(0).sqrt().log()
        # a bent density also ties widths to coordinates, but there y_i is the Gaussian one
        better = _non_gaussian(plain) + _GAIN < _non_gaussian(theirs)
        if not better.any():
            parents, slope = [], slope[:0]
        scaled = torch.tensor(children, dtype=torch.long)[better]
        found = (value[..., better] for value in (slope, centre, level))
        return cls(torch.tensor(parents, dtype=torch.long), scaled, *found)

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map s (batch, dim) to y, and log|det dy/ds| (batch,)."""
        log_scale = self.level + s[:, self.parents] @ self.slope
        wide = self.centre + s[:, self.scaled] * torch.exp(log_scale)
        return s.index_copy(1, self.scaled, wide), log_scale.sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `forward`; the same log|det dy/ds|."""
        log_scale = self.level + y[:, self.parents] @ self.slope
        plain = (y[:, self.scaled] - self.centre) * torch.exp(-log_scale)
        return y.index_copy(1, self.scaled, plain), log_scale.sum(-1)


def _families(y: Tensor, single: list[int]) -> tuple[list[int], list[int]]:
    """Parents and children among the columns `single` of y; those that explain most come first."""
    tells = y.clamp(-_OUTLIER, _OUTLIER)
    size = _log_size(y)
    tells, size = ((a - a.mean(0)) / a.std(0) for a in (tells, size))
    correlation = (size.T @ tells).abs() / len(y)  # [child, parent]
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
        correlation[parent] = 0.0  # scaled by nothing
        correlation[:, parent] = 0.0  # done
        is_child[parents] = False


def _non_gaussian(y: Tensor) -> Tensor:
    """How far columns (n, k) are from Gaussian: log of width over typical size, less theirs."""
    typical = _log_size(y).mean(0) + 0.5 * (math.log(2.0) + _EULER)  # E log |N(0, 1)|
    return (0.5 * y.square().mean(0).log() - typical).abs()


def _log_size(y: Tensor) -> Tensor:
    return torch.log(y.abs().clamp(min=_TINY))
