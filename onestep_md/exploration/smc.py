"""One pass of annealed sequential Monte Carlo, from a base density to the target.

A population follows p_b(x) ~ p_0(x)^(1-b) exp(-b u(x)) from b = 0 to 1 (Del Moral, Doucet and
Jasra, J. R. Stat. Soc. B 68, 411 (2006)): reweight to the next b, resample, move by MALA. The mean
weights of all steps multiply to an estimate of Z = integral exp(-u).

Particles of one founder are relatives, and correlated in all that moves do not make them forget,
such as the mode. Resampling keeps the order of the particles, so families are contiguous: the
correlation along this order gives the effective sample size, as that along time does in dynamics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onestep_md.errors import TargetError
from onestep_md.estimators.weights import ess, log_mean_weight, resample
from onestep_md.exploration import mala

PILOT_FRACTION = 0.1  # of the progress bar
FEWEST_INSIDE = 5  # points of finite energy that a pass needs to start
RUNAWAY = 1e3  # base widths, farther out than any path to a density
MOST_TEMPERATURES = 1000  # of one pass
SNAPSHOT_MOVES = 2  # times the moves of a temperature lie between snapshots

Progress = Callable[[float, str], None]
Population = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (n, dim), u (n,), grad_u (n, dim)


class Base(Protocol):
    """A normalised density to start from, as the energy u_0 = -log p_0.

    Attributes:
        width: (dim,) widths of the coordinates; samples far beyond them have run away.
    """

    width: np.ndarray

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Draw (n, dim)."""

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute u_0 (n,) and its gradient (n, dim)."""


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


class Checked:
    """Counts the evaluations of a target and refuses energies that mean nothing.

    Where there is an energy and no gradient, the gradient is taken for zero: any guess is valid
    there, because the energy decides about the move.
    """

    def __init__(self, target: mala.EnergyFunction):
        self.target, self.count = target, 0

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the target, with a gradient everywhere.

        Raises:
            TargetError: an energy is nan or -inf.
        """
        u, grad_u = self.target.evaluate(x)
        self.count += len(x)
        good = (u == np.inf) | np.isfinite(u)
        if not good.all():
            i = int(np.argmin(good))
            raise TargetError(
                f"at x = {np.array2string(x[i], precision=4, threshold=8)} the energy is {u[i]}. "
                "Return u = +inf outside the support; a density that is infinite at a point has "
                "to be transformed or cut off there."
            )
        known = np.isfinite(grad_u).all(axis=1)
        return u, np.where(known[:, None], grad_u, 0.0)


