"""Final numbers of a run: samples and evidence at every K, free energies, and their files."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.torsions import Quad, find_torsions, region_membership, torsion_angles
from onestep_md.analysis.trajectories import write_trajectory
from onestep_md.atomic import replacing
from onestep_md.config import Config
from onestep_md.coordinates.molecule import isomers_of
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.estimate import ESS_NOTE, Estimate, agreement, percent_text
from onestep_md.estimators.evidence import Evidence, evaluate_evidence
from onestep_md.estimators.free_energy import (
    RegionFreeEnergy,
    dynamics_free_energies,
    region_free_energies,
)
from onestep_md.estimators.limits import ENOUGH_SAMPLES
from onestep_md.evaluate import (
    Samples,
    TargetSamples,
    affordable_jacobians,
    certify,
    draw_samples,
    log_weights_at,
)
from onestep_md.model import Model
from onestep_md.molecule_results import (
    BEYOND_CHART,
    compare_samples,
    distance_histograms,
    domain_lines,
)
from onestep_md.molecule_results import table as distance_table
from onestep_md.progress import Display
from onestep_md.run_folder import write_json, write_text
from onestep_md.sampler import Sampler, sampler_of
from onestep_md.stages import unflipped_rings
from onestep_md.targets.molecule import Molecule

_EXPORTED_STEPS = 1  # the trajectory of a run is the one-step ensemble
_ROUND_TRIPS = 10  # times as many samples are inverted as have a dense Jacobian, up to n


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
    explored_by = config.exploration.method or "dynamics"
    angles = torsion_angles(exploration.frames, quads)
    arrays = {"dynamics_torsions": angles, "dynamics_u": exploration.u}
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
    evidence, isomers = [row.evidence for row in sampled.values()], isomers_of(molecule)
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
    masks = sampler.chart.coordinates.outside(torch.from_numpy(samples.x))
    known = torch.stack(list(masks.values())).any(0).numpy()
    outside = {reason: int(mask.sum()) for reason, mask in masks.items()}
    outside[BEYOND_CHART] = int((~np.isfinite(samples.log_q) & ~known).sum())
    return _Sampled(samples, evidence, torsion_angles(samples.x, quads), outside)


def cost(
    model: Model, exploration_seconds: float, sampling_evaluations: int, sampling_start: float
) -> dict[str, dict[str, float]]:
    """Energy evaluations and seconds of the three stages, for results.json."""
    return {
        "evaluations": {
            "exploration": model.exploration.evaluations,
            "training": model.state.evaluations,
            "sampling": sampling_evaluations,
        },
        "seconds": {
            "exploration": exploration_seconds,
            "training": model.state.seconds,
            "sampling": time.monotonic() - sampling_start,
        },
    }


def measure(
    sampler: Sampler,
    evaluators: Evaluators,
    n: int,
    steps: int,
    seed: int,
    auxiliaries: int,
    target: TargetSamples | None = None,
) -> tuple[Samples, Evidence]:
    """Draw n samples at one K and collect their evidence; see `evaluate` for `auxiliaries`.

    Samples of the `target` beside them, n at most, are those that the sampler holds, if there are
    no better: their inverses cost what samples do.
    """
    flow, chart = sampler.flow, sampler.chart
    target = (target or sampler.held_out).at_most(n)
    auxiliaries = auxiliaries if steps else 1  # the base has the same density for all of them
    # one independent stream per K, so that adding a K changes no other number
    generator = torch.Generator().manual_seed(1_000_003 * (steps + 1) + seed)
    samples = draw_samples(flow, chart, evaluators, n, steps, generator, auxiliaries)
    log_w_target = log_weights_at(flow, chart, target.x, target.u, steps, generator, auxiliaries)
    checked = min(n, affordable_jacobians(flow, steps))
    inverted = min(n, _ROUND_TRIPS * checked)
    certificates = certify(flow, chart, steps, generator, checked, inverted)
    row = evaluate_evidence(
        steps,
        samples.log_w,
        log_w_target,
        target_walkers=target.walker,
        target_inefficiency=1.0 if target.walker is None else None,
        negative_determinants=certificates.negative,
        checked=certificates.checked,
        log_det_error=certificates.log_det_error,
        round_trip=certificates.round_trip,
        seconds=samples.seconds,
        log_w_joint=samples.log_w_joint,
        auxiliaries=auxiliaries,
    )
    return samples, row


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


def evidence_table(evidence: list[Evidence]) -> list[str]:
    """The table over K, as lines of text."""
    lines = [
        f"{'K':>2}  {'ESS':>16}  {'forward ESS':>15}  {'clipped':>8}  {'k-hat':>5}  "
        f"{'log Z':>20}  {'ELBO':>20}  {'EUBO':>20}  {'BAR':>20}  {'det<=0':>10}  "
        f"{'round trip':>10}"
    ]
    for row in evidence:
        ess = percent_text(Estimate(row.ess, row.ess_error), row.ess_error_known)
        forward = "-" if row.forward_ess is None else percent_text(row.forward_ess)
        trip = "-" if row.round_trip is None else f"{row.round_trip:.1e}"
        folded = f"{row.negative_determinants}/{row.checked}"
        lines.append(
            f"{row.steps:>2}  {ess:>16}  {forward:>15}  {100 * row.ess_clipped:6.1f} %  "
            f"{row.khat:5.2f}  {row.log_z.format(''):>20}  {row.elbo.format(''):>20}  "
            f"{_text(row.eubo):>20}  {_text(row.bar):>20}  {folded:>10}  {trip:>10}"
        )
    for row in evidence:
        if row.ess_sets:
            low, high = 100 * min(row.ess_sets), 100 * max(row.ess_sets)
            lines.append(
                f"K = {row.steps}: ESS of {len(row.ess_sets)} sets of {ENOUGH_SAMPLES} of these "
                f"samples: {low:.3g} to {high:.3g} %"
            )
        if row.ess_joint:
            lines.append(
                f"weights of K = {row.steps} from {row.auxiliaries} draws of the auxiliary "
                f"coordinates; from the flow's own alone: ESS {percent_text(row.ess_joint)}"
            )
    if not all(row.ess_error_known for row in evidence):
        lines.append(ESS_NOTE)
    return lines


def _text(estimate: Estimate | None) -> str:
    return "-" if estimate is None else estimate.format("")


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
        z = agreement(ours.delta_f, theirs.delta_f)
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
