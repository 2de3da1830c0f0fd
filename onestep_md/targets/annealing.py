"""Annealed sequential Monte Carlo: first samples of a density from its energy alone.

A population follows p_b(x) ~ N(x; m, S)^(1-b) exp(-b u(x)) from b = 0 to 1 (Del Moral, Doucet
and Jasra, J. R. Stat. Soc. B 68, 411 (2006)): reweight to the next b, resample, move by MALA.
The mean weights of all steps multiply to an estimate of Z = integral exp(-u). Nothing is set per
target: cheap pilot passes from ever wider Gaussians find where the density lives, and the full
pass starts from a Gaussian fitted to what they found. Gives a density target its first samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onestep_md.errors import TargetError
from onestep_md.targets import mala

CONDITIONAL_ESS = 0.9  # of the weights of one temperature step
ISLANDS = 16  # populations that resample apart: the error bar is good to 1 / sqrt(2 * 15)
INFLATION = 2.0  # of the fitted covariance: the base must have the wider tails
PILOT_PARTICLES, PILOT_ISLANDS, PILOT_ESS, PILOT_MOVES = 2000, 8, 0.7, 4  # it finds widths only
PILOT_SHARE = 0.1  # of the progress bar
WIDTHS = tuple(4.0**k for k in range(-9, 11))  # of the pilots, in the units of x
FIRST_WIDTH = 4.0
FEWEST_INSIDE = 5  # points of finite energy that a pass may start from
SUPPORTED = 0.05  # share of a pilot's start that must have a finite energy
WIDER = 1.3  # widths differ by this factor: more than the noise of a pilot
RUNAWAY = 1e3  # base widths: farther out than any path to a density leads
MOST_TEMPERATURES = 1000  # of one pass

Progress = Callable[[float, str], None]
Population = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (n, dim), u (n,), grad_u (n, dim)


@dataclass(frozen=True)
class Annealed:
    """What annealing found.

    Attributes:
        x: (n, dim) samples of equal weight at temperature 1, after the last moves
        u: (n,) their reduced energies in kT
        grad_u: (n, dim) their gradients, in kT per unit of x
        log_z: estimate of log integral exp(-u) dx
        d_log_z: its standard error, from the spread of Z over islands of the population. Islands
            share the temperatures, the step and the preconditioner, but resample apart, so each
            has an estimate of Z of its own. What all of them miss (a mode, a narrow neck) is not
            in it.
        temperatures: (m,) the inverse temperatures b of the full pass; the last one is 1
        acceptance: (m,) of the MALA moves at each of them
        evaluations: of energy with gradient, pilot passes included
    """

    x: np.ndarray
    u: np.ndarray
    grad_u: np.ndarray
    log_z: float
    d_log_z: float
    temperatures: np.ndarray
    acceptance: np.ndarray
    evaluations: int


def anneal(
    target: mala.EnergyFunction,
    dim: int,
    particles: int,
    seed: int,
    moves: int = 8,
    progress: Progress | None = None,
) -> Annealed:
    """Samples exp(-u) and estimates its normalisation.

    Args:
        target: gives u in kT and its gradient; u may be +inf on part of space
        dim: of x
        particles: size of the population, at least 64
        seed: determines everything, for a given target
        moves: MALA moves at every temperature
        progress: told the fraction done, which is b of the last pass, and a message

    Raises:
        TargetError: the energies are +inf everywhere or not numbers, or exp(-u) has no integral
    """
    if particles < 64 or moves < 1:
        raise ValueError(f"need particles >= 64 and moves >= 1, not {particles} and {moves}")
    target = _Checked(target)
    generator = np.random.default_rng(seed)
    report = progress or (lambda fraction, message: None)
    pilot = _pilot(target, dim, min(particles, PILOT_PARTICLES), generator, report)
    schedule = _Schedule(min(ISLANDS, particles // 32), CONDITIONAL_ESS, moves, False)
    for _ in range(2):  # the second time only where the pilot had found part of the density
        base, start = _fitted(target, pilot.x, particles, generator)
        found = _pass(target, base, start, schedule, generator, report)
        more = found.log_z - pilot.log_z > max(0.2, 5.0 * found.d_log_z)
        if not (more and _wider(found, pilot)):
            return found
        pilot = found
    raise TargetError(
        f"the samples spread ever farther, now {_spread(found.x).max():.3g} wide. Check that "
        "exp(-u) has a finite integral (is a direction flat?), or use more particles."
    )


class _RunawayError(TargetError):
    """A pass left the region that its base can reach."""


class _Checked:
    """Counts the evaluations of a target and refuses numbers that mean nothing."""

    def __init__(self, target: mala.EnergyFunction):
        self.target, self.count = target, 0

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, grad_u = self.target.evaluate(x)
        self.count += len(x)
        good = (u == np.inf) | (np.isfinite(u) & np.isfinite(grad_u).all(axis=1))
        if not good.all():
            i = int(np.argmin(good))
            raise TargetError(
                f"at x = {np.array2string(x[i], precision=4, threshold=8)} the energy is {u[i]} "
                "or its gradient is not finite. Return u = +inf outside the support; a density "
                "that is infinite at a point has to be transformed or cut off there."
            )
        return u, grad_u


class _Gaussian:
    """The base N(m, S), as the energy u_0(x) = -log N(x; m, S)."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray):
        self.mean, self.width = mean, np.sqrt(np.diag(covariance))
        self.factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(self.factor)
        self.precision = inverse.T @ inverse
        # -log N(m; m, S) = log det(2 pi S) / 2
        self.lowest = float(np.log(np.sqrt(2.0 * np.pi) * np.diag(self.factor)).sum())

    def population(
        self, target: mala.EnergyFunction, n: int, generator: np.random.Generator
    ) -> Population:
        x = self.mean + generator.standard_normal((n, len(self.mean))) @ self.factor.T
        return x, *target.evaluate(x)

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gradient = (x - self.mean) @ self.precision
        return self.lowest + 0.5 * np.einsum("ij,ij->i", x - self.mean, gradient), gradient

    def tempering(self, b: float) -> mala.Tempering:
        """Returns the map from u and its gradient to those of p_b: (1 - b) u_0 + b u."""

        def tempered(x, u, grad_u):
            u_0, grad_u_0 = self.evaluate(x)
            return (1.0 - b) * u_0 + b * u, (1.0 - b) * grad_u_0 + b * grad_u

        return tempered