class Gaussian:
    """The base N(m, S), as the energy u_0(x) = -log N(x; m, S)."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray):
        self.mean, self.width = mean, np.sqrt(np.diag(covariance))
        self.factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(self.factor)
        self.precision = inverse.T @ inverse
        # -log N(m; m, S) = log det(2 pi S) / 2
        self.lowest = float(np.log(np.sqrt(2.0 * np.pi) * np.diag(self.factor)).sum())

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Draw (n, dim)."""
        return self.mean + generator.standard_normal((n, len(self.mean))) @ self.factor.T

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute u_0 (n,) and its gradient (n, dim)."""
        gradient = (x - self.mean) @ self.precision
        return self.lowest + 0.5 * np.einsum("ij,ij->i", x - self.mean, gradient), gradient


@dataclass(frozen=True)
class Schedule:
    """The settings of a pass.

    Attributes:
        islands: parts of the population that resample apart.
        ess: of the weights of one temperature step, as a fraction.
        moves: number of moves at every temperature.
        diverse: whether islands join with equal weights, whatever their Z.
        snapshots: number of populations that are kept at the end.
    """

    islands: int
    ess: float
    moves: int
    diverse: bool
    snapshots: int = 1


def start_population(
    base: Base, target: mala.EnergyFunction, n: int, generator: np.random.Generator
) -> Population:
    """Draw n samples of the base and evaluate the target there."""
    x = base.sample(n, generator)
    return x, *target.evaluate(x)


def run_pass(
    target: Checked,
    base: Base,
    population: Population,
    schedule: Schedule,
    generator: np.random.Generator,
    report: Progress = lambda fraction, message: None,
) -> Annealed:
    """Take a population of the base from b = 0 to b = 1.

    Step and preconditioner follow the population from one temperature to the next, but stay as
    they are during the moves of one temperature, so that these leave p_b invariant.
    """
    inside = np.isfinite(population[1])
    islands = np.array_split(np.arange(len(inside)), schedule.islands)
    origin = np.repeat(np.arange(len(islands)), [len(island) for island in islands])
    kept = _replace_outside(inside, islands, base, generator)
    x, u, grad_u = (array[kept] for array in population)
    founder = kept
    with np.errstate(divide="ignore"):
        log_z = np.log([inside[island].mean() for island in islands])
    b, step = 0.0, mala.optimal_step(x.shape[1])
    temperatures, acceptance = [], []
    while b < 1.0:
        # log p_b'(x) - log p_b(x) = (b' - b) (u_0 - u)
        rise = base.evaluate(x)[0] - u
        increment = _choose_increment(rise, 1.0 - b, schedule.ess)
        b = b + increment if increment < 1.0 - b else 1.0
        log_w = increment * rise
        if b < 1.0:
            chosen = np.concatenate(
                [part[resample(log_w[part], len(part), generator)] for part in islands]
            )
        else:  # the islands join, each with its Z as a weight
            so_far = 0.0 if schedule.diverse else log_z[origin]
            chosen = resample(log_w + so_far, len(log_w), generator)
        log_z += [log_mean_weight(log_w[island]) for island in islands]
        x, u, grad_u, founder = x[chosen], u[chosen], grad_u[chosen], founder[chosen]
        tempering = _make_tempering(base, b)
        scales = mala.estimate_preconditioner(x, tempering(x, u, grad_u)[1])
        x, u, grad_u, accepted = mala.mala(
            target, x, u, grad_u, scales, step, schedule.moves, generator, tempering
        )
        step = mala.adapt_step(step, accepted)
        temperatures.append(b)
        acceptance.append(accepted)
        message = f"{len(temperatures)} temperatures, b = {b:.2g}, accepted {accepted:.2f}"
        report(max(b, PILOT_FRACTION), message)
        if (x.std(axis=0) > RUNAWAY * base.width).any() or len(acceptance) > MOST_TEMPERATURES:
            raise RunawayError(
                f"after {len(acceptance)} temperatures, at b = {b:.3g}, the samples are "
                f"{(x.std(axis=0) / base.width).max():.2g} times as wide as they started. Check "
                "that exp(-u) has a finite integral, or scale x so that its widths are near 1."
            )
    x, u, grad_u = _take_snapshots(
        target, (x, u, grad_u), scales, step, schedule, generator, report
    )
    relative = np.exp(log_z - log_z.max())
    # log Z = log <Z_i>, and d log Z = dZ / Z
    error = relative.std(ddof=1) / relative.mean() / np.sqrt(len(islands))
    return Annealed(
        x=x,
        u=u,
        grad_u=grad_u,
        island=np.repeat(origin[chosen], schedule.snapshots),
        founder=np.repeat(founder, schedule.snapshots),
        log_z=log_mean_weight(log_z),
        d_log_z=float(error),
        temperatures=np.array(temperatures),
        acceptance=np.array(acceptance),
        evaluations=target.count,
    )


def family_error(founder: np.ndarray, wells: np.ndarray) -> float:
    """Estimate the relative error of Z where families decide between wells.

    With the fractions f of the founders' families and n particles, sqrt(sum f^2 - 1/n) is the
    genealogical estimate of Lee and Whiteley, Biometrika 105, 609 (2018), which supposes that
    relatives stay equal. Their wells do, as far as moves do not cross; the fraction r of pairs of
    relatives that are in one well because they are relatives multiplies the variance.

    Args:
        founder: (n,) number of the particle of the start that each descends from.
        wells: (n, torsions) number of the well that each torsion is in; the torsion that is
            crossed least counts.
    """
    n = len(founder)
    fraction = np.bincount(founder) / n
    genealogical = max(0.0, (fraction**2).sum() - 1.0 / n)
    kept = max((_retention(founder, column) for column in wells.T), default=0.0)
    return float(np.sqrt(kept * genealogical))


def _retention(founder: np.ndarray, well: np.ndarray) -> float:
    """Estimate (P(two relatives in one well) - P(any two)) / (1 - P(any two)), at least 0."""
    sizes = np.bincount(founder).astype(float)
    pairs = (sizes * (sizes - 1.0)).sum()
    alike = (np.bincount(well) / len(well)) ** 2
    if pairs == 0.0 or alike.sum() > 1.0 - 1e-3:
        return 0.0
    _, both = np.unique(founder * (well.max() + 1) + well, return_counts=True)
    together = (both * (both - 1.0)).sum() / pairs
    return max(0.0, (together - alike.sum()) / (1.0 - alike.sum()))


def _take_snapshots(
    target: Checked,
    population: Population,
    scales: np.ndarray,
    step: float,
    schedule: Schedule,
    generator: np.random.Generator,
    report: Progress,
) -> Population:
    """Take populations at b = 1, those of one particle side by side, as they are relatives."""
    snapshots, moves = [population], SNAPSHOT_MOVES * schedule.moves
    for k in range(1, schedule.snapshots):
        report(1.0, f"snapshot {k + 1} of {schedule.snapshots}")
        x, u, grad_u, _ = mala.mala(target, *snapshots[-1], scales, step, moves, generator)
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
