"""Annealed sequential Monte Carlo: first samples of a density from its energy alone.

Nothing is set per target: cheap pilot passes from ever wider Gaussians find the density, and the
full pass starts from a Gaussian fitted to their samples; or the base is given. `gaussian_fit`
comes first if the particles are too few to estimate a covariance in so many dimensions.
"""

from pathlib import Path

import numpy as np

from onestep_md.coordinates.linear_forces import ROWS
from onestep_md.errors import TargetError
from onestep_md.exploration import mala
from onestep_md.exploration.base_density import (
    Base,
    Checked,
    Gaussian,
    Population,
    start_population,
)
from onestep_md.exploration.gaussian_fit import fit_gaussian
from onestep_md.exploration.smc import (
    PILOT_FRACTION,
    Annealed,
    Pass,
    Progress,
    RunawayError,
    Schedule,
    continue_pass,
    run_pass,
    start_pass,
)

CONDITIONAL_ESS = 0.9  # of the weights of one temperature step
ISLANDS = 16  # populations that resample apart: the error bar is good to 1 / sqrt(2 * 15)
INFLATION = 2.0  # of the fitted covariance: the base must have the wider tails
PILOT_PARTICLES, PILOT_ISLANDS, PILOT_ESS, PILOT_MOVES = 2000, 8, 0.7, 4  # enough for widths
WIDTHS = tuple(4.0**k for k in range(-9, 11))  # of the pilots, in the units of x
FIRST_WIDTH = 4.0
SUPPORTED = 0.05  # fraction of a pilot's start that must have a finite energy
WIDER = 1.3  # ratio of widths, beyond the noise of a pilot