@dataclass(frozen=True)
class _Schedule:
    """How carefully a pass goes; with `diverse`, islands join alike, whatever their Z."""

    islands: int
    ess: float
    moves: int
    diverse: bool


def _pilot(
    target: _Checked, dim: int, particles: int, generator: np.random.Generator, report: Progress
) -> Annealed:
    """Cheap passes from ever wider Gaussians, until the population found no longer grows.

    A base that is too narrow misses modes; one that is too wide only costs temperatures. So the
    width goes up by factors of 4 until the population is well inside the base and no wider than
    from the base before, or until most of the base is outside the support.
    """

    def start(k: int) -> tuple[_Gaussian, Population, float]:
        base = _Gaussian(np.zeros(dim), WIDTHS[k] ** 2 * np.eye(dim))
        population = base.population(target, particles, generator)
        return base, population, np.isfinite(population[1]).mean()

    first = WIDTHS.index(FIRST_WIDTH)
    if start(first)[2] < SUPPORTED:
        first = int(np.argmax([start(k)[2] for k in range(len(WIDTHS))]))
    schedule, before = _Schedule(PILOT_ISLANDS, PILOT_ESS, PILOT_MOVES, True), None
    for k in range(first, len(WIDTHS)):
        report(PILOT_SHARE * (k - first) / (len(WIDTHS) - first), f"pilot of width {WIDTHS[k]:g}")
        base, population, inside = start(k)
        if before and inside < SUPPORTED:
            return before
        try:
            found = _pass(target, base, population, schedule, generator)
        except _RunawayError:
            before = None
            continue
        if before and not _wider(found, before):
            return found
        if before and before.log_z - found.log_z > 2.0 * np.hypot(before.d_log_z, found.d_log_z):
            return before  # wider but with less of Z: a funnel's mouth, which a pilot cannot leave
        before = found
    raise TargetError(
        f"from Gaussians of ever greater width, up to {WIDTHS[-1]:.0e}, the samples went as far "
        "out as the Gaussian reached. Check that exp(-u) has a finite integral: is a direction "
        "flat, a prior missing, or a sign wrong?"
    )


def _fitted(
    target: _Checked, x: np.ndarray, particles: int, generator: np.random.Generator
) -> tuple[_Gaussian, Population]:
    """Returns a Gaussian wider than the samples x, and a population of it.

    The inflation halves until a quarter of the population is inside the support: in many
    dimensions nearly all of a Gaussian that is wider than a box is outside of it.
    """
    inflation = INFLATION
    while True:
        base = _Gaussian(x.mean(axis=0), inflation * mala.covariance(x))
        population = base.population(target, particles, generator)
        if np.isfinite(population[1]).mean() > 0.25 or inflation < 0.2:
            return base, population
        inflation *= 0.5


