"""Numbers of a run that only particles have: distances, energies, virial.

One-step samples, raw and reweighted, and the annealing that trained the flow are compared with the
held-out samples of the annealing.
"""

from collections.abc import Mapping

import numpy as np
import torch

from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.distances import ParticleComparison, ParticleSamples, compare_particles
from onestep_md.estimators.histograms import histograms, pair_distances
from onestep_md.sampling.draw import Samples, virials
from onestep_md.sampling.model import Model
from onestep_md.targets.particles import Particles


def particle_ensembles(
    density: Particles, model: Model, samples: Samples
) -> dict[str, ParticleSamples]:
    """Collect raw, reweighted, annealing and reference samples."""
    explored = model.exploration
    ensembles = {
        name: _make_ensemble(density, samples.x, samples.u, samples.virial, log_w)
        for name, log_w in (("raw", np.zeros_like(samples.u)), ("reweighted", samples.log_w))
        if np.isfinite(log_w).any()
    }
    for name, chosen in (("annealing", model.training), ("reference", ~model.training)):
        u = explored.u[chosen]
        # relatives are neighbours in the order of the samples
        inefficiency = statistical_inefficiency(u, explored.replica[chosen])
        ensembles[name] = _make_ensemble(
            density,
            explored.frames[chosen],
            u,
            virials(explored.frames[chosen], explored.grad_u[chosen]),
            np.zeros_like(u),
            inefficiency,
        )
    return ensembles


def compare_all(ensembles: dict[str, ParticleSamples], seed: int) -> dict[str, ParticleComparison]:
    """Compare raw, reweighted and annealing samples with the reference."""
    generator = np.random.default_rng(seed)
    reference = ensembles["reference"]
    return {
        name: compare_particles(ensembles[name], reference, generator)
        for name in ("raw", "reweighted", "annealing")
        if name in ensembles
    }


def particle_histograms(ensembles: dict[str, ParticleSamples]) -> dict[str, np.ndarray]:
    """Make histograms of the distances of particles and of the energies."""
    distances = {name: pair_distances(kind.positions) for name, kind in ensembles.items()}
    shown = [name for name in ("raw", "reweighted", "annealing") if name in ensembles]
    return histograms(
        "distance",
        {name: (distances[name], ensembles[name].log_w) for name in shown},
        distances["reference"],
        positive=True,
    ) | histograms(
        "energy",
        {name: (ensembles[name].u[:, None], ensembles[name].log_w) for name in shown},
        ensembles["reference"].u,
        positive=False,
    )


def particle_table(rows: Mapping[str, ParticleComparison], dim: int) -> list[str]:
    """Format one line per kind of samples."""
    lines = [
        "",
        f"{'particles, K = 1':<18}  {'aligned W2':>10}  {'E-W2':>8}  {'mean energy':>18}  "
        f"{f'virial ({dim})':>18}",
    ]
    for name, row in rows.items():
        lines.append(
            f"{name:<18}  {row.w2:10.3f}  {row.energy_w2:8.3g}  "
            f"{row.mean_energy:9.3f} +- {row.d_mean_energy:5.3f}  "
            f"{row.virial:9.3g} +- {row.d_virial:5.2g}"
        )
    return lines


def _make_ensemble(
    density: Particles,
    x: np.ndarray,
    u: np.ndarray,
    virial: np.ndarray,
    log_w: np.ndarray,
    inefficiency: float = 1.0,
) -> ParticleSamples:
    positions = density.positions(torch.from_numpy(x)).numpy()
    return ParticleSamples(positions, u, virial, log_w, inefficiency)
