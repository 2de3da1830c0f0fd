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
    shift, log_scale = raw[..., 0], bounded(raw[..., 1], _MAX_LOG_SCALE)
    y = x * torch.exp(log_scale) + shift
    if raw.shape[-1] == _AFFINE_PARAMETERS:
        return y, log_scale
    y, log_slope = spline_forward(y, _SPLINE_GAIN * raw[..., _AFFINE_PARAMETERS:])
    return y, log_scale + log_slope


def line_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `line_forward`; the returned log-derivative is that of the FORWARD map."""
    shift, log_scale = raw[..., 0], bounded(raw[..., 1], _MAX_LOG_SCALE)
    log_slope = log_scale
    if raw.shape[-1] > _AFFINE_PARAMETERS:
        y, change = spline_inverse(y, _SPLINE_GAIN * raw[..., _AFFINE_PARAMETERS:])
        log_slope = log_scale + change
    return (y - shift) * torch.exp(-log_scale), log_slope


def bounded(x: Tensor, largest: float) -> Tensor:
    """The identity near 0, and never beyond +-largest."""
    return largest * torch.tanh(x / largest)


def circle_forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Map angles by Moebius transformations of orders 1, 2, ..., H and a rotation.

    Order k acts on k x and is lifted back: y = x - (2/k) arg(1 - conj(w) e^{ikx}), |w| < 1. Its
    displacement is periodic, so it is a bijection of the circle for every k, it is its own
    inverse up to w -> -w, and dy/dx = (1 - |w|^2) / |1 - conj(w) e^{ikx}|^2.

    Args:
        x: (batch, n) angles in radians.
        raw: (batch, n, 2 H + 1) raw parameters.

    Returns:
        y (batch, n) in [-pi, pi) and log |dy/dx| (batch, n).
    """
    centres, rotation = _circle_parameters(raw)
    log_slope = torch.zeros_like(x)
    for order, (a, b) in enumerate(centres, start=1):
        x, change = _moebius(x, a, b, order)
        log_slope = log_slope + change
    return wrap(x + rotation), log_slope


def circle_inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Invert `circle_forward`; the returned log-derivative is that of the FORWARD map."""
    centres, rotation = _circle_parameters(raw)
    y = y - rotation
    log_slope = torch.zeros_like(y)
    for order, (a, b) in reversed(list(enumerate(centres, start=1))):
        y, change = _moebius(y, -a, -b, order)
        log_slope = log_slope - change
    return wrap(y), log_slope


def _circle_parameters(raw: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Centres w = a + i b inside the unit disc, one per order, and the rotation."""
    pairs = raw[..., :-1].unflatten(-1, (-1, 2))
    radius = torch.sqrt(pairs.square().sum(-1, keepdim=True) + 1e-12)
    centres = pairs * (_MAX_RADIUS * torch.tanh(radius) / radius)
    return [pair.unbind(-1) for pair in centres.unbind(-2)], raw[..., -1]


def _moebius(x: Tensor, a: Tensor, b: Tensor, order: int) -> tuple[Tensor, Tensor]:
    cosine, sine = torch.cos(order * x), torch.sin(order * x)
    # 1 - conj(w) e^{ikx} = real - i imaginary, real > 0 because |w| < 1
    real = 1.0 - a * cosine - b * sine
    imaginary = a * sine - b * cosine
    y = x + (2.0 / order) * torch.atan2(imaginary, real)
    log_slope = torch.log1p(-(a * a + b * b)) - torch.log(real.square() + imaginary.square())
    return y, log_slope