def anneal(
    target: mala.EnergyFunction,
    dim: int,
    particles: int,
    seed: int,
    moves: int = 8,
    progress: Progress | None = None,
) -> Annealed:
    """Sample exp(-u) and estimate its normalisation.

    Args:
        target: gives u in kT and its gradient; u may be +inf on part of space.
        dim: number of coordinates of x.
        particles: size of the population, at least 64.
        seed: determines everything, for a given target.
        moves: MALA moves at every temperature.
        progress: called with the fraction done, which is b of the last pass, and a message.

    Raises:
        TargetError: the energies are +inf everywhere or not numbers, or exp(-u) has no integral.
    """
    if particles < 64 or moves < 1:
        raise ValueError(f"need particles >= 64 and moves >= 1, not {particles} and {moves}")
    target = Checked(target)
    generator = np.random.default_rng(seed)
    report = progress or (lambda fraction, message: None)
    schedule = Schedule(min(ISLANDS, particles // 32), CONDITIONAL_ESS, moves, False)
    if particles < ROWS * dim:
        report(0.0, "fit of a Gaussian")
        base = fit_gaussian(target, dim, particles, generator)
        if base:
            start = start_population(base, target, particles, generator)
            return run_pass(target, base, start, schedule, generator, report)
    pilot = _run_pilots(target, dim, min(particles, PILOT_PARTICLES), generator, report)
    for _ in range(2):  # a second time only if the pilot found part of the density
        base, start = _fit_base(target, pilot.x, particles, generator)
        annealed = run_pass(target, base, start, schedule, generator, report)
        gain = annealed.log_z - pilot.log_z
        if not (gain > max(0.2, 5.0 * annealed.d_log_z) and _is_wider(annealed, pilot)):
            return annealed
        pilot = annealed
    raise TargetError(
        f"the samples spread ever farther, now {_estimate_width(annealed.x).max():.3g} wide. "
        "Check that exp(-u) has a finite integral (is a direction flat?), or use more particles."
    )


def anneal_from(
    base: Base,
    target: mala.EnergyFunction,
    particles: int,
    seed: int,
    moves: int,
    snapshots: int,
    progress: Progress,
    saved: Path | None = None,
    surplus: int = 1,
) -> Annealed:
    """Anneal from a base that is known to cover the target, in a single pass.

    The population moves on at the end, and `snapshots` of it are kept: particles forget their
    places in a well sooner than the well, and this is cheaper than more particles. A pass that
    was interrupted goes on from the file `saved`, with the same numbers. `surplus` samples of the
    base are drawn for every particle.
    """
    generator, checked = np.random.default_rng(seed), Checked(target)
    islands = min(ISLANDS, particles // 32)
    schedule = Schedule(islands, CONDITIONAL_ESS, moves, False, snapshots, surplus)
    if saved and saved.exists():
        state = Pass.load(saved, generator, checked)
    else:
        start = start_population(base, checked, surplus * particles, generator)
        state = start_pass(base, start, islands, generator)
    return continue_pass(state, checked, base, schedule, generator, progress, saved)


def _run_pilots(
    target: Checked, dim: int, particles: int, generator: np.random.Generator, report: Progress
) -> Annealed:
    """Run cheap passes from ever wider Gaussians, until the population no longer grows.

    A base that is too narrow misses modes; one that is too wide only costs temperatures. So the
    width goes up by factors of 4 until the population is no wider than that from the base before,
    or until most of the base is outside the support.
    """

    def start(k: int) -> tuple[Gaussian, Population, float]:
        base = Gaussian(np.zeros(dim), WIDTHS[k] ** 2 * np.eye(dim))
        population = start_population(base, target, particles, generator)
        return base, population, np.isfinite(population[1]).mean()

    first = WIDTHS.index(FIRST_WIDTH)
    if start(first)[2] < SUPPORTED:
        first = int(np.argmax([start(k)[2] for k in range(len(WIDTHS))]))
    schedule, previous = Schedule(PILOT_ISLANDS, PILOT_ESS, PILOT_MOVES, True), None
    for k in range(first, len(WIDTHS)):
        report(
            PILOT_FRACTION * (k - first) / (len(WIDTHS) - first), f"pilot of width {WIDTHS[k]:g}"
        )
        base, population, inside = start(k)
        if previous and inside < SUPPORTED:
            return previous
        try:
            pilot = run_pass(target, base, population, schedule, generator)
        except RunawayError:
            previous = None
            continue
        if previous and not _is_wider(pilot, previous):
            return pilot
        if previous:
            error = np.hypot(previous.d_log_z, pilot.d_log_z)
            # wider but with less of Z: a funnel's mouth, which a pilot cannot leave
            if previous.log_z - pilot.log_z > 2.0 * error:
                return previous
        previous = pilot
    raise TargetError(
        f"from Gaussians of ever greater width, up to {WIDTHS[-1]:.0e}, the samples went as far "
        "out as the Gaussian reached. Check that exp(-u) has a finite integral: is a direction "
        "flat, a prior missing, or a sign wrong?"
    )


def _fit_base(
    target: Checked, x: np.ndarray, particles: int, generator: np.random.Generator
) -> tuple[Gaussian, Population]:
    """Fit a Gaussian wider than the samples x, and draw a population of it.

    The inflation halves until a quarter of the population is inside the support: in many
    dimensions nearly all of a Gaussian that is wider than a box is outside of it.
    """
    inflation = INFLATION
    while True:
        base = Gaussian(x.mean(axis=0), inflation * mala.estimate_covariance(x))
        population = start_population(base, target, particles, generator)
        if np.isfinite(population[1]).mean() > 0.25 or inflation < 0.2:
            return base, population
        inflation *= 0.5


def _estimate_width(x: np.ndarray) -> np.ndarray:
    """Estimate the widths (dim,) of the columns of x; a few stray samples have no influence."""
    low, high = np.quantile(x, (0.01, 0.99), axis=0)
    return (high - low) / 4.65  # = the standard deviation of a Gaussian


def _is_wider(one: Annealed, other: Annealed) -> bool:
    """Whether one population is wider than the other in some direction."""
    return bool((_estimate_width(one.x) > WIDER * _estimate_width(other.x)).any())
