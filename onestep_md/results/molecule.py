"""Final numbers of a run on a molecule: samples and evidence at every K, free energies."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.conformer_text import conformer_table
from onestep_md.analysis.records.molecule import (
    Isomers,
    MoleculeResults,
    MoleculeSamples,
    Region,
    write_molecule_arrays,
)
from onestep_md.analysis.torsions import region_membership, torsion_angles
from onestep_md.analysis.trajectories import write_trajectory
from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.coordinates.positions import PositionChart
from onestep_md.coordinates.ring_chart import RingChart
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.estimate import z_score
from onestep_md.estimators.free_energy import (
    RegionFreeEnergy,
    dynamics_free_energies,
    region_free_energies,
)
from onestep_md.progress import Display
from onestep_md.results.conformations import (
    BEYOND_CHART,
    compare_samples,
    distance_histograms,
    distance_table,
    domain_lines,
    ring_warnings,
)
from onestep_md.results.conformers import Explored, find_conformers, write_sdf
from onestep_md.results.evidence import evidence_table, measure_all, show_and_write, sum_cost
from onestep_md.results.torsions import reported_torsions
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.model import Model
from onestep_md.sampling.sampler import sampler_of
from onestep_md.targets.molecule import Molecule

_EXPORTED_STEPS = 1  # the trajectory of a run is the one-step ensemble


def write_molecule_results(
    config: Config,
    molecule: Molecule,
    model: Model,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
    exploration_seconds: float,
) -> None:
    """Sample at every K of `sample.steps`, estimate, print the tables and write the files."""
    start, evaluations = time.monotonic(), evaluators.evaluations
    torsions = reported_torsions(config, molecule)
    names, quads = list(torsions), list(torsions.values())
    sampler, exploration = sampler_of(model), model.exploration
    measured = measure_all(config, sampler, evaluators)
    samples, evidence = measured[_EXPORTED_STEPS][0], [row for _, row in measured.values()]
    steps = {
        k: MoleculeSamples(drawn.log_w, drawn.u, torsion_angles(drawn.x, quads))
        for k, (drawn, _) in measured.items()
    }
    generator = np.random.default_rng(config.seed)
    write_trajectory(
        folder, molecule.pdb_text, samples.x, samples.log_w, samples.u, samples.log_q, generator
    )
    explored = torsion_angles(exploration.frames, quads)
    histograms = distance_histograms(molecule, samples, exploration.frames)
    write_molecule_arrays(folder, steps, explored, exploration.u, histograms)

    method = config.exploration.method
    explored_by = "bridge" if method == "run" else method
    regions = _estimate_regions(config, names, steps, explored, exploration.replica)
    angles = steps[_EXPORTED_STEPS].torsions
    distances = compare_samples(samples, angles, model, explored, explored_by, config.seed)
    outside = {k: _count_outside(sampler.chart, drawn) for k, (drawn, _) in measured.items()}
    run_warnings = evaluators.gaps.warnings()
    if explored_by == "dynamics":
        run_warnings += ring_warnings(molecule, exploration.frames)
    conformers = find_conformers(
        molecule,
        torsions,
        samples,
        Explored(exploration.frames, exploration.replica),
        config.seed,
    )
    if conformers:
        run_warnings += write_sdf(folder, molecule, conformers, samples.x)
    isomers = find_molecule_isomers(molecule)
    results = MoleculeResults(
        fingerprint=molecule.fingerprint.as_dict(),
        evidence=tuple(evidence),
        cost=sum_cost(model, exploration_seconds, evaluators.evaluations - evaluations, start),
        evidence_warnings=tuple(text for row in evidence for text in row.warnings()),
        run_warnings=tuple(run_warnings),
        temperature=molecule.temperature,
        kT=molecule.kT,
        torsions=tuple(names),
        torsion_atoms=tuple(quads),
        regions=regions,
        explored_by=explored_by,
        isomers=Isomers(held=tuple(isomers.held), sampled=tuple(isomers.sampled), outside=outside),
        acceptance=tuple(float(rate) for rate in exploration.exchange_acceptance),
        distances=distances,
        conformers=conformers,
    )
    table = evidence_table(evidence) + domain_lines(outside)
    table += distance_table(distances) + free_energy_table(molecule.kT, regions, explored_by)
    table += conformer_table(molecule.kT, conformers, explored_by)
    show_and_write(folder, table, results, display)


def _count_outside(chart: Chart, samples: Samples) -> dict[str, int]:
    """Count the samples outside of the domain, by reason."""
    assert isinstance(chart, MolecularChart | PositionChart | RingChart)
    masks = chart.coordinates.domain.violations(torch.from_numpy(samples.x))
    counted = torch.stack(list(masks.values())).any(0).numpy()
    outside = {reason: int(mask.sum()) for reason, mask in masks.items()}
    outside[BEYOND_CHART] = int((~np.isfinite(samples.log_q) & ~counted).sum())
    return outside


def _estimate_regions(
    config: Config,
    names: list[str],
    steps: Mapping[int, MoleculeSamples],
    explored: np.ndarray,
    walkers: np.ndarray,
) -> tuple[Region, ...]:
    """Free energies of the configured regions, from the samples of every K and explored frames."""
    if not config.regions:
        return ()
    flow = {
        k: region_free_energies(
            list(config.regions),
            region_membership(samples.torsions, names, config.regions),
            samples.log_w,
            None,
            np.random.default_rng(config.seed),
        )
        for k, samples in steps.items()
    }
    reference = flow[_EXPORTED_STEPS][0].reference
    explored_regions = dynamics_regions(config, names, explored, walkers, reference)
    return tuple(
        Region(
            ranges=config.regions[region.name],
            flow={k: rows[i] for k, rows in flow.items()},
            explored=region,
        )
        for i, region in enumerate(explored_regions)
    )


def dynamics_regions(
    config: Config,
    names: list[str],
    angles: np.ndarray,
    walkers: np.ndarray,
    reference: str | None,
) -> list[RegionFreeEnergy]:
    """Free energies of the configured regions from explored frames of equal weight.

    Args:
        config: holds the regions.
        names: names of the torsions.
        angles: (n, torsions) torsions of the frames, radians.
        walkers: (n,) trajectory of each frame, in time order, or island of an annealing.
        reference: region with delta_f = 0; None for the most populated one.
    """
    return dynamics_free_energies(
        list(config.regions),
        region_membership(angles, names, config.regions),
        walkers,
        reference,
        np.random.default_rng(config.seed),
    )


def free_energy_table(kT: float, regions: Sequence[Region], explored_by: str) -> list[str]:
    """Format one line per region: reweighted one-step samples beside the exploration."""
    if not regions:
        return []
    reference = regions[0].one_step.reference
    lines = [
        "",
        f"free energies relative to {reference} (one step, reweighted | {explored_by})",
        f"  {'':<10} {'':<40}  {'effective':>9}  {'k-hat':>5} |",
    ]
    for region in regions:
        flow, explored = region.one_step, region.explored
        z = z_score(flow.delta_f, explored.delta_f)
        score = "" if math.isnan(z) or flow.name == flow.reference else f"z = {z:+.1f}"
        line = (
            f"  {flow.name:<10} {flow.delta_f.format_kt_and_kj(kT):<40}  {flow.effective:>9.1f}  "
            f"{flow.khat:>5.2f} | {explored.delta_f.format('kT'):<16} {score:<9} {flow.mark}"
        )
        lines.append(line.rstrip())
    return lines