def _pass(
    target: _Checked,
    base: _Gaussian,
    population: Population,
    schedule: _Schedule,
    generator: np.random.Generator,
    report: Progress = lambda fraction, message: None,
) -> Annealed:
    """Takes a population of the base from b = 0 to b = 1.

    Step and preconditioner follow the population from one temperature to the next, but stay as
    they are during the moves of one temperature, so that these leave p_b invariant.
    """
    x, u, grad_u = population
    islands = np.array_split(np.arange(len(x)), schedule.islands)
    inside = np.isfinite(u)
    kept = _inside_only(inside, islands, base, generator)
    x, u, grad_u = x[kept], u[kept], grad_u[kept]
    with np.errstate(divide="ignore"):
        log_z = np.log([inside[island].mean() for island in islands])
    b, step = 0.0, mala.first_step(x.shape[1])
    temperatures, acceptance = [], []
    while b < 1.0:
        # log p_b'(x) - log p_b(x) = (b' - b) (u_0 - u)
        rise = base.evaluate(x)[0] - u
        increment = _increment(rise, 1.0 - b, schedule.ess)
        b = b + increment if increment < 1.0 - b else 1.0
        log_w = increment * rise
        if b < 1.0:
            chosen = np.concatenate([part[_resample(log_w[part], generator)] for part in islands])
        else:  # the islands join, each with the weight of the Z that it has found
            so_far = np.repeat(log_z, [len(island) for island in islands])
            chosen = _resample(log_w + (0.0 if schedule.diverse else so_far), generator)
        log_z += [_log_mean(log_w[island]) for island in islands]
        x, u, grad_u = x[chosen], u[chosen], grad_u[chosen]
        tempering = base.tempering(b)
        scales = mala.preconditioner(x, tempering(x, u, grad_u)[1])
        x, u, grad_u, accepted = mala.mala(
            target, x, u, grad_u, scales, step, schedule.moves, generator, tempering
        )
        step = mala.adapted(step, accepted)
        temperatures.append(b)
        acceptance.append(accepted)
        message = f"{len(temperatures)} temperatures, b = {b:.2g}, accepted {accepted:.2f}"
        report(max(b, PILOT_SHARE), message)
        if (x.std(axis=0) > RUNAWAY * base.width).any() or len(acceptance) > MOST_TEMPERATURES:
            raise _RunawayError(
                f"after {len(acceptance)} temperatures, at b = {b:.3g}, the samples are "
                f"{(x.std(axis=0) / base.width).max():.2g} times as wide as they started. Check "
                "that exp(-u) has a finite integral, or scale x so that its widths are near 1."
            )
    relative = np.exp(log_z - log_z.max())
    # log Z = log <Z_i>, and d log Z = dZ / Z
    error = relative.std(ddof=1) / relative.mean() / np.sqrt(len(islands))
    return Annealed(
        x=x,
        u=u,
        grad_u=grad_u,
        log_z=_log_mean(log_z),
        d_log_z=float(error),
        temperatures=np.array(temperatures),
        acceptance=np.array(acceptance),
        evaluations=target.count,
    )


def _inside_only(
    inside: np.ndarray, islands: list[np.ndarray], base: _Gaussian, generator: np.random.Generator
) -> np.ndarray:
    """Returns which points (n,) replace the whole start, so that each is inside the support."""
    n = len(inside)
    if inside.all():
        return np.arange(n)
    if inside.sum() < FEWEST_INSIDE:
        raise TargetError(
            f"the energy is +inf at {n - inside.sum()} of {n} points around x = "
            f"{np.array2string(base.mean, precision=3, threshold=8)}, width {base.width.max():.2g}"
            ", the best start that was found. Check the support of the density, shift and scale x "
            "so that it holds the neighbourhood of 0, or use more particles."
        )
    sources = [island[inside[island]] for island in islands]
    # an island with no point inside borrows some, and has a weight of Z = 0
    sources = [own if len(own) else np.flatnonzero(inside) for own in sources]
    pairs = zip(sources, islands, strict=True)
    return np.concatenate([generator.choice(own, len(island)) for own, island in pairs])


def _increment(rise: np.ndarray, rest: float, ess: float) -> float:
    """Returns the step of b, at most `rest`, whose weights exp(step * rise) have the ESS."""

    def enough(log_step: float) -> bool:
        w = np.exp(np.exp(log_step) * (rise - rise.max()))
        return w.sum() ** 2 >= ess * len(w) * (w**2).sum()

    low, high = np.log(1e-300), np.log(rest)
    if enough(high):
        return rest
    for _ in range(40):  # on a log scale, as the first steps may be tiny
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return float(np.exp(low))


def _resample(log_w: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Systematic resampling: (n,) rising indices; i occurs floor(n w_i) or ceil(n w_i) times."""
    cumulative = np.cumsum(np.exp(log_w - log_w.max()))
    positions = (np.arange(len(log_w)) + generator.random()) / len(log_w)
    return np.searchsorted(cumulative / cumulative[-1], positions, side="right")


def _log_mean(log_w: np.ndarray) -> float:
    """Returns log mean exp(log_w)."""
    return float(log_w.max() + np.log(np.exp(log_w - log_w.max()).mean()))


def _spread(x: np.ndarray) -> np.ndarray:
    """Returns a width of each column of x, (dim,), that a few stray samples cannot move."""
    low, high = np.quantile(x, (0.01, 0.99), axis=0)
    return (high - low) / 4.65  # = the standard deviation of a Gaussian


def _wider(one: Annealed, other: Annealed) -> bool:
    """Tells whether one population is wider than the other in some direction."""
    return bool((_spread(one.x) > WIDER * _spread(other.x)).any())
