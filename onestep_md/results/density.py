"""Final numbers of a run on a density: samples and evidence at every K beside the known log Z."""

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
from onestep_md.results.evidence import cost, evidence_table, measure_all, say_results
from onestep_md.results.particles import compare_all, particle_ensembles, particle_histograms
from onestep_md.results.particles import table as particle_table
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

    `particles` is the density where it is one of particles.
    """
    start, counted = time.monotonic(), evaluators.evaluations
    sampler = sampler_of(model)
    known = _exact_samples(target, config)
    reference = known or sampler.held_out
    measured = measure_all(config, sampler, evaluators, reference)
    exported, evidence = measured[_EXPORTED_STEPS][0], [row for _, row in measured.values()]
    write_samples(folder, exported.u, exported.log_q, exported.log_w, exported.x)
    ensembles = particle_ensembles(particles, model, exported) if particles else {}
    write_density_arrays(
        folder,
        {k: DensitySamples(samples.log_w, samples.x) for k, (samples, _) in measured.items()},
        _shown(particles, reference.x, config.seed),
        particle_histograms(ensembles) if particles else {},
    )

    known_modes = target.density.modes
    modes = {k: found_modes(samples.x, known_modes) for k, (samples, _) in measured.items()}
    results = DensityResults(
        fingerprint=target.fingerprint.as_dict(),
        evidence=tuple(evidence),
        cost=cost(model, exploration_seconds, evaluators.evaluations - counted, start),
        evidence_warnings=tuple(text for row in evidence for text in row.warnings()),
        run_warnings=tuple(evaluators.gaps.warnings()),
        exact_samples=known is not None,
        modes=None if known_modes is None else len(known_modes),
        modes_found=modes,
        particles=compare_all(ensembles, config.seed) if particles else {},
    )
    table = evidence_table(evidence) + comparison(evidence, target, modes)
    if particles:
        table += particle_table(results.particles, particles.dim)
    say_results(folder, table, results, display)


def found_modes(x: np.ndarray, modes: torch.Tensor | None) -> int | None:
    """How many of the modes (m, dim) have their share among the samples (n, dim), unweighted."""
    if modes is None:
        return None
    nearest = torch.cdist(torch.from_numpy(x), modes).argmin(1).numpy()
    share = np.bincount(nearest, minlength=len(modes)) / len(x)
    return int((share >= MODE_SHARE / len(modes)).sum())


def comparison(
    evidence: list[Evidence], target: DensitySource, modes: dict[int, int | None]
) -> list[str]:
    """Lines that set the evidence beside what is known of the density."""
    lines = []
    if target.density.log_z is not None:
        lines.append(f"known log Z = {target.density.log_z:.6g}; estimate minus known:")
        for row in evidence:
            off = row.log_z.value - target.density.log_z
            lines.append(f"  K = {row.steps:<3} {off:+.4f} +- {row.log_z.error:.4f}")
    if target.density.modes is not None:
        found = ", ".join(f"{count} at K = {steps}" for steps, count in modes.items())
        lines.append(f"modes found, of {len(target.density.modes)}: {found}")
    return lines


def _shown(particles: Particles | None, x: np.ndarray, seed: int) -> np.ndarray:
    """Samples (n, dim) of the target for figures of single coordinates.

    Particles of an annealing have the orientation and the order of their few ancestors.
    """
    if particles is None:
        return x
    return particles.draw_images(torch.from_numpy(x), torch.Generator().manual_seed(seed)).numpy()


def _exact_samples(target: DensitySource, config: Config) -> TargetSamples | None:
    """Where the density has a sampler."""
    generator = torch.Generator().manual_seed(config.seed)
    x = target.density.sample(config.sample.n, generator)
    if x is None:
        return None
    return TargetSamples(x.numpy(), -target.density.log_prob(x).numpy(), None)
