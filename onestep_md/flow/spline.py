r"""Monotone rational-quadratic splines on the line (Durkan et al., arXiv 1906.04032).

For densities with several modes along one coordinate, which no affine map makes from one. The
spline covers [-B, B] and is the identity outside; raw parameters of zero give the identity.
"""

import math

import torch
from torch import Tensor

_BOUND = 5.0  # standard deviations of the base; the line continues outside
_LEAST = 1e-3  # width and height of a bin relative to the interval, and slope at a knot
# softplus(raw + _UNIT) + _LEAST = 1 at raw = 0
_UNIT = math.log(math.expm1(1.0 - _LEAST))


def spline_parameter_count(bins: int) -> int:
    """Number of raw parameters: widths, heights, inner slopes."""
    return 3 * bins - 1


def spline_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Map x through the spline.

    Args:
        x: (batch, n) coordinates on the line.
        raw: (batch, n, 3 bins - 1) raw parameters.

    Returns:
        y (batch, n) and log |dy/dx| (batch, n).
    """
    x_knots, y_knots, slopes = _knots(raw)
    inside = x.abs() < _BOUND
    # a finite place for the others, so that no gradient is nan
    x0, width, y0, height, s0, s1 = _bin(torch.where(inside, x, 0.0), x_knots, y_knots, slopes, 0)
    xi = (torch.where(inside, x, 0.0) - x0) / width
    secant = height / width
    rest = xi * (1.0 - xi)
    below = secant + (s0 + s1 - 2.0 * secant) * rest
    y = y0 + height * (secant * xi.square() + s0 * rest) / below
    return torch.where(inside, y, x), torch.where(inside, _log_slope(xi, secant, s0, s1), 0.0)


def spline_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `spline_forward`; the returned log-derivative is that of the FORWARD map."""
    x_knots, y_knots, slopes = _knots(raw)
    inside = y.abs() < _BOUND
    at = torch.where(inside, y, 0.0)
    x0, width, y0, height, s0, s1 = _bin(at, x_knots, y_knots, slopes, 1)
    secant = height / width
    # y - y0 = h (secant xi^2 + s0 xi (1 - xi)) / (secant + (s0 + s1 - 2 secant) xi (1 - xi)) is
    # a quadratic in xi, solved without cancellation
    up = at - y0
    bend = up * (s0 + s1 - 2.0 * secant)
    a = height * (secant - s0) + bend
    b = height * s0 - bend
    c = -secant * up
    root = torch.sqrt((b.square() - 4.0 * a * c).clamp(min=0.0))
    xi = (2.0 * c / (-b - root)).clamp(0.0, 1.0)
    x = x0 + xi * width
    return torch.where(inside, x, y), torch.where(inside, _log_slope(xi, secant, s0, s1), 0.0)


def _log_slope(xi: Tensor, secant: Tensor, s0: Tensor, s1: Tensor) -> Tensor:
    rest = xi * (1.0 - xi)
    above = s1 * xi.square() + 2.0 * secant * rest + s0 * (1.0 - xi).square()
    below = secant + (s0 + s1 - 2.0 * secant) * rest
    return 2.0 * torch.log(secant) + torch.log(above) - 2.0 * torch.log(below)


def _knots(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Knots in x and in y and slopes there, each (batch, n, bins + 1)."""
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw.split([bins, bins, bins - 1], dim=-1)
    inner = _LEAST + torch.nn.functional.softplus(slopes + _UNIT)
    one = torch.ones_like(raw[..., :1])
    return _cumulate(widths), _cumulate(heights), torch.cat([one, inner, one], dim=-1)


def _cumulate(raw: Tensor) -> Tensor:
    share = _LEAST + (1.0 - _LEAST * raw.shape[-1]) * torch.softmax(raw, dim=-1)
    edges = torch.nn.functional.pad(share.cumsum(-1)[..., :-1], (1, 0))
    knots = 2.0 * _BOUND * edges - _BOUND
    return torch.cat([knots, torch.full_like(knots[..., :1], _BOUND)], dim=-1)


def _bin(at: Tensor, x_knots: Tensor, y_knots: Tensor, slopes: Tensor, axis: int) -> list[Tensor]:
    """x0, width, y0, height and both slopes of the bin in which `at` (batch, n) lies."""
    knots = (x_knots, y_knots)[axis].detach()
    index = (at.detach().unsqueeze(-1) >= knots[..., 1:-1]).sum(-1, keepdim=True)

    def pick(table: Tensor, shift: int) -> Tensor:
        return table.gather(-1, index + shift).squeeze(-1)

    x0, y0 = pick(x_knots, 0), pick(y_knots, 0)
    return [
        x0,
        pick(x_knots, 1) - x0,
        y0,
        pick(y_knots, 1) - y0,
        pick(slopes, 0),
        pick(slopes, 1),
    ]
