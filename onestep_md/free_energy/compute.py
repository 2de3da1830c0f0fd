"""Free energies of all states: one set of samples for all, and bridges where it does not do."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from onestep_md.analysis.records.free_energies import BridgeResult, FreeEnergies, StateResult
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
        seed: seed of the samples and of the bridges.
        bridge: states to bridge to: those that reweighting does not reach, all others, or none.
        particles: number of particles of a bridge.
        moves: MALA moves of a bridge at every temperature.
    """

    seed: int
    bridge: When
    particles: int
    moves: int


@dataclass(frozen=True)
class Comparison:
    """Results of all states, and the samples behind them.

    Attributes:
        results: numbers of all states.
        log_w: (states, n) log weights of the samples in each state.
        bridges: particles of the bridges, by the names of their states.
    """

    results: FreeEnergies
    log_w: np.ndarray
    bridges: dict[str, Bridged]


def make_evaluators(states: Sequence[State], pool: Evaluators) -> list[ScaledEvaluators]:
    """Make evaluators of every state from a pool of all targets."""
    targets = distinct_targets(states)
    shared: list[Evaluators] = [pool]
    if len(targets) > 1:
        shared = [SharedEvaluators(pool, which) for which in range(len(targets))]
    # targets hold arrays, which have no truth value to compare by
    order = [id(target) for target in targets]
    return [ScaledEvaluators(shared[order.index(id(s.target))], s.scale) for s in states]


def distinct_targets(states: Sequence[State]) -> list[Target]:
    """List the targets of the states, each once; other temperatures share one."""
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
        states: all states.
        sampler: the flow and its held-out frames.
        samples: one-step samples of the flow, with the energies of the first state.
        evaluators: evaluators of every state.
        settings: settings of bridges.
        folder: folder that keeps interrupted bridges.
        display: shows progress.
    """
    u = _evaluate_states(states, evaluators, samples.x, samples.u)
    u[:, ~np.isfinite(samples.log_q)] = np.inf
    log_w = np.where(np.isfinite(u), -u - samples.log_q, -np.inf)
    mbar_log_z = _estimate_mbar(states, sampler, samples, u, evaluators, settings)
    drawn, evaluated = len(samples.u), len(samples.u) + len(sampler.held_out.u)
    results, bridges = [], {}
    for k, state in enumerate(states):
        reweighted, bridge_result = reweight(log_w[k]), None
        asked = {"always": True, "auto": not reweighted.reliable, "never": False}
        if k and asked[settings.bridge] and can_bridge(reweighted):
            bridges[state.name], bridge_result = _anneal_bridge(
                state, evaluators[k], sampler, settings, k, folder, display
            )
        choice = judge_state(reweighted, mbar_log_z[k], bridge_result)
        results.append(
            StateResult(
                name=state.name,
                fingerprint=state.target.fingerprint.as_dict(),
                temperature=state.temperature,
                reweighting=reweighted,
                mbar=mbar_log_z[k],
                bridge=bridge_result,
                used=choice.used,
                log_z=choice.log_z,
                delta_f=UNKNOWN,
                level=choice.level,
                verdict=choice.verdict,
                evaluations=(drawn if k == 0 else 0 if _is_own(state, states) else evaluated)
                + (bridge_result.evaluations if bridge_result else 0),
            )
        )
    covariance = _find_covariance(results, log_w)
    rows = tuple(tuple(float(c) for c in row) for row in covariance)
    temperature = states[0].temperature
    free = FreeEnergies(
        run=states[0].target.fingerprint.identity,
        samples=len(samples.u),
        kT=None if temperature is None else KB * temperature,
        states=tuple(results),
        covariance=rows,
    )
    own = states[0].name
    with_differences = tuple(
        state.model_copy(update={"delta_f": free.difference(own, state.name)}) for state in results
    )
    return Comparison(free.model_copy(update={"states": with_differences}), log_w, bridges)


def _is_own(state: State, states: Sequence[State]) -> bool:
    """Whether a state has the energies of the run's own target, times a number."""
    return state.target is states[0].target


def _evaluate_states(
    states: Sequence[State],
    evaluators: Sequence[ScaledEvaluators],
    x: np.ndarray,
    own_u: np.ndarray,
) -> np.ndarray:
    """Evaluate the states at x; those of the run's own target follow from its known energies.

    Returns:
        (states, n) energies.
    """
    return np.stack(
        [
            state.scale * own_u if _is_own(state, states) else e.evaluate(x)[0]
            for state, e in zip(states, evaluators, strict=True)
        ]
    )


def _estimate_mbar(
    states: Sequence[State],
    sampler: Sampler,
    samples: Samples,
    u: np.ndarray,
    evaluators: Sequence[ScaledEvaluators],
    settings: Settings,
) -> list[Estimate]:
    """Estimate log Z of the states by MBAR, with the held-out frames of the run."""
    frames = sampler.held_out
    if not len(frames.u):
        return [UNKNOWN] * len(u)
    generator = torch.Generator().manual_seed(settings.seed)
    log_w = log_weights_at(sampler.flow, sampler.chart, frames.x, frames.u, 1, generator)
    log_q = -log_w - frames.u
    u_frames = _evaluate_states(states, evaluators, frames.x, frames.u)
    g = 1.0 if frames.walker is None else statistical_inefficiency(log_w, frames.walker)
    return mbar(samples.log_q, u, log_q, u_frames, g, frames.walker)


def _anneal_bridge(
    state: State,
    evaluators: ScaledEvaluators,
    sampler: Sampler,
    settings: Settings,
    k: int,
    folder: Path,
    display: Display,
) -> tuple[Bridged, BridgeResult]:
    """Anneal the bridge to one state, or go on with an interrupted one."""
    start = time.monotonic()
    display.start(f"bridge to {state.name}")
    saved = folder / "bridges" / f"{state.name}.npz"
    saved.parent.mkdir(parents=True, exist_ok=True)
    particles = bridge(
        sampler,
        evaluators,
        settings.particles,
        settings.moves,
        settings.seed + 1009 * k,
        display.advance,
        saved,
    )
    display.stop()
    log_w = -particles.u - particles.log_q
    g = statistical_inefficiency(log_w, particles.island)
    result = BridgeResult(
        log_z=particles.log_z,
        forward_ess=forward_ess(particles.log_z, log_w, g),
        particles=len(particles.u),
        founders=particles.founders,
        temperatures=len(particles.temperatures),
        acceptance=float(particles.acceptance.min()),
        evaluations=particles.evaluations,
        seconds=time.monotonic() - start,
    )
    display.say(
        f"bridge to {state.name}: log Z {particles.log_z.format('')}, {result.temperatures} "
        f"temperatures, {particles.evaluations:,} energies, {result.seconds:.0f} s"
    )
    return particles, result


def _find_covariance(results: Sequence[StateResult], log_w: np.ndarray) -> np.ndarray:
    """Compute the covariance of log Z in use; bridges are independent of all else."""
    covariance = log_z_covariance(log_w)
    for k, state in enumerate(results):
        if state.used != "reweighting":
            covariance[k], covariance[:, k] = 0.0, 0.0
            covariance[k, k] = state.log_z.error**2
    return covariance
