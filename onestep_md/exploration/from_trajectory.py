"""Exploration by frames of the user's own simulation.

Energies and forces are evaluated here, so nothing is taken on trust but the ensemble. That is
tested by the configurational temperature (Rugh, Phys. Rev. Lett. 78, 772 (1997)). For
exp(-U / kT')

    <|grad U|^2> = kT' <Laplacian U>,

by partial integration, so that forces and their curvature give the temperature T' at which the
frames were made, if their force field is the target's.
"""

import numpy as np
import torch

from onestep_md.coordinates.domain import Domain
from onestep_md.coordinates.molecule import build_internal_coordinates
from onestep_md.distributed.pool import Energies, Evaluators
from onestep_md.errors import TargetError
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.weights import ess, normalised_weights, resample
from onestep_md.exploration.explored import Exploration
from onestep_md.progress import Display
from onestep_md.targets.molecule import Molecule

FEWEST = 200  # frames, or what weighted ones are worth
_MOST_OUTSIDE = 0.5  # fraction of the frames that are of another isomer
_SIGNIFICANT = 5.0  # errors of the temperature of the frames
_MEASURED = 2000  # frames whose temperature is measured, about
_STEP = 1e-4  # nm, of the difference that gives curvature
_TOLERANCE = 0.03  # of a temperature: time steps and rounding heat frames by less


def explore_frames(
    molecule: Molecule,
    frames: np.ndarray,
    walkers: np.ndarray,
    log_weights: np.ndarray,
    temperature: float,
    evaluators: Evaluators,
    seed: int,
    display: Display,
) -> Exploration:
    """Evaluate frames, check their ensemble, and bring them to that of the target.

    Args:
        molecule: target.
        frames: (n, atoms, 3) in nm, in time order within a walker.
        walkers: (n,) trajectory that each frame is from.
        log_weights: (n,) log weights of the frames in the ensemble of `temperature`.
        temperature: temperature of that ensemble, K.
        evaluators: evaluators of the target.
        seed: seed of the resampling of frames that have weights.
        display: shows what was found.

    Raises:
        TargetError: the frames are of another isomer, or of another ensemble.
    """
    before = evaluators.evaluations
    _require(len(frames))
    domain = build_internal_coordinates(molecule).domain
    _check_isomer(domain, frames)
    u, grad_u = evaluators.evaluate(frames)
    kept = domain.contains(torch.from_numpy(frames)).numpy() & np.isfinite(log_weights)
    kept &= np.isfinite(u) & np.isfinite(grad_u).all(axis=(1, 2))
    if not kept.all():
        display.say(
            f"{(~kept).sum():,} of {len(frames):,} frames are left out: another isomer, no weight "
            "or no energy"
        )
    x, u, grad_u = frames[kept], u[kept], grad_u[kept]
    walkers, log_weights = walkers[kept], log_weights[kept]
    _require(len(x))
    if not molecule.constraints:  # fixed bonds have forces that are not in grad U
        measured = measure_temperature(
            x, grad_u, walkers, log_weights, molecule.temperature, evaluators
        )
        display.say(f"temperature of the frames by their forces: {measured.format('K')}")
        _check_temperature(measured, temperature)
    # from exp(-U / kT') to exp(-U / kT), with u = U / kT
    log_w = log_weights - (1.0 - molecule.temperature / temperature) * u
    chosen = np.arange(len(u))
    if np.ptp(log_w) > 0.0:
        worth = int(ess(log_w) * len(log_w))
        display.say(f"{len(log_w):,} weighted frames are worth {worth:,} of the target")
        _require(worth)
        chosen = resample(log_w, worth, np.random.default_rng(seed))
    return Exploration(
        frames=x[chosen],
        u=u[chosen],
        grad_u=grad_u[chosen],
        replica=walkers[chosen],
        temperatures=np.array([molecule.temperature]),
        exchange_acceptance=np.zeros(0),
        evaluations=evaluators.evaluations - before,
        restarts=0,
    )


def _require(frames: int) -> None:
    """Refuse fewer frames than a chart can be fitted to."""
    if frames < FEWEST:
        raise TargetError(
            f"exploration.files: the frames are worth {frames} of the target, and {FEWEST} are "
            "needed. Give more of them, or frames nearer to the temperature of the target."
        )


def _check_isomer(domain: Domain, frames: np.ndarray) -> None:
    """Refuse frames most of which are of another isomer."""
    violations = domain.violations(torch.from_numpy(frames))
    counts = {reason: int(outside.sum()) for reason, outside in violations.items()}
    most = max(counts, key=lambda reason: counts[reason])
    if counts[most] > _MOST_OUTSIDE * len(frames):
        raise TargetError(
            f"exploration.files: {counts[most]:,} of {len(frames):,} frames have {most}, unlike "
            "target.pdb. Take a target.pdb of the isomer that was simulated."
        )


def measure_temperature(
    x: np.ndarray,
    grad_u: np.ndarray,
    walkers: np.ndarray,
    log_weights: np.ndarray,
    temperature: float,
    evaluators: Energies,
) -> Estimate:
    """Estimate the configurational temperature (K) of frames, from some thousand of them.

    Args:
        x, grad_u: (n, atoms, 3) frames in nm and gradients in kT/nm at `temperature`.
        walkers: (n,) trajectory of each frame.
        log_weights: (n,) log weights of the frames.
        temperature: temperature of the units of `grad_u`, K.
        evaluators: evaluators of the energy.
    """
    chosen = np.arange(0, len(x), max(1, len(x) // _MEASURED))
    x, grad_u, walkers = x[chosen], grad_u[chosen], walkers[chosen]
    # r^T H r of random signs r has the trace of the Hessian H for its mean (Hutchinson)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], x.shape)
    _, up = evaluators.evaluate(x + _STEP * signs)
    _, down = evaluators.evaluate(x - _STEP * signs)
    curvature = (signs * (up - down)).sum(axis=(1, 2)) / (2.0 * _STEP)
    square = (grad_u**2).sum(axis=(1, 2))
    w = normalised_weights(log_weights[chosen])
    ratio = float(w @ square / (w @ curvature))
    residual = square - ratio * curvature
    g = statistical_inefficiency(residual, walkers)
    error = float(np.sqrt(g * (w**2 @ residual**2)) / (w @ curvature))
    return Estimate(temperature * ratio, temperature * error)


def _check_temperature(measured: Estimate, stated: float) -> None:
    apart = abs(measured.value - stated)
    if apart > max(_SIGNIFICANT * measured.error, _TOLERANCE * stated):
        raise TargetError(
            f"exploration.files: in the target's force field the frames have a temperature "
            f"of {measured.format('K')}, and should have {stated:g} K. If they were "
            "simulated at another temperature, give exploration.temperature; frames of another "
            "force field need exploration.weights, or another exploration.method."
        )
