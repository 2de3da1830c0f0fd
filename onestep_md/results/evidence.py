"""The evidence of K-step samples: its measurement, its table over K, and the files of results."""

import time
from collections.abc import Mapping
from pathlib import Path

import torch

from onestep_md.analysis.records.folder import write_results
from onestep_md.analysis.records.results import Cost, Phase, Results
from onestep_md.config import Config
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.estimate import ESS_NOTE, percent_text
from onestep_md.estimators.evidence import Evidence, evaluate_evidence
from onestep_md.estimators.limits import ENOUGH_SAMPLES
from onestep_md.files import write_text
from onestep_md.progress import Display
from onestep_md.sampling.certificates import affordable_jacobians, certify
from onestep_md.sampling.draw import (
    Samples,
    TargetSamples,
    auxiliary_draws,
    draw_samples,
    log_weights_at,
)
from onestep_md.sampling.model import Model
from onestep_md.sampling.sampler import Sampler

_ROUND_TRIPS = 10  # samples to invert for each that has a dense Jacobian


def sum_cost(
    model: Model, exploration_seconds: float, sampling_evaluations: int, sampling_start: float
) -> Mapping[Phase, Cost]:
    """Sum up energy evaluations and seconds of the three stages."""
    explored, state = model.exploration.evaluations, model.state
    sampling_seconds = time.monotonic() - sampling_start
    return {
        "exploration": Cost(evaluations=explored, seconds=exploration_seconds),
        "training": Cost(evaluations=state.evaluations, seconds=state.seconds),
        "sampling": Cost(evaluations=sampling_evaluations, seconds=sampling_seconds),
    }


def measure_all(
    config: Config,
    sampler: Sampler,
    evaluators: Evaluators,
    target: TargetSamples | None = None,
) -> dict[int, tuple[Samples, Evidence]]:
    """Draw the samples of every K of `sample.steps`, and collect their evidence."""
    sample = config.sample
    return {
        steps: measure(
            sampler,
            evaluators,
            sample.count(steps),
            steps,
            config.seed,
            sample.auxiliaries,
            target,
        )
        for steps in sample.steps
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
    """Draw n samples at one K and collect their evidence.

    At most n samples of the target are inverted, since an inverse costs what a sample does.

    Args:
        sampler: flow, chart and held-out samples of the target.
        evaluators: compute energies.
        n: number of samples.
        steps: K.
        seed: seed of the samples of all K.
        auxiliaries: draws of the auxiliary coordinates per weight, see `sampling.draw`.
        target: samples of the target; None for those that the sampler holds.
    """
    flow, chart = sampler.flow, sampler.chart
    target = (target or sampler.held_out).at_most(n)
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
        auxiliaries=auxiliary_draws(auxiliaries, steps),
    )
    return samples, row


def evidence_table(evidence: list[Evidence]) -> list[str]:
    """Format the table over K."""
    lines = [
        f"{'K':>2}  {'ESS':>16}  {'forward ESS':>15}  {'clipped':>8}  {'k-hat':>5}  "
        f"{'log Z':>20}  {'ELBO':>20}  {'EUBO':>20}  {'BAR':>20}  {'det<=0':>10}  "
        f"{'round trip':>10}"
    ]
    for row in evidence:
        ess = percent_text(row.reverse_ess, row.ess_error_known)
        forward = percent_text(row.forward_ess)
        trip = "-" if row.round_trip is None else f"{row.round_trip:.1e}"
        folded = f"{row.negative_determinants}/{row.checked}"
        lines.append(
            f"{row.steps:>2}  {ess:>16}  {forward:>15}  {100 * row.ess_clipped:6.1f} %  "
            f"{row.khat:5.2f}  {row.log_z.format(''):>20}  {row.elbo.format(''):>20}  "
            f"{row.eubo.format(''):>20}  {row.bar.format(''):>20}  {folded:>10}  {trip:>10}"
        )
    for row in evidence:
        if row.ess_sets:
            low, high = 100 * min(row.ess_sets), 100 * max(row.ess_sets)
            lines.append(
                f"K = {row.steps}: ESS of {len(row.ess_sets)} sets of {ENOUGH_SAMPLES} of these "
                f"samples: {low:.3g} to {high:.3g} %"
            )
        if row.auxiliaries > 1:
            lines.append(
                f"weights of K = {row.steps} from {row.auxiliaries} draws of the auxiliary "
                f"coordinates; from the flow's own alone: ESS {percent_text(row.ess_joint)}"
            )
    if not all(row.ess_error_known for row in evidence):
        lines.append(ESS_NOTE)
    return lines


def show_and_write(folder: Path, table: list[str], results: Results, display: Display) -> None:
    """Show the table and the warnings, and write results.txt and results.json."""
    for line in (*table, *(f"WARNING {text}" for text in results.warnings)):
        display.say(line)
    write_text(folder / "results.txt", "\n".join(table) + "\n")
    write_results(folder, results)
