"""Final numbers of a run: samples and evidence at every K, free energies, and their files."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onestep_md.analysis.torsions import Quad, find_torsions, region_membership, torsion_angles
from onestep_md.analysis.trajectories import write_trajectory
from onestep_md.config import Config
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.coordinates.positions import PositionChart
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.estimate import z_score
from onestep_md.estimators.evidence import Evidence
from onestep_md.estimators.free_energy import (
    RegionFreeEnergy,
    dynamics_free_energies,
    region_free_energies,
)
from onestep_md.files import replacing, write_json, write_text
from onestep_md.progress import Display
from onestep_md.results.conformations import (
    BEYOND_CHART,
    compare_samples,
    distance_histograms,
    domain_lines,
    unflipped_rings,
)
from onestep_md.results.conformations import table as distance_table
from onestep_md.results.evidence import cost, evidence_table, measure
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.model import Model
from onestep_md.sampling.sampler import Sampler, sampler_of
from onestep_md.targets.molecule import Molecule

_EXPORTED_STEPS = 1  # the trajectory of a run is the one-step ensemble


@dataclass(frozen=True)
class _Sampled:
    """Samples of one K; torsions (n, torsions) in radians, how many are not as they are held."""

    samples: Samples
    evidence: Evidence
    torsions: np.ndarray
    outside: dict[str, int]


def write_results(
    config: Config,
    molecule: Molecule,
    model: Model,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
    exploration_seconds: float,
) -> None:
    """Sample at every K of `sample.steps`, estimate, print the tables and write the files."""
    start, counted = time.monotonic(), evaluators.evaluations
    torsions = find_torsions(molecule.pdb_text, config.sample.torsions)
    names, quads = list(torsions), list(torsions.values())
    sampler = sampler_of(model)
    sampled = {k: _sampled(config, sampler, evaluators, k, quads) for k in config.sample.steps}
    one = sampled[_EXPORTED_STEPS]
    generator = np.random.default_rng(config.seed)
    write_trajectory(
        folder,
        molecule.pdb_text,
        one.samples.x,
        one.samples.log_w,
        one.samples.u,
        one.samples.log_q,
        generator,
    )
    exploration = model.exploration
    explored_by = config.exploration.method
    angles = torsion_angles(exploration.frames, quads)
    arrays: dict[str, Any] = {"dynamics_torsions": angles, "dynamics_u": exploration.u}
    for k, row in sampled.items():
        arrays[f"k{k}_log_w"], arrays[f"k{k}_u"] = row.samples.log_w, row.samples.u
        arrays[f"k{k}_torsions"] = row.torsions
    arrays |= distance_histograms(molecule, one.samples, exploration.frames)
    with replacing(folder / "steps.npz") as aside:
        np.savez(aside, **arrays)

    free_energies, explored = {}, []
    if config.regions:
        free_energies = {k: _flow_regions(config, names, row) for k, row in sampled.items()}
        reference = free_energies[_EXPORTED_STEPS][0].reference
        explored = dynamics_regions(config, names, angles, exploration.replica, reference)
    distances = compare_samples(one.samples, one.torsions, model, angles, explored_by, config.seed)
    evidence, isomers = [row.evidence for row in sampled.values()], find_molecule_isomers(molecule)
    outside = {k: row.outside for k, row in sampled.items()}
    table = evidence_table(evidence) + domain_lines(outside)
    table += distance_table(distances) + free_energy_table(
        molecule.kT, free_energies.get(_EXPORTED_STEPS, []), explored, explored_by
    )
    warnings = [text for row in evidence for text in row.warnings()] + evaluators.gaps.warnings()
    if explored_by == "dynamics":
        warnings += unflipped_rings(molecule, exploration.frames)
    for line in (*table, *(f"WARNING {text}" for text in warnings)):
        display.say(line)
    write_text(folder / "free_energy.txt", "\n".join(table) + "\n")
    regions = _free_energy_json(config, molecule, free_energies, explored)
    write_json(folder / "free_energy.json", regions)
    write_json(
        folder / "results.json",
        {
            "kind": "molecule",
            "fingerprint": molecule.fingerprint.as_dict(),
            "torsions": names,
            "explored_by": explored_by,
            "evidence": [row.as_dict() for row in evidence],
            "isomers": {"held": isomers.held, "sampled": isomers.sampled},
            "outside": outside,
            "distances": {name: row.as_dict() for name, row in distances.items()},
            **cost(model, exploration_seconds, evaluators.evaluations - counted, start),
            "exchange_acceptance": [float(rate) for rate in exploration.exchange_acceptance],
            "warnings": warnings,
        },
    )


def _sampled(
    config: Config, sampler: Sampler, evaluators: Evaluators, steps: int, quads: list[Quad]
) -> _Sampled:
    samples, evidence = measure(
        sampler,
        evaluators,
        config.sample.count(steps),
        steps,
        config.seed,
        config.sample.auxiliaries,
    )
    assert isinstance(sampler.chart, MolecularChart | PositionChart)
    masks = sampler.chart.coordinates.domain.violations(torch.from_numpy(samples.x))
    known = torch.stack(list(masks.values())).any(0).numpy()
    outside = {reason: int(mask.sum()) for reason, mask in masks.items()}
    outside[BEYOND_CHART] = int((~np.isfinite(samples.log_q) & ~known).sum())
    return _Sampled(samples, evidence, torsion_angles(samples.x, quads), outside)


def _flow_regions(config: Config, names: list[str], row: _Sampled) -> list[RegionFreeEnergy]:
    return region_free_energies(
        list(config.regions),
        region_membership(row.torsions, names, config.regions),
        row.samples.log_w,
        None,
        np.random.default_rng(config.seed),
    )


def dynamics_regions(
    config: Config,
    names: list[str],
    angles: np.ndarray,
    walkers: np.ndarray,
    reference: str | None,
) -> list[RegionFreeEnergy]:
    """Free energies of the configured regions from the equally weighted frames explored.

    Args:
        config: with the regions.
        names: the torsions.
        angles: (n, torsions) radians.
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


