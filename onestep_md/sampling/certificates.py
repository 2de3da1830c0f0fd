"""Measured proof that a map is injective, and that its log-determinant is the right one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart
from onestep_md.flow.base import Flow
from onestep_md.flow.losses import difference
from onestep_md.sampling.draw import CHUNK, at_once

_JACOBIANS = 5 * 10**8  # numbers that pass a flow for all dense ones: a minute or so
_JACOBIANS_AT_ONCE = 2 * 10**7  # numbers of dense ones that are kept at once: 160 MB


@dataclass(frozen=True)
class Certificates:
    """Measured invertibility of the map, over `checked` samples.

    Attributes:
        checked: samples whose dense Jacobian was formed.
        negative: how many of these have a non-positive determinant.
        log_det_error: largest |log|det dx/dz| of that - the one in the weight| of the samples
            inside of the chart.
        round_trip: largest |z(x(z)) - z| over all `inverted` samples; of those outside of the
            chart, z(s(z)).
        inverted: samples that were inverted.
    """

    checked: int
    negative: int
    log_det_error: float
    round_trip: float
    inverted: int


def affordable_jacobians(flow: Flow, steps: int) -> int:
    """How many dense Jacobians certify the K-step map: 1000, or as many as take a minute or so."""
    most = min(1000, _JACOBIANS // (flow.dim * flow.footprint))
    return max(1, most // max(1, steps))


def certify(
    flow: Flow,
    chart: Chart,
    steps: int,
    generator: torch.Generator,
    checked: int,
    inverted: int,
) -> Certificates:
    """Measure that the map from z to x is injective and its log-determinant is the right one.

    Base samples, `inverted` of them, are mapped and inverted; `checked` of these have dense
    Jacobians. Their sign is that of the K-step map alone: charts are inverted in closed form.
    """
    z = chart.sample_base(inverted, generator)
    with torch.no_grad():
        there = [flow(part, steps) for part in z.split(at_once(flow, CHUNK))]
        s, log_det = (torch.cat(parts) for parts in zip(*there, strict=True))
        log_det = log_det + chart.to_x(s)[1]
        inside = log_det.isfinite()
        again = torch.where(inside[:, None], chart.recover(s), s)
        parts = again.split(at_once(flow, CHUNK))
        back = torch.cat([flow.inverse(part, steps)[0] for part in parts])
        rows = max(1, _JACOBIANS_AT_ONCE // flow.dim**2)
        signs, errors = [], [torch.zeros(1)]
        for part in torch.arange(min(checked, len(z))).split(rows):
            along = _dense_jacobians(flow, z[part], steps)
            signs.append(torch.linalg.slogdet(along)[0])
            here = part[inside[part]]
            dense = chart.dense_log_det(s[here], along[inside[part]])
            errors.append((dense - log_det[here]).abs())
    sign = torch.cat(signs)
    return Certificates(
        checked=len(sign),
        negative=int((sign <= 0).sum()),
        log_det_error=float(torch.cat(errors).max()),
        round_trip=float(difference(back, z, flow.n_linear).abs().max()),
        inverted=inverted,
    )


def _dense_jacobians(flow: Flow, z: Tensor, steps: int) -> Tensor:
    """Jacobians of the K-step map at z (batch, dim), as many at once as memory allows."""
    passes = at_once(flow, 100 * flow.dim)  # a sample takes one in each direction
    parts = z.split(max(1, passes // flow.dim))
    together = min(passes, flow.dim)
    return torch.cat([_dense_jacobian(flow, part, steps, together) for part in parts])


def _dense_jacobian(flow: Flow, z: Tensor, steps: int, together: int) -> Tensor:
    """Jacobian of the K-step map, (batch, dim, dim), by forward-mode passes.

    Args:
        flow, z, steps: the map, and where.
        together: columns that are computed at once.
    """
    eye = torch.eye(z.shape[-1], dtype=z.dtype)
    z = z.clone()  # the tangents of a view are as large as all that it is a view of

    def column(direction: Tensor) -> Tensor:
        tangent = direction.expand_as(z)
        return torch.func.jvp(lambda state: flow(state, steps)[0], (z,), (tangent,))[1]

    return torch.func.vmap(column, chunk_size=together)(eye).movedim(0, -1)
