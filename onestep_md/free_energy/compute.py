"""Free energies of all states: one set of samples for all, and bridges where it does not do."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from onestep_md.analysis.records.free_energies import BridgeFound, FreeEnergies, StateFound
from onestep_md.distributed.pool import Evaluators
from onestep_md.distributed.shared import SharedEvaluators
from onestep_md.estimators.bounds import forward_ess
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import UNKNOWN, Estimate
from onestep_md.estimators.states import log_z_covariance, mbar, reweight
from onestep_md.free_energy.judge import can_bridge, judge_state
from onestep_md.free_energy.states import ScaledEvaluators, State
from onestep_md.progress import Display
from onestep_md.sampling.bridge import Bridged, bridge
from onestep_md.sampling.draw import Samples, log_weights_at
from onestep_md.sampling.sampler import Sampler
from onestep_md.sampling.target import Target
from onestep_md.targets.molecule import KB

When = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Settings:
    """How the free energies are computed.

    Attributes:
        seed: of the samples and of the bridges.
        bridge: to which states: those that reweighting cannot judge, all others, or none.
        particles: of a bridge.
        moves: of a bridge, at every temperature.
    """

    seed: int
    bridge: When
    particles: int
    moves: int


@dataclass(frozen=True)
class Comparison:
    """What was found, and the configurations that it is made of.

    Attributes:
        found: numbers of all states.
        log_w: (states, n) log weights of the samples in each state.
        bridged: by the names of the states.
    """

    found: FreeEnergies
    log_w: np.ndarray
    bridged: dict[str, Bridged]


def evaluators_of(states: Sequence[State], pool: Evaluators) -> list[ScaledEvaluators]:
    """Evaluators of every state from a pool of all its targets."""
    targets = distinct_targets(states)
    shared: list[Evaluators] = [pool]
    if len(targets) > 1:
        shared = [SharedEvaluators(pool, which) for which in range(len(targets))]
    # targets hold arrays, which have no truth value to compare by
    order = [id(target) for target in targets]
    return [ScaledEvaluators(shared[order.index(id(s.target))], s.scale) for s in states]


def distinct_targets(states: Sequence[State]) -> list[Target]:
    """Targets of the states, each once: another temperature is no other target."""
    return list({id(state.target): state.target for state in states}.values())


def compare_states(
    states: Sequence[State],
    sampler: Sampler,
    samples: Samples,
    evaluators: Sequence[ScaledEvaluators],
    settings: Settings,
    folder: Path,
    display: Display,
) -> Comparison:
    """Estimate log Z of every state; the first one is that of the run.

    Args:
        states: all of them.
        sampler: the flow and its held-out frames.
        samples: one-step samples of it, with the energies of the first state.
        evaluators: of every state.
        settings: how.
        folder: where interrupted bridges are kept.
        display: shows progress.
    """
    u = np.stack(
        [_energies(state, e, samples) for state, e in zip(states, evaluators, strict=True)]
    )
    log_w = np.where(np.isfinite(u), -u - samples.log_q, -np.inf)
    joined = _mbar(sampler, samples, u, evaluators, settings)
    found, bridged = [], {}
    for k, state in enumerate(states):
        reweighted, crossed, report = reweight(log_w[k]), None, None
        wanted = {"always": True, "auto": not reweighted.reliable, "never": False}
        if k and wanted[settings.bridge] and can_bridge(reweighted):
            crossed, report = _bridge(state, evaluators[k], sampler, settings, k, folder, display)
            bridged[state.name] = crossed
        judged = judge_state(reweighted, joined[k], report)
        found.append(
            StateFound(
                name=state.name,
                fingerprint=state.target.fingerprint.as_dict(),
                temperature=state.temperature,
                reweighting=reweighted,
                mbar=joined[k],
                bridge=report,
                used=judged.used,
                log_z=judged.log_z,
                delta_f=UNKNOWN,
                level=judged.level,
                verdict=judged.verdict,
                evaluations=len(samples.u)
                + len(sampler.held_out.u)
                + (report.evaluations if report else 0),
            )
        )
    covariance = _covariance(found, log_w)
    rows = tuple(tuple(float(c) for c in row) for row in covariance)
    temperature = states[0].temperature
    free = FreeEnergies(
        run=states[0].target.fingerprint.identity,
        samples=len(samples.u),
        kT=None if temperature is None else KB * temperature,
        states=tuple(found),
        covariance=rows,
    )
    own = states[0].name
    with_differences = tuple(
        state.model_copy(update={"delta_f": free.difference(own, state.name)}) for state in found
    )
    return Comparison(free.model_copy(update={"states": with_differences}), log_w, bridged)


def _energies(state: State, evaluators: ScaledEvaluators, samples: Samples) -> np.ndarray:
    """Energies (n,) of a state at the samples; +inf where the sample has no density."""
    u, _ = evaluators.evaluate(samples.x)
    return np.where(np.isfinite(samples.log_q), u, np.inf)


def _mbar(
    sampler: Sampler,
    samples: Samples,
    u: np.ndarray,
    evaluators: Sequence[ScaledEvaluators],
    settings: Settings,
) -> list[Estimate]:
    """Log Z of the states with the held-out frames of the run beside the samples."""
    frames = sampler.held_out
    if not len(frames.u):
        return [UNKNOWN] * len(u)
    generator = torch.Generator().manual_seed(settings.seed)
    log_w = log_weights_at(sampler.flow, sampler.chart, frames.x, frames.u, 1, generator)
    log_q = -log_w - frames.u
    u_frames = np.stack([e.evaluate(frames.x)[0] for e in evaluators])
    g = 1.0 if frames.walker is None else statistical_inefficiency(log_w, frames.walker)
    return mbar(samples.log_q, u, log_q, u_frames, g, frames.walker)


def _bridge(
    state: State,
    evaluators: ScaledEvaluators,
    sampler: Sampler,
    settings: Settings,
    k: int,
    folder: Path,
    display: Display,
) -> tuple[Bridged, BridgeFound]:
    start = time.monotonic()
    display.start(f"bridge to {state.name}")
    saved = folder / "bridges" / f"{state.name}.npz"
    saved.parent.mkdir(parents=True, exist_ok=True)
    found = bridge(
        sampler,
        evaluators,
        settings.particles,
        settings.moves,
        settings.seed + 1009 * k,
        display.advance,
        saved,
    )
    display.stop()
    log_w = -found.u - found.log_q
    g = statistical_inefficiency(log_w, found.island)
    report = BridgeFound(
        log_z=found.log_z,
        forward_ess=forward_ess(found.log_z, log_w, g),
        particles=len(found.u),
        founders=found.founders,
        temperatures=len(found.temperatures),
        acceptance=float(found.acceptance.min()),
        evaluations=found.evaluations,
        seconds=time.monotonic() - start,
    )
    display.say(
        f"bridge to {state.name}: log Z {found.log_z.format('')}, {report.temperatures} "
        f"temperatures, {found.evaluations:,} energies, {report.seconds:.0f} s"
    )
    return found, report


def _covariance(found: Sequence[StateFound], log_w: np.ndarray) -> np.ndarray:
    """Covariance of log Z as they are used: bridges are independent of all else."""
    covariance = log_z_covariance(log_w)
    for k, state in enumerate(found):
        if state.used != "reweighting":
            covariance[k], covariance[:, k] = 0.0, 0.0
            covariance[k, k] = state.log_z.error**2
    return covariance
