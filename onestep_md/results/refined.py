"""Refined samples of a run: its flow annealed to its own target, beside the one-step samples.

The bridge of `sampling.bridge` with the target of the flow itself: a stochastic normalizing flow
(Wu, Koehler and Noe, arXiv 2002.06707), which is annealed importance sampling (Neal, Stat. Comput.
11, 125 (2001)) with a learned base. It costs energies, so its gain is set beside that of more
one-step samples.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.records.molecule import MoleculeResults
from onestep_md.analysis.records.refined import REFINED, Refined, RefinedRegion, write_refined
from onestep_md.config import Config
from onestep_md.config.defaults import BRIDGE_MOVES
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import percent_text
from onestep_md.estimators.evidence import Evidence
from onestep_md.estimators.free_energy import (
    RegionFreeEnergy,
    dynamics_free_energies,
    region_free_energies,
)
from onestep_md.files import write_text
from onestep_md.progress import Display
from onestep_md.sampling.bridge import Bridged, bridge, pass_file
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.sampler import Sampler
from onestep_md.sampling.target import Target


@dataclass(frozen=True)
class Refining:
    """Settings of the annealing.

    Attributes:
        particles: number of particles, at least 512.
        moves: MALA moves at every temperature.
        seed: seed of all random numbers.
    """

    particles: int
    moves: int
    seed: int

    def pass_file(self, folder: Path, sampler: Sampler, target: Target) -> Path:
        """Name the file that keeps an interrupted annealing."""
        identity = target.fingerprint.identity
        return pass_file(folder, sampler, identity, self.particles, self.moves, self.seed)


@dataclass(frozen=True)
class OneStep:
    """Evidence of one-step samples, and their free energies of the regions, if any."""

    evidence: Evidence
    regions: Sequence[RegionFreeEnergy]


def refine_run(
    config: Config,
    target: Target,
    sampler: Sampler,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
) -> None:
    """Refine as `sample.refine` says, beside the results that a run has written."""
    results = read_results(folder)
    evidence = results.row(1)
    assert evidence is not None
    regions = results.regions if isinstance(results, MoleculeResults) else ()
    refine_samples(
        config,
        target,
        sampler,
        evaluators,
        OneStep(evidence, [region.one_step for region in regions]),
        Refining(config.sample.refine, BRIDGE_MOVES, config.seed),
        folder / REFINED,
        display,
    )


def refine_samples(
    config: Config,
    target: Target,
    sampler: Sampler,
    evaluators: Evaluators,
    one_step: OneStep,
    refining: Refining,
    folder: Path,
    display: Display,
) -> Refined:
    """Anneal, print the results beside those of one-step samples, and write both.

    Args:
        config: configuration of the run, with its regions.
        target, sampler, evaluators: those of the run.
        one_step: results of one-step samples.
        refining: settings; an interrupted annealing with the same goes on.
        folder: folder for the particles, refined.txt and refined.json.
        display: shows progress and the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    saved = refining.pass_file(folder, sampler, target)
    whole, start = not saved.exists(), time.monotonic()
    display.start("refining")
    found = bridge(
        sampler,
        evaluators,
        refining.particles,
        refining.moves,
        refining.seed,
        display.advance,
        saved,
    )
    display.stop()
    seconds = time.monotonic() - start if whole else math.nan
    inside = target.region_membership(config, found.x)
    refined = _describe(found, inside, one_step, refining, seconds)
    lines = refined_lines(refined)
    for line in (*lines, *(f"WARNING {text}" for text in refined.warnings)):
        display.say(line)
    target.write_samples(folder, found.as_samples(), refining.seed)
    write_text(folder / "refined.txt", "\n".join(lines) + "\n")
    write_refined(folder, refined)
    saved.unlink(missing_ok=True)
    return refined


def weighted_regions(
    config: Config, target: Target, samples: Samples, seed: int
) -> list[RegionFreeEnergy]:
    """Free energies of the configured regions, if any, from weighted samples."""
    if not config.regions:
        return []
    inside = target.region_membership(config, samples.x)
    generator = np.random.default_rng(seed)
    return region_free_energies(list(config.regions), inside, samples.log_w, None, generator)


def _describe(
    found: Bridged, inside: np.ndarray, one_step: OneStep, refining: Refining, seconds: float
) -> Refined:
    regions: list[RefinedRegion] = []
    if one_step.regions:
        names = [region.name for region in one_step.regions]
        reference, generator = one_step.regions[0].reference, np.random.default_rng(refining.seed)
        refined = dynamics_free_energies(names, inside, found.island, reference, generator)
        pairs = zip(one_step.regions, refined, strict=True)
        regions = [RefinedRegion(one_step=first, refined=second) for first, second in pairs]
    return Refined(
        one_step=one_step.evidence,
        log_z=found.log_z,
        particles=len(found.u),
        moves=refining.moves,
        seed=refining.seed,
        founders=found.founders,
        inefficiency=statistical_inefficiency(found.u, found.island),
        temperatures=len(found.temperatures),
        acceptance=float(found.acceptance.min()),
        evaluations=found.evaluations,
        seconds=seconds,
        regions=tuple(regions),
    )


def refined_lines(refined: Refined) -> list[str]:
    """Format log Z, worth, cost and regions of refined samples beside one-step samples."""
    first = refined.one_step
    lines = [
        "",
        "refined samples (annealed from the flow to its own target) beside one-step samples",
        f"  log Z        one step {first.log_z.format('')}, BAR {first.bar.format('')}, "
        f"refined {refined.log_z.format('')}",
        f"  worth        {refined.particles:,} particles of equal weight, "
        f"{refined.independent:,.0f} independent samples ({refined.founders:,.0f} founders, "
        f"inefficiency of u {refined.inefficiency:.2f})",
        f"  cost         {refined.evaluations:,} energies with gradients at "
        f"{_temperatures(refined)}, {_seconds(refined)}; moves accepted "
        f"{100 * refined.acceptance:.0f} % or more",
    ]
    if math.isfinite(refined.seconds):
        more = refined.one_step_worth > refined.independent
        lines.append(
            f"  equal time   {refined.one_step_in_time:,.0f} one-step samples of ESS "
            f"{percent_text(first.reverse_ess, first.ess_error_known)} would be worth "
            f"{refined.one_step_worth:,.0f}, {'more' if more else 'fewer'} than the refined ones"
        )
    if refined.regions:
        lines += _region_lines(refined)
    return lines


def _temperatures(refined: Refined) -> str:
    count = refined.temperatures
    return f"{count} temperatures" if count > 1 else "one temperature"


def _seconds(refined: Refined) -> str:
    known = math.isfinite(refined.seconds)
    return f"{refined.seconds:.1f} s" if known else "interrupted, so that its time is not known"


def _region_lines(refined: Refined) -> list[str]:
    reference = refined.regions[0].one_step.reference
    lines = [
        f"  free energies relative to {reference}, in kT",
        f"    {'':<10} {'one step':<18} {'error at equal time':<20} refined",
    ]
    for region in refined.regions:
        equal = refined.one_step_error(region)
        error = f"{equal:.2g}" if math.isfinite(equal) else "-"
        mark = region.refined.mark
        lines.append(
            f"    {region.one_step.name:<10} {region.one_step.delta_f.format(''):<18} "
            f"{error:<20} {region.refined.delta_f.format(''):<18} {mark}".rstrip()
        )
    return lines