def free_energy_table(
    kT: float,
    flow: list[RegionFreeEnergy],
    explored: list[RegionFreeEnergy],
    explored_by: str,
) -> list[str]:
    """One line per region: reweighted one-step samples beside the exploration."""
    if not flow:
        return []
    lines = [
        "",
        f"free energies relative to {flow[0].reference} (one step, reweighted | {explored_by})",
        f"  {'':<10} {'':<40}  {'effective':>9}  {'k-hat':>5} |",
    ]
    for ours, theirs in zip(flow, explored, strict=True):
        z = z_score(ours.delta_f, theirs.delta_f)
        beside = "" if math.isnan(z) or ours.name == ours.reference else f"z = {z:+.1f}"
        line = (
            f"  {ours.name:<10} {ours.delta_f.format_kt_and_kj(kT):<40}  {ours.effective:>9.1f}  "
            f"{ours.khat:>5.2f} | {theirs.delta_f.format('kT'):<16} {beside:<9} {ours.mark}"
        )
        lines.append(line.rstrip())
    return lines


def _free_energy_json(
    config: Config,
    molecule: Molecule,
    free_energies: dict[int, list[RegionFreeEnergy]],
    explored: list[RegionFreeEnergy],
) -> dict:
    rows = []
    for ours, theirs in zip(free_energies.get(_EXPORTED_STEPS, []), explored, strict=True):
        rows.append(
            {
                "name": ours.name,
                "torsions": config.regions[ours.name],
                "reference": ours.reference,
                "delta_f": ours.delta_f.value,
                "d_delta_f": ours.delta_f.error,
                "probability": ours.probability.value,
                "d_probability": ours.probability.error,
                "samples_inside": ours.n_samples_inside,
                "effective_samples": ours.effective,
                "khat": ours.khat,
                "few_samples": ours.few,
                "heavy_tail": ours.heavy_tail,
                "dynamics_delta_f": theirs.delta_f.value,
                "dynamics_d_delta_f": theirs.delta_f.error,
                "dynamics_probability": theirs.probability.value,
                "dynamics_d_probability": theirs.probability.error,
                "per_steps": {
                    str(k): asdict(next(r for r in regions if r.name == ours.name).delta_f)
                    for k, regions in free_energies.items()
                },
            }
        )
    return {
        "temperature": molecule.temperature,
        "kT_kJ_per_mol": molecule.kT,
        "regions": rows,
    }
