r"""Draw weighted samples from a trained flow and collect the evidence that they can be trusted.

Weight of a K-step sample, exact for the map that was run (float64 throughout):

    log q(x) = log p0(z) - sum_k log|det DF_k| - log|det dx/ds|
    log w    = -u(x) - log q(x)

so that E_q[w] = Z and E_q[log w] <= log Z <= E_p[log w] at every K, one step included.

Where states have auxiliary coordinates a of a known density pi(a) besides x, the flow has the
joint density q(x, a), and every a gives an estimate q(x, a) / pi(a) of q(x). The weight takes the
mean of m of them, of the a_1 that the flow made with x and of a_2, ..., a_m drawn from pi:

    log q(x) ~ log 1/m sum_j q(x, a_j) / pi(a_j)

Exact at every m: which of the m made x is forgotten, so that (x, a_1, ..., a_m) has the density
1/m sum_j q(x, a_j) prod_{i != j} pi(a_i), the target's is p(x) prod_j pi(a_j), and the weight is
their ratio (hierarchical variational inference: Sobolev and Vetrov, arXiv 1905.03290). It costs
m - 1 inverses, and approaches p(x) / q(x). At K = 0 one draw is enough: q(x, a) / pi(a) is the
same for every a.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import Energies
from onestep_md.estimators.weights import stored_weights
from onestep_md.flow.base import Flow

_IN_FLIGHT = 2 * 10**8  # numbers of the samples that pass a flow at once: 1.6 GB
CHUNK = 2048  # of them at the most: keeps evaluators and flow overlapping


@dataclass(frozen=True)
class Samples:
    """Weighted conformations from one K-step map.

    Attributes:
        x: (n, atoms, 3) nm.
        u: (n,) reduced potential, +inf where it overflows.
        log_q: (n,) log-density of the flow at x; rigid-body motion is integrated out. Where there
            are auxiliary coordinates, the estimate that the weight is made of.
        log_w: (n,) -u - log_q, -inf where u is +inf.
        log_w_joint: (n,) the same with the flow's own auxiliary coordinates alone.
        virial: (n,) x . grad u, the number of coordinates in the mean over the target.
        seconds: wall time for drawing them, energies and weights included.
    """

    x: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    log_w: np.ndarray
    log_w_joint: np.ndarray
    virial: np.ndarray
    seconds: float

    @property
    def weights(self) -> np.ndarray:
        """Weights (n,) that sum to one; nan where no sample has any."""
        return stored_weights(self.log_w)


@dataclass(frozen=True)
class TargetSamples:
    """Samples of the target that the flow has not learned from, for EUBO and BAR.

    Attributes:
        x: (n, ...) configurations.
        u: (n,) reduced potentials.
        walker: (n,) which trajectory each is from, in time order, or which island of an
            annealing, in its order; None: all independent.
    """

    x: np.ndarray
    u: np.ndarray
    walker: np.ndarray | None

    def at_most(self, n: int) -> "TargetSamples":
        """All, or n of them, evenly chosen."""
        chosen = np.unique(np.linspace(0, len(self.u) - 1, n).astype(int))
        walker = None if self.walker is None else self.walker[chosen]
        return TargetSamples(self.x[chosen], self.u[chosen], walker)


def draw_samples(
    flow: Flow,
    chart: Chart,
    evaluators: Energies,
    n: int,
    steps: int,
    generator: torch.Generator,
    auxiliaries: int = 1,
) -> Samples:
    """Draw n samples with K = `steps` evaluations of a float64 flow, and their exact weights.

    `auxiliaries` is the m of the weights at K > 0, 1 where the chart has no auxiliary coordinates.
    """
    start = time.perf_counter()
    base = chart.sample_base(n, generator)
    pending, positions, log_q, first = [], [], [], []
    with torch.no_grad():
        for z in base.split(at_once(flow, CHUNK)):
            s, log_det = flow(z, steps)
            x, log_det_chart = chart.to_x(s)
            pending.append(evaluators.submit(x.numpy()))
            positions.append(x)
            # outside the chart log_det_chart is -inf: log_q = +inf there and the weight is zero
            first.append(chart.log_base(z) - log_det - log_det_chart)
            log_q.append(_average(first[-1], flow, chart, s, steps, generator, auxiliaries))
        energies = [evaluators.collect(ticket) for ticket in pending]
    u = np.concatenate([energy for energy, _ in energies])
    virial = np.concatenate(
        [
            virials(part.numpy(), grad_u)
            for part, (_, grad_u) in zip(positions, energies, strict=True)
        ]
    )
    density, joint = torch.cat(log_q).numpy(), torch.cat(first).numpy()
    u = np.where(np.isfinite(density), u, np.inf)
    log_w, log_w_joint = (
        np.where(np.isfinite(u), -u - np.where(np.isfinite(log_q), log_q, 0.0), -np.inf)
        for log_q in (density, joint)
    )
    seconds = time.perf_counter() - start
    configurations = torch.cat(positions).numpy()
    return Samples(configurations, u, density, log_w, log_w_joint, virial, seconds)


def virials(x: np.ndarray, grad_u: np.ndarray) -> np.ndarray:
    """Virials x . grad u, (n,), of configurations and gradients (n, ...)."""
    return (x * grad_u).reshape(len(x), -1).sum(1)


def log_weights_at(
    flow: Flow,
    chart: Chart,
    x: np.ndarray,
    u: np.ndarray,
    steps: int,
    generator: torch.Generator,
    auxiliaries: int = 1,
) -> np.ndarray:
    """Log weights of given conformations, through the exact inverse; for EUBO and BAR.

    Args:
        flow: the trained flow, float64.
        chart: its chart.
        x: (n, atoms, 3) nm, samples of the target.
        u: (n,) their reduced potentials.
        steps: K of the map.
        generator: source of auxiliary coordinates.
        auxiliaries: the m of the weights at K > 0.

    Returns:
        (n,) log w; +inf where the flow has no density at all.
    """
    parts = []
    with torch.no_grad():
        # all at once: every call draws the same auxiliaries
        states = chart.from_x(torch.from_numpy(x))
        chunks = (rows.split(at_once(flow, CHUNK)) for rows in states)
        for s, log_det_chart in zip(*chunks, strict=True):
            log_q = _log_q(flow, chart, s, log_det_chart, steps)
            parts.append(_average(log_q, flow, chart, s, steps, generator, auxiliaries))
    return -u - torch.cat(parts).numpy()


def auxiliary_draws(auxiliaries: int, steps: int) -> int:
    """The m of the weights of the K-step map, where `auxiliaries` are asked for."""
    return auxiliaries if steps else 1


def at_once(flow: Flow, most: int) -> int:
    """How many samples may pass the flow together, `most` or as many as memory allows."""
    return max(1, min(most, _IN_FLIGHT // flow.footprint))


def _log_q(flow: Flow, chart: Chart, s: Tensor, log_det_chart: Tensor, steps: int) -> Tensor:
    """Log-density (batch,) of the flow at the configurations of states s (batch, dim)."""
    z, log_det = flow.inverse(s, steps)
    return chart.log_base(z) - log_det - log_det_chart


def _average(
    first: Tensor,
    flow: Flow,
    chart: Chart,
    s: Tensor,
    steps: int,
    generator: torch.Generator,
    auxiliaries: int,
) -> Tensor:
    """Logarithm of the mean of exp(first) and of as many more auxiliary draws as are wanted."""
    draws, estimates = auxiliary_draws(auxiliaries, steps), [first]
    for _ in range(draws - 1):
        s = chart.redraw(s, generator)
        estimates.append(_log_q(flow, chart, s, chart.to_x(s)[1], steps))
    return torch.logsumexp(torch.stack(estimates), dim=0) - math.log(draws)
