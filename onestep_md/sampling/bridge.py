r"""The bridge from a trained flow to another density of the same atoms: annealing in its latents.

The flow F maps its base p_0 to q, near the target that it was trained for. Pulled back through F
and the chart, another density p(x) ~ exp(-u(x)) is one of the latent z:

    p(z) ~ exp(-e(z)),    e(z) = u(x(z)) - log|det dF/dz| - log|det dx/ds|

and where q is near p, p(z) is near p_0. Annealed sequential Monte Carlo from p_0 to p(z) moves in
these coordinates, in which both are smooth and of width one; its mean weights give log Z of p.
This is annealed importance sampling with a learned base, a stochastic normalizing flow (Wu,
Koehler and Noe, arXiv 2002.06707; the sequential form: Arbel, Matthews and Doucet, 2102.07501).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onestep_md.coordinates.base import Chart, pull_back_along
from onestep_md.distributed.pool import Energies
from onestep_md.estimators.estimate import Estimate
from onestep_md.exploration.annealing import anneal_from
from onestep_md.exploration.chart_density import ChartBase
from onestep_md.exploration.smc import Progress
from onestep_md.flow.base import Flow
from onestep_md.sampling.draw import CHUNK, Samples, at_once
from onestep_md.sampling.sampler import Sampler
from onestep_md.targets.gaps import fill_gradients

_SURPLUS = 10  # one-step samples drawn for every particle


@dataclass(frozen=True)
class Bridged:
    """Configurations of equal weight, and what annealing says of their density.

    Attributes:
        x: (n, ...) configurations, relatives side by side.
        u: (n,) reduced energies.
        log_q: (n,) log density of the flow; with auxiliary coordinates, divided by theirs.
        island: (n,) rising, the population that each descends from.
        founder: (n,) rising, the particle of the start that each descends from.
        log_z: of exp(-u), its error from the spread over islands.
        temperatures: (m,) inverse temperatures from p_0 to p.
        acceptance: (m,) of the moves at each of them.
        evaluations: energies with gradients.
    """

    x: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    island: np.ndarray
    founder: np.ndarray
    log_z: Estimate
    temperatures: np.ndarray
    acceptance: np.ndarray
    evaluations: int

    @property
    def founders(self) -> float:
        """Effective number of the start's particles that have descendants."""
        share = np.bincount(self.founder) / len(self.founder)
        return float(1.0 / (share**2).sum())

    def as_samples(self) -> Samples:
        """The configurations as samples of equal weight."""
        n = len(self.u)
        zeros, unknown = np.zeros(n), np.full(n, np.nan)
        return Samples(self.x, self.u, self.log_q, zeros, zeros, unknown, 0.0)


def bridge(
    sampler: Sampler,
    evaluators: Energies,
    particles: int,
    moves: int,
    seed: int,
    progress: Progress,
    saved: Path | None = None,
) -> Bridged:
    """Anneal from the base of a flow to the density of the evaluators.

    Args:
        sampler: chart and float64 flow.
        evaluators: of any density of the same atoms.
        particles: at least 64.
        moves: of MALA at every temperature.
        seed: determines everything, for given energies.
        progress: is told the fraction done and a message.
        saved: file that keeps the pass, and that an interrupted one goes on from.

    Raises:
        TargetError: the energies are no numbers, or infinite nearly everywhere.
    """
    energy = LatentEnergy(sampler.flow, sampler.chart, evaluators)
    found = anneal_from(
        ChartBase(sampler.chart), energy, particles, seed, moves, 1, progress, saved, _SURPLUS
    )
    z = torch.from_numpy(found.x)
    x, log_det = energy.to_x(z)
    return Bridged(
        x=x.numpy(),
        u=found.u + log_det.numpy(),
        log_q=(sampler.chart.log_base(z) - log_det).numpy(),
        island=found.island,
        founder=found.founder,
        log_z=Estimate(found.log_z, found.d_log_z),
        temperatures=found.temperatures,
        acceptance=found.acceptance,
        evaluations=found.evaluations,
    )


def pass_file(
    folder: Path, sampler: Sampler, identity: str, particles: int, moves: int, seed: int
) -> Path:
    """Name the file that keeps an interrupted bridge: another one for whatever changes it.

    Args:
        folder: where it lies.
        sampler: that the bridge starts from.
        identity: of the target it leads to.
        particles, moves, seed: as of `bridge`.
    """
    digest = hashlib.sha256(f"{identity} {particles} {moves} {seed}".encode())
    for _, weights in sorted(sampler.flow.weights().items()):
        digest.update(weights.detach().cpu().numpy().tobytes())
    return folder / f"pass-{digest.hexdigest()[:12]}.npz"


class LatentEnergy:
    """e(z) and its gradient: the density of the evaluators, pulled back through flow and chart."""

    def __init__(self, flow: Flow, chart: Chart, evaluators: Energies):
        self.flow, self.chart, self.evaluators = flow, chart, evaluators

    def to_x(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Configurations of latents z (n, dim), and log|det dx/dz| (n,)."""
        with torch.no_grad():
            parts = [self._map(part) for part in z.split(at_once(self.flow, CHUNK))]
        x, log_det = zip(*parts, strict=True)
        return torch.cat(x), torch.cat(log_det)

    def evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies e (n,), +inf outside of the chart, and gradients (n, dim) of latents z."""
        pending = []
        for part in torch.from_numpy(z).split(at_once(self.flow, CHUNK)):
            latent = part.detach().requires_grad_()
            with torch.enable_grad():
                x, log_det = self._map(latent)
            pending.append((latent, x, log_det, self.evaluators.submit(x.detach().numpy())))
        energy, gradient = [], []
        for latent, x, log_det, ticket in pending:
            u, grad_u = self.evaluators.collect(ticket)
            e = u - log_det.detach().numpy()
            outside = ~np.isfinite(e)
            force = pull_back_along(latent, x, log_det, torch.from_numpy(fill_gradients(grad_u)))
            energy.append(np.where(outside, np.inf, e))
            gradient.append(np.where(outside[:, None], 0.0, -force.numpy()))
        return np.concatenate(energy), np.concatenate(gradient)

    def _map(self, z: Tensor) -> tuple[Tensor, Tensor]:
        s, log_det = self.flow(z, 1)
        x, log_det_chart = self.chart.to_x(s)
        return x, log_det + log_det_chart
