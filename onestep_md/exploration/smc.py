"""One pass of annealed sequential Monte Carlo, from a base density to the target.

A population follows p_b(x) ~ p_0(x)^(1-b) exp(-b u(x)) from b = 0 to 1 (Del Moral, Doucet and
Jasra, J. R. Stat. Soc. B 68, 411 (2006)): reweight to the next b, resample, move by MALA. The mean
weights of all steps multiply to an estimate of Z = integral exp(-u).

Particles of one founder are relatives, and correlated in all that moves do not make them forget,
such as the mode. Resampling keeps the order of the particles, so families are contiguous: the
correlation along this order gives the effective sample size, as that along time does in dynamics.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.errors import TargetError
from onestep_md.estimators.weights import ess, log_mean_weight, resample
from onestep_md.exploration import mala
from onestep_md.exploration.base_density import Base, Checked, Population
from onestep_md.files import replacing

PILOT_FRACTION = 0.1  # of the progress bar
FEWEST_INSIDE = 5  # points of finite energy that a pass needs to start
RUNAWAY = 1e3  # base widths, farther out than any path to a density
MOST_TEMPERATURES = 1000  # of one pass
SNAPSHOT_MOVES = 2  # times the moves of a temperature lie between snapshots

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Annealed:
    """Samples and evidence of an annealing.

    Attributes:
        x: (n, dim) samples of equal weight at temperature 1, after the last moves, of all
            snapshots; relatives are neighbours.
        u: (n,) their reduced energies in kT.
        grad_u: (n, dim) their gradients, in kT per unit of x.
        island: (n,) rising, the part of the population that each descends from; no relatives
            across islands.
        founder: (n,) rising, the particle of the start that each descends from.
        log_z: estimate of log integral exp(-u) dx.
        d_log_z: its standard error, from the spread of Z over islands of the population. Islands
            have the temperatures, the step and the preconditioner in common, but resample apart,
            so each has an estimate of Z of its own. It leaves out a mode or a narrow neck that
            all of them miss; where wells are known, see `family_error`.
        temperatures: (m,) the inverse temperatures b of the full pass; the last one is 1.
        acceptance: (m,) of the MALA moves at each of them.
        evaluations: of energy with gradient, pilot passes included.
    """

    x: np.ndarray
    u: np.ndarray
    grad_u: np.ndarray
    island: np.ndarray
    founder: np.ndarray
    log_z: float
    d_log_z: float
    temperatures: np.ndarray
    acceptance: np.ndarray
    evaluations: int


class RunawayError(TargetError):
    """A pass has left the region that its base can reach."""


@dataclass
class Pass:
    """How far a pass has come.

    Attributes:
        x, u, grad_u: the population.
        origin: (n,) rising, the island that each particle descends from.
        founder: (n,) rising, the particle of the start that each descends from.
        log_z: (islands,) what each island has found so far.
        b: the inverse temperature.
        step: of the next moves.
        temperatures, acceptance: of the steps done.
        scales: (dim, dim) preconditioner of the last moves.
    """

    x: np.ndarray
    u: np.ndarray
    grad_u: np.ndarray
    origin: np.ndarray
    founder: np.ndarray
    log_z: np.ndarray
    b: float
    step: float
    temperatures: list[float]
    acceptance: list[float]
    scales: np.ndarray

    def save(self, path: Path, generator: np.random.Generator, evaluations: int) -> None:
        """Write all of it, with the state of the generator and the evaluations so far."""
        state = json.dumps(generator.bit_generator.state)
        with replacing(path) as aside:
            np.savez(aside, allow_pickle=False, generator=state, evaluations=evaluations,
                     **vars(self))  # fmt: skip

    @classmethod
    def load(cls, path: Path, generator: np.random.Generator, target: Checked) -> "Pass":
        """Read what `save` wrote, and bring generator and counter to where they were."""
        with np.load(path) as arrays:
            values = dict(arrays)
        generator.bit_generator.state = json.loads(str(values.pop("generator")))
        target.count = int(values.pop("evaluations"))
        for name in ("b", "step"):
            values[name] = float(values[name])
        for name in ("temperatures", "acceptance"):
            values[name] = values[name].tolist()
        return cls(**values)


@dataclass(frozen=True)
class Schedule:
    """The settings of a pass.

    Attributes:
        islands: parts of the population that resample apart.
        ess: of the weights of one temperature step, as a fraction of the particles.
        moves: number of moves at every temperature.
        diverse: whether islands join with equal weights, whatever their Z.
        snapshots: number of populations that are kept at the end.
        surplus: samples of the base for every particle. The first step keeps some of them, and
            goes farther where the base is near the target; they cost no moves.
    """

    islands: int
    ess: float
    moves: int
    diverse: bool
    snapshots: int = 1
    surplus: int = 1


def start_pass(
    base: Base, population: Population, islands: int, generator: np.random.Generator
) -> Pass:
    """A pass at b = 0, its population inside of the support."""
    inside = np.isfinite(population[1])
    parts = np.array_split(np.arange(len(inside)), islands)
    kept = _replace_outside(inside, parts, base, generator)
    x, u, grad_u = (array[kept] for array in population)
    with np.errstate(divide="ignore"):
        log_z = np.log([inside[part].mean() for part in parts])
    origin = np.repeat(np.arange(islands), [len(part) for part in parts])
    step, scales = mala.optimal_step(x.shape[1]), np.eye(x.shape[1])
    return Pass(x, u, grad_u, origin, kept, log_z, 0.0, step, [], [], scales)


def run_pass(
    target: Checked,
    base: Base,
    population: Population,
    schedule: Schedule,
    generator: np.random.Generator,
    report: Progress = lambda fraction, message: None,
) -> Annealed:
    """Take a population of the base from b = 0 to b = 1."""
    start = start_pass(base, population, schedule.islands, generator)
    return continue_pass(start, target, base, schedule, generator, report)


def continue_pass(
    state: Pass,
    target: Checked,
    base: Base,
    schedule: Schedule,
    generator: np.random.Generator,
    report: Progress = lambda fraction, message: None,
    saved: Path | None = None,
) -> Annealed:
    """Take a pass from where it is to b = 1; `saved` keeps it after every temperature.

    Step and preconditioner follow the population from one temperature to the next, but stay as
    they are during the moves of one temperature, so that these leave p_b invariant.
    """
    while state.b < 1.0:
        _next_temperature(state, target, base, schedule, generator)
        m, b, accepted = len(state.temperatures), state.b, state.acceptance[-1]
        report(max(b, PILOT_FRACTION), f"{m} temperatures, b = {b:.2g}, accepted {accepted:.2f}")
        spread = state.x.std(axis=0)
        if (spread > RUNAWAY * base.width).any() or m > MOST_TEMPERATURES:
            raise RunawayError(
                f"after {m} temperatures, at b = {b:.3g}, the samples are "
                f"{(spread / base.width).max():.2g} times as wide as they started. Check "
                "that exp(-u) has a finite integral, or scale x so that its widths are near 1."
            )
        if saved:
            state.save(saved, generator, target.count)
    x, u, grad_u = _take_snapshots(state, target, schedule, generator, report)
    relative = np.exp(state.log_z - state.log_z.max())
    # log Z = log <Z_i>, and d log Z = dZ / Z
    error = relative.std(ddof=1) / relative.mean() / np.sqrt(len(relative))
    return Annealed(
        x=x,
        u=u,
        grad_u=grad_u,
        island=np.repeat(state.origin, schedule.snapshots),
        founder=np.repeat(state.founder, schedule.snapshots),
        log_z=log_mean_weight(state.log_z),
        d_log_z=float(error),
        temperatures=np.array(state.temperatures),
        acceptance=np.array(state.acceptance),
        evaluations=target.count,
    )


def _next_temperature(
    state: Pass,
    target: Checked,
    base: Base,
    schedule: Schedule,
    generator: np.random.Generator,
) -> None:
    """Reweight the population to the next b, resample it and move it."""
    # log p_b'(x) - log p_b(x) = (b' - b) (u_0 - u)
    rise, rest = base.evaluate(state.x)[0] - state.u, 1.0 - state.b
    surplus = 1 if state.temperatures else schedule.surplus
    increment, n = _choose_increment(rise, rest, schedule.ess / surplus), len(rise) // surplus
    state.b = state.b + increment if increment < rest else 1.0
    log_w = increment * rise
    # families are stretches: the islands are, until they join
    parts = [np.flatnonzero(state.origin == i) for i in range(len(state.log_z))]
    if state.b < 1.0:
        chosen = np.concatenate(
            [
                part[resample(log_w[part], len(kept), generator)]
                for part, kept in zip(parts, np.array_split(np.arange(n), len(parts)), strict=True)
            ]
        )
    else:  # the islands join, each with its Z as a weight
        so_far = 0.0 if schedule.diverse else state.log_z[state.origin]
        chosen = resample(log_w + so_far, n, generator)
    state.log_z = state.log_z + [log_mean_weight(log_w[part]) for part in parts]
    state.origin, state.founder = state.origin[chosen], state.founder[chosen]
    x, u, grad_u = state.x[chosen], state.u[chosen], state.grad_u[chosen]
    tempering = _make_tempering(base, state.b)
    state.scales = mala.estimate_preconditioner(x, tempering(x, u, grad_u)[1])
    state.x, state.u, state.grad_u, accepted = mala.mala(
        target, x, u, grad_u, state.scales, state.step, schedule.moves, generator, tempering
    )
    state.step = mala.adapt_step(state.step, accepted)
    state.temperatures.append(state.b)
    state.acceptance.append(accepted)


def _take_snapshots(
    state: Pass,
    target: Checked,
    schedule: Schedule,
    generator: np.random.Generator,
    report: Progress,
) -> Population:
    """Take populations at b = 1, those of one particle side by side, as they are relatives."""
    snapshots, moves = [(state.x, state.u, state.grad_u)], SNAPSHOT_MOVES * schedule.moves
    for k in range(1, schedule.snapshots):
        report(1.0, f"snapshot {k + 1} of {schedule.snapshots}")
        x, u, grad_u, _ = mala.mala(
            target, *snapshots[-1], state.scales, state.step, moves, generator
        )
        snapshots.append((x, u, grad_u))
    x, u, grad_u = (np.stack(arrays, 1) for arrays in zip(*snapshots, strict=True))
    return x.reshape(-1, x.shape[-1]), u.reshape(-1), grad_u.reshape(-1, x.shape[-1])


def _make_tempering(base: Base, b: float) -> mala.Tempering:
    """Make the map from u and its gradient to those of p_b: (1 - b) u_0 + b u."""

    def tempered(x, u, grad_u):
        u_0, grad_u_0 = base.evaluate(x)
        return (1.0 - b) * u_0 + b * u, (1.0 - b) * grad_u_0 + b * grad_u

    return tempered


def _replace_outside(
    inside: np.ndarray, islands: list[np.ndarray], base: Base, generator: np.random.Generator
) -> np.ndarray:
    """Choose points (n,) inside the support to replace the start."""
    n = len(inside)
    if inside.all():
        return np.arange(n)
    if inside.sum() < FEWEST_INSIDE:
        raise TargetError(
            f"the energy is +inf at {n - inside.sum()} of {n} points, of width "
            f"{base.width.max():.2g}, the best start that was found. Check the support of the "
            "density, shift and scale x so that it holds the neighbourhood of 0, or use more "
            "particles."
        )
    sources = [island[inside[island]] for island in islands]
    # an island with no point inside borrows some, and has a weight of Z = 0
    sources = [own if len(own) else np.flatnonzero(inside) for own in sources]
    pairs = zip(sources, islands, strict=True)
    # sorted: copies of one point are relatives from the start
    return np.concatenate([np.sort(generator.choice(own, len(part))) for own, part in pairs])


def _choose_increment(rise: np.ndarray, rest: float, least: float) -> float:
    """Choose the step of b, at most `rest`, whose weights exp(step * rise) have an ESS `least`."""
    rise = rise - rise.max()

    def enough(log_step: float) -> bool:
        return ess(np.exp(log_step) * rise) >= least

    low, high = np.log(1e-300), np.log(rest)
    if enough(high):
        return rest
    for _ in range(40):  # on a log scale, as the first steps may be tiny
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return float(np.exp(low))
