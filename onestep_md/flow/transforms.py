r"""Elementwise bijections of the step map: one for the line, one for the circle.

Both are the identity when their raw parameters are zero, and both are multiplied by the step size
d before they arrive here, so that a step of size d -> 0 moves nothing. Each comes with its
analytic inverse and log-derivative; nothing is iterated.

Line: sinh-arcsinh followed by an affine map (Jones and Pewsey, Biometrika 96, 761, 2009).
Circle: a rotation followed by a periodic rational-quadratic spline (Durkan et al., "Neural Spline
Flows", arXiv 1906.04032, section 3; periodic as in Rezende et al., arXiv 2002.02428).
"""

import math

import torch
from torch import Tensor

LINE_PARAMETERS = 4

_MAX_LOG_SCALE = 3.0  # exp(3) per step of size one: no stiff coordinate needs more
_MAX_LOG_TAIL = 0.7  # tail exponent within a factor of two
_MAX_SKEW = 2.0
_MAX_LOG_SLOPE = 4.0
_MIN_BIN = 1e-3  # of the circle; keeps every bin invertible in single precision


def circle_parameters(bins: int) -> int:
    """Number of raw parameters of one circular coordinate: widths, heights, slopes, rotation."""
    return 3 * bins + 1


def _bounded(raw: Tensor, limit: float) -> Tensor:
    return limit * torch.tanh(raw / limit)


def _line_parameters(raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shift, log_scale, skew, log_tail = raw.unbind(-1)
    return (
        shift,
        _bounded(log_scale, _MAX_LOG_SCALE),
        _bounded(skew, _MAX_SKEW),
        _bounded(log_tail, _MAX_LOG_TAIL),
    )


def line_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Map x by y = exp(a) sinh(delta (asinh x + epsilon)) + b.

    Args:
        x: (batch, n) coordinates on the line.
        raw: (batch, n, 4) raw parameters b, a, epsilon, log delta.

    Returns:
        y (batch, n) and log |dy/dx| (batch, n).
    """
    shift, log_scale, skew, log_tail = _line_parameters(raw)
    inner = torch.exp(log_tail) * (torch.asinh(x) + skew)
    y = torch.exp(log_scale) * torch.sinh(inner) + shift
    return y, log_scale + log_tail + _log_cosh(inner) - 0.5 * torch.log1p(x * x)


def line_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `line_forward`; the returned log-derivative is that of the FORWARD map."""
    shift, log_scale, skew, log_tail = _line_parameters(raw)
    inner = torch.asinh((y - shift) * torch.exp(-log_scale))
    x = torch.sinh(inner * torch.exp(-log_tail) - skew)
    return x, log_scale + log_tail + _log_cosh(inner) - 0.5 * torch.log1p(x * x)


def _log_cosh(x: Tensor) -> Tensor:
    # log cosh x = |x| + log(1 + exp(-2|x|)) - log 2, without overflow
    magnitude = x.abs()
    return magnitude + torch.log1p(torch.exp(-2.0 * magnitude)) - math.log(2.0)


def wrap(angle: Tensor) -> Tensor:
    """Bring an angle into [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi


def _spline_knots(raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Left knots, bin widths and heights of the spline (x and y), and the knot slopes.

    All (batch, n, bins); the slope at the right end of bin i is the slope of knot i + 1, and the
    last bin closes the circle.
    """
    bins = (raw.shape[-1] - 1) // 3
    widths, heights, slopes = raw[..., : 3 * bins].split(bins, dim=-1)

    def partition(logits: Tensor) -> tuple[Tensor, Tensor]:
        share = _MIN_BIN + (1.0 - _MIN_BIN * bins) * torch.softmax(logits, dim=-1)
        size = 2.0 * math.pi * share
        return torch.cumsum(size, dim=-1) - size - math.pi, size

    left, width = partition(widths)
    bottom, height = partition(heights)
    return left, width, bottom, height, torch.exp(_bounded(slopes, _MAX_LOG_SLOPE))


def _select_bin(value: Tensor, knots: Tensor, *tables: Tensor) -> list[Tensor]:
    index = (value.unsqueeze(-1) >= knots[..., 1:]).sum(-1, keepdim=True)
    return [table.gather(-1, index).squeeze(-1) for table in tables]


def circle_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate and then stretch angles by a periodic rational-quadratic spline.

    Args:
        x: (batch, n) angles in radians.
        raw: (batch, n, 3 bins + 1) raw parameters.

    Returns:
        y (batch, n) in [-pi, pi) and log |dy/dx| (batch, n).
    """
    left, width, bottom, height, slope = _spline_knots(raw)
    turned = wrap(x + raw[..., -1])
    x0, w, y0, h, d0, d1 = _select_bin(
        turned, left, left, width, bottom, height, slope, slope.roll(-1, dims=-1)
    )
    xi = (turned - x0) / w
    mean_slope = h / w
    curve = xi * (1.0 - xi)
    denominator = mean_slope + (d1 + d0 - 2.0 * mean_slope) * curve
    y = y0 + h * (mean_slope * xi * xi + d0 * curve) / denominator
    return wrap(y), _spline_log_slope(xi, mean_slope, d0, d1, denominator)


def circle_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `circle_forward`; the returned log-derivative is that of the FORWARD map."""
    left, width, bottom, height, slope = _spline_knots(raw)
    y = wrap(y)
    x0, w, y0, h, d0, d1 = _select_bin(
        y, bottom, left, width, bottom, height, slope, slope.roll(-1, dims=-1)
    )
    mean_slope = h / w
    bend = d1 + d0 - 2.0 * mean_slope
    rise = y - y0
    # Quadratic a xi^2 + b xi + c = 0 (arXiv 1906.04032, eqs. 6 to 8), stable root.
    a = h * (mean_slope - d0) + rise * bend
    b = h * d0 - rise * bend
    c = -mean_slope * rise
    xi = 2.0 * c / (-b - torch.sqrt((b * b - 4.0 * a * c).clamp(min=0.0)))
    denominator = mean_slope + bend * xi * (1.0 - xi)
    return wrap(x0 + xi * w - raw[..., -1]), _spline_log_slope(xi, mean_slope, d0, d1, denominator)


def _spline_log_slope(
    xi: Tensor, mean_slope: Tensor, d0: Tensor, d1: Tensor, denominator: Tensor
) -> Tensor:
    numerator = d1 * xi * xi + 2.0 * mean_slope * xi * (1.0 - xi) + d0 * (1.0 - xi) ** 2
    return 2.0 * torch.log(mean_slope) + torch.log(numerator) - 2.0 * torch.log(denominator)
