"""Final numbers of a run on a density: samples, and evidence at every K beside the known log Z."""

import time
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.records.density import (
    DensityResults,
    DensitySamples,
    write_density_arrays,
)
from onestep_md.analysis.records.samples import write_samples
from onestep_md.config import Config
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.evidence import Evidence
from onestep_md.estimators.limits import MODE_SHARE
from onestep_md.progress import Display
from onestep_md.results.evidence import evidence_table, measure_all, show_and_write, sum_cost
from onestep_md.results.particles import (
    compare_all,
    particle_ensembles,
    particle_histograms,
    particle_table,
)
from onestep_md.sampling.draw import TargetSamples
from onestep_md.sampling.model import Model
from onestep_md.sampling.sampler import sampler_of
from onestep_md.targets.density_source import DensitySource
from onestep_md.targets.particles import Particles

_EXPORTED_STEPS = 1


def write_density_results(
    config: Config,
    target: DensitySource,
    model: Model,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
    exploration_seconds: float,
    particles: Particles | None,
) -> None:
    """Sample at every K of `sample.steps`, estimate, print the table and write the files.

    `particles` is the density if it is one of particles, else None.
    """
    start, evaluations = time.monotonic(), evaluators.evaluations
    sampler = sampler_of(model)
    exact = _draw_exact_samples(target, config)
    reference = exact or sampler.held_out
    measured = measure_all(config, sampler, evaluators, reference)
    exported, evidence = measured[_EXPORTED_STEPS][0], [row for _, row in measured.values()]
    write_samples(folder, exported.u, exported.log_q, exported.log_w, exported.x)
    ensembles = particle_ensembles(particles, model, exported) if particles else {}
    write_density_arrays(
        folder,
        {k: DensitySamples(samples.log_w, samples.x) for k, (samples, _) in measured.items()},
        _figure_samples(particles, reference.x, config.seed),
        particle_histograms(ensembles) if particles else {},
    )

    known_modes = target.density.modes
    modes = {k: count_modes(samples.x, known_modes) for k, (samples, _) in measured.items()}
    results = DensityResults(
        fingerprint=target.fingerprint.as_dict(),
        evidence=tuple(evidence),
        cost=sum_cost(model, exploration_seconds, evaluators.evaluations - evaluations, start),
        evidence_warnings=tuple(text for row in evidence for text in row.warnings()),
        run_warnings=tuple(evaluators.gaps.warnings()),
        exact_samples=exact is not None,
        modes=None if known_modes is None else len(known_modes),
        modes_found=modes,
        particles=compare_all(ensembles, config.seed) if particles else {},
    )
    table = evidence_table(evidence) + known_value_lines(evidence, target, modes)
    if particles:
        table += particle_table(results.particles, particles.dim)
    show_and_write(folder, table, results, display)


def count_modes(x: np.ndarray, modes: torch.Tensor | None) -> int | None:
    """Count the modes (m, dim) to which enough of the raw samples (n, dim) are nearest."""
    if modes is None:
        return None
    nearest = torch.cdist(torch.from_numpy(x), modes).argmin(1).numpy()
    fraction = np.bincount(nearest, minlength=len(modes)) / len(x)
    return int((fraction >= MODE_SHARE / len(modes)).sum())


def known_value_lines(
    evidence: list[Evidence], target: DensitySource, modes: dict[int, int | None]
) -> list[str]:
    """Format the evidence beside the known log Z and modes of the density."""
    lines = []
    if target.density.log_z is not None:
        lines.append(f"known log Z = {target.density.log_z:.6g}; estimate minus known:")
        for row in evidence:
            off = row.log_z.value - target.density.log_z
            lines.append(f"  K = {row.steps:<3} {off:+.4f} +- {row.log_z.error:.4f}")
    if target.density.modes is not None:
        counts = ", ".join(f"{count} at K = {steps}" for steps, count in modes.items())
        lines.append(f"modes found, of {len(target.density.modes)}: {counts}")
    return lines


def _figure_samples(particles: Particles | None, x: np.ndarray, seed: int) -> np.ndarray:
    """Samples (n, dim) of the target for figures of single coordinates.

    Particles of an annealing have the orientation and the order of their few ancestors, so random
    images of them are drawn.
    """
    if particles is None:
        return x
    return particles.draw_images(torch.from_numpy(x), torch.Generator().manual_seed(seed)).numpy()


def _draw_exact_samples(target: DensitySource, config: Config) -> TargetSamples | None:
    """Draw from the density's own sampler, if it has one."""
    generator = torch.Generator().manual_seed(config.seed)
    x = target.density.sample(config.sample.n, generator)
    if x is None:
        return None
    return TargetSamples(x.numpy(), -target.density.log_prob(x).numpy(), None)
