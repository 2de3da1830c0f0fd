r"""Elementwise bijections of the step map: one for the line, one for the circle.

Both are the identity when their raw parameters are zero, and both are multiplied by the step size
d before they arrive here, so that a step of size d -> 0 moves nothing. Each comes with its
analytic inverse and log-derivative; nothing is iterated.

Line: an affine map (Dinh et al., arXiv 1605.08803), for densities followed by a spline. Stiff
coordinates of a molecule are nearly Gaussian given all others; there a sinh-arcsinh map learned
no more, and more slowly.
Circle: Moebius transformations (Rezende et al., arXiv 2002.02428, section 2) of several orders
and a rotation. They are smooth, where the score of a spline jumps at its knots: with forces in
the loss those jumps are noise.
"""

import torch
from torch import Tensor

from onestep_md.coordinates.base import wrap
from onestep_md.flow import moebius
from onestep_md.flow.spline import spline_forward, spline_inverse, spline_parameter_count

_AFFINE_PARAMETERS = 2
_SPLINE_GAIN = 10.0  # logarithms of bin widths vary much more than shifts do
_MAX_LOG_SCALE = 8.0  # of one layer; the neck of a funnel is hundreds of times narrower
_MAX_RADIUS = 0.7  # of a Moebius centre: slopes between 1/6 and 6; orders and layers multiply


def circle_parameter_count(orders: int) -> int:
    """Number of raw parameters of one angle: a centre per order, and the rotation."""
    return 2 * orders + 1


def line_parameter_count(bins: int) -> int:
    """Number of raw parameters of one line coordinate: affine, and a spline if bins > 0."""
    return _AFFINE_PARAMETERS + (spline_parameter_count(bins) if bins else 0)


def line_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Map x by exp(a) x + b, and by a spline after it if there are parameters for one.

    Args:
        x: (batch, n) coordinates on the line.
        raw: (batch, n, parameters) raw parameters b, a, then those of the spline.

    Returns:
        y (batch, n) and log |dy/dx| (batch, n).
    """
    shift, log_scale, knots = _line_parameters(raw)
    y = torch.addcmul(shift, x, torch.exp(log_scale))
    if knots is None:
        return y, log_scale
    y, log_slope = spline_forward(y, knots)
    return y, log_scale + log_slope


def line_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `line_forward`; the returned log-derivative is that of the FORWARD map."""
    shift, log_scale, knots = _line_parameters(raw)
    log_slope = log_scale
    if knots is not None:
        y, change = spline_inverse(y, knots)
        log_slope = log_scale + change
    return (y - shift) * torch.exp(-log_scale), log_slope


def _line_parameters(raw: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Shift and log-scale (batch, n), and the raw parameters of a spline, if there are any."""
    more = raw.shape[-1] - _AFFINE_PARAMETERS
    affine, knots = raw.split([_AFFINE_PARAMETERS, more], -1) if more else (raw, None)
    shift, log_scale = affine.unbind(-1)
    log_scale = bounded(log_scale, _MAX_LOG_SCALE)
    return shift, log_scale, None if knots is None else _SPLINE_GAIN * knots


def bounded(x: Tensor, largest: float) -> Tensor:
    """B tanh(x / B), B = `largest`: the identity near 0, and never beyond +-B."""
    # torch computes a sigmoid in a third of the time of tanh; near 0 it is as exact, but not
    # relative to x
    return 2.0 * largest * (torch.sigmoid(x * (2.0 / largest)) - 0.5)


def circle_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Map angles by Moebius transformations of orders 1, 2, ..., H and a rotation.

    Args:
        x: (batch, n) angles in radians.
        raw: (batch, n, 2 H + 1) raw parameters.

    Returns:
        y (batch, n) in [-pi, pi) and log |dy/dx| (batch, n).
    """
    centres, rotation = _circle_parameters(raw)
    x, log_slope = moebius.transform(x, centres, range(1, centres.shape[1] + 1))
    return wrap(x + rotation), log_slope


def circle_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `circle_forward`; the returned log-derivative is that of the FORWARD map."""
    centres, rotation = _circle_parameters(raw)
    x, log_slope = moebius.transform(y - rotation, -centres, range(centres.shape[1], 0, -1))
    return wrap(x), -log_slope


def _circle_parameters(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (2, H, batch, n) inside the unit disc, their parts first, and the rotation."""
    centres, rotation = raw.split([raw.shape[-1] - 1, 1], -1)
    pairs = centres.unflatten(-1, (-1, 2)).permute(3, 2, 0, 1).contiguous()
    radius = torch.sqrt(pairs.square().sum(0) + 1e-12)
    return pairs * (_MAX_RADIUS * torch.tanh(radius) / radius), rotation.squeeze(-1)
