"""Annealing against closed forms, and its refusals."""

from dataclasses import fields

import numpy as np
import pytest
from energies import Energy, correlated, gaussian

from onestep_md.errors import TargetError
from onestep_md.exploration.annealing import anneal, anneal_from
from onestep_md.exploration.base_density import Gaussian
from onestep_md.exploration.families import family_error

NINE = np.array([[a, b] for a in (-5.0, 0.0, 5.0) for b in (-5.0, 0.0, 5.0)])


def mixture(means, variance):
    """Returns the normalised mixture of equal, round Gaussians: log Z = 0."""
    constant = np.log(len(means)) + 0.5 * means.shape[1] * np.log(2 * np.pi * variance)

    def formula(x):
        parts = -0.5 * ((x[:, None] - means) ** 2).sum(axis=2) / variance
        top = parts.max(axis=1, keepdims=True)
        w = np.exp(parts - top)
        total = w.sum(axis=1, keepdims=True)
        return constant - (top + np.log(total))[:, 0], (x - w @ means / total) / variance

    return Energy(formula)


def double_well(x):
    return ((x**2 - 4) ** 2).sum(axis=1), 4 * x * (x**2 - 4)


@pytest.mark.parametrize(
    ("dim", "shortest", "longest"), [(1, 0.04, 0.04), (3, 1e-4, 1e-2), (6, 0.1, 100.0)]
)
def test_log_z_of_gaussians_within_its_error(dim, shortest, longest):
    energy, exact = gaussian(np.full(dim, 2.0), correlated(dim, shortest, longest))
    found = [anneal(energy, dim, 1000, seed) for seed in range(16)]
    error = np.array([a.log_z for a in found]) - exact
    bar = np.array([a.d_log_z for a in found])
    assert abs(error.mean() / (error.std(ddof=1) / 4)) < 4
    # the bars, each from 16 islands, describe the scatter: neither too small nor too large
    assert np.abs(error / bar).max() < 4.5
    assert 0.6 < np.sqrt((error**2).mean() / (bar**2).mean()) < 1.6


def test_samples_of_a_gaussian_have_its_moments():
    covariance = correlated(5, 0.1, 10.0)
    energy, _ = gaussian(np.arange(5.0), covariance)
    found = anneal(energy, 5, 4000, 0)
    z = (found.x - np.arange(5.0)) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    # resampled particles are not independent: five times the noise of independent ones
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(4000)
    assert np.abs(z.T @ z / 4000 - np.eye(5)).max() < 5 * np.sqrt(2 / 4000)


def test_every_mode_of_nine_gets_its_share():
    found = anneal(mixture(NINE, 0.3), 2, 6000, 0)
    nearest = ((found.x[:, None] - NINE) ** 2).sum(axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=9) / 6000
    np.testing.assert_allclose(shares, 1 / 9, atol=0.03)
    assert abs(found.log_z) < max(0.03, 4 * found.d_log_z)


def test_far_modes_are_found_without_being_told():
    means = np.random.default_rng(3).uniform(-40, 40, (20, 2))
    found = anneal(mixture(means, 1.7), 2, 4000, 0)
    nearest = ((found.x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (np.bincount(nearest, minlength=20) > 0.5 * 4000 / 20).all()
    assert abs(found.log_z) < 0.12


def test_double_wells():
    found = anneal(Energy(double_well), 5, 4000, 0)
    assert abs(found.log_z + 0.541056) < 0.12
    np.testing.assert_allclose((found.x > 0).mean(axis=0), 0.5, atol=0.08)


def test_density_inside_a_box():
    """exp(-x - y - z) on [2, 5]^3, which is away from 0 and has hard walls."""

    def formula(x):
        inside = ((x > 2) & (x < 5)).all(axis=1)
        return np.where(inside, x.sum(axis=1), np.inf), np.ones_like(x)

    found = anneal(Energy(formula), 3, 4000, 0)
    exact = 3 * np.log(np.exp(-2) - np.exp(-5))
    assert abs(found.log_z - exact) < 4 * found.d_log_z < 0.2
    assert found.x.min() > 2 and found.x.max() < 5


def test_uniform_density_has_no_gradient_at_all():
    energy = Energy(lambda x: (np.where((np.abs(x) < 1).all(axis=1), 0.0, np.inf), 0 * x))
    found = anneal(energy, 2, 4000, 0)
    assert abs(found.log_z - 2 * np.log(2)) < 4 * found.d_log_z < 0.2


def test_where_there_is_no_gradient_there_are_samples_all_the_same():
    """Exp(-|x|), left of zero without a gradient: half of it is there."""

    def formula(x):
        right = (x > 0).astype(float)
        return np.abs(x).sum(axis=1), np.where(x > 0, right, np.nan)

    energy = Energy(lambda x: (np.abs(x).sum(axis=1), np.ones_like(x)))
    energy.evaluate = formula
    found = anneal(energy, 1, 4000, 0)
    assert abs(found.log_z - np.log(2)) < 4 * found.d_log_z < 0.3
    assert np.isfinite(found.grad_u).all() and abs((found.x < 0).mean() - 0.5) < 0.1


def test_record_of_the_run():
    energy, messages = mixture(NINE, 0.3), []
    found = anneal(
        energy, 2, 1000, 0, moves=4, progress=lambda f, text: messages.append((f, text))
    )
    assert found.evaluations == energy.rows
    assert found.x.shape == found.grad_u.shape == (1000, 2) and found.u.shape == (1000,)
    np.testing.assert_allclose(energy.evaluate(found.x)[0], found.u)
    np.testing.assert_allclose(energy.evaluate(found.x)[1], found.grad_u)
    assert (np.diff(found.temperatures) > 0).all() and found.temperatures[-1] == 1.0
    assert found.acceptance.shape == found.temperatures.shape
    assert 0.3 < found.acceptance.min() and found.acceptance.max() < 0.9
    fractions = [fraction for fraction, _ in messages]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert "width" in messages[0][1] and "accepted" in messages[-1][1]


def test_snapshots_of_a_particle_are_neighbours_and_samples_of_the_target():
    covariance = correlated(6, 0.1, 4.0)
    energy, log_z = gaussian(np.full(6, 0.5), covariance)
    base, messages = Gaussian(np.zeros(6), 9.0 * np.eye(6)), []
    found = anneal_from(base, energy, 2000, 3, 1, 5, lambda f, text: messages.append(text))
    assert found.evaluations == energy.rows and "snapshot 5 of 5" == messages[-1]
    assert found.x.shape == (10_000, 6) and (np.diff(found.island) >= 0).all()
    np.testing.assert_allclose(energy.evaluate(found.x)[0], found.u)
    assert abs(found.log_z - log_z) < 4 * found.d_log_z
    np.testing.assert_allclose(np.cov(found.x.T), covariance, atol=0.25)
    # whitened, so that strides count alike: nearer to the particle's next snapshot than to others
    white = np.linalg.solve(np.linalg.cholesky(covariance), found.x.T).T.reshape(2000, 5, 6)
    next_one = np.square(white[:, 1:] - white[:, :-1]).sum(-1).mean()
    other_one = np.square(white[1:] - white[:-1]).sum(-1).mean()
    assert next_one < 0.9 * other_one


def test_the_seed_decides_and_nothing_else():
    runs = []
    for seed, state in ((5, 0), (5, 1), (6, 0)):
        np.random.seed(state)
        runs.append(anneal(mixture(NINE, 0.3), 2, 500, seed))
    for field in fields(runs[0]):
        np.testing.assert_array_equal(getattr(runs[0], field.name), getattr(runs[1], field.name))
    assert not np.array_equal(runs[0].x, runs[2].x)


FLAT = Energy(lambda x: (0 * x[:, 0], 0 * x))
FLAT_IN_ONE = Energy(lambda x: (0.5 * x[:, 0] ** 2, x * [1.0, 0.0]))
WITHOUT_PRIOR = Energy(  # logistic regression of separable data: flat where all is well classified
    lambda x: (
        np.logaddexp(0, -x).sum(axis=1),
        -0.5 * (1 - np.tanh(0.5 * x)),  # = -1 / (1 + exp(x))
    )
)
UPSIDE_DOWN = Energy(lambda x: (-(x**2).sum(axis=1), -2 * x))
NOWHERE = Energy(lambda x: (np.full(len(x), np.inf), 0 * x))
NOT_A_NUMBER = Energy(lambda x: (np.where(x[:, 0] > 2, np.nan, 0.5 * (x**2).sum(axis=1)), x))
SINGULAR = Energy(lambda x: (np.where(x[:, 0] > 2, -np.inf, 0.5 * (x**2).sum(axis=1)), x))


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (FLAT, "finite integral"),
        (FLAT_IN_ONE, "finite integral"),
        (WITHOUT_PRIOR, "finite integral"),
        (UPSIDE_DOWN, "finite integral"),
        (NOWHERE, r"\+inf at 1000 of 1000 points.*Check the support"),
        (NOT_A_NUMBER, "energy is nan"),
        (SINGULAR, "energy is -inf"),
    ],
)
def test_what_is_no_density_is_refused(energy, message):
    with pytest.raises(TargetError, match=message):
        anneal(energy, 2, 1000, 0)


@pytest.mark.parametrize(("particles", "moves"), [(63, 8), (1000, 0)])
def test_sizes_are_checked(particles, moves):
    with pytest.raises(ValueError, match="need particles"):
        anneal(FLAT, 2, particles, 0, moves=moves)


def test_families_that_decide_between_wells_are_in_the_error():
    generator = np.random.default_rng(0)
    # 400 particles of 20 families of one size, each family in one of two wells
    founder = np.repeat(np.arange(20), 20)
    kept = generator.integers(0, 2, 20)[founder][:, None]
    frozen = family_error(founder, kept)
    assert frozen == pytest.approx(np.sqrt(1 / 20 - 1 / 400), rel=0.15)
    # relatives that have forgotten it, and particles of one well or without relatives
    forgotten = generator.integers(0, 2, (400, 1))
    assert family_error(founder, forgotten) < 0.3 * frozen
    assert family_error(founder, np.zeros((400, 1), dtype=int)) == 0.0
    assert family_error(np.arange(400), kept) == 0.0
    # the torsion that is crossed least counts
    assert family_error(founder, np.hstack([forgotten, kept])) == pytest.approx(frozen)


def test_few_founders_of_a_frozen_well_are_in_the_error():
    """Two wells that no move joins, of which a base finds one with few of its particles."""
    means = np.array([[-20.0, 0.0], [20.0, 0.0]])
    energy = mixture(means, 1.0)
    base = Gaussian(np.array([-6.0, 0.0]), np.diag([100.0, 4.0]))
    found = [
        anneal_from(base, energy, 320, seed, 4, 1, lambda fraction, message: None)
        for seed in range(24)
    ]
    error = np.array([a.log_z for a in found])
    bar = [max(a.d_log_z, family_error(a.founder, (a.x[:, :1] > 0).astype(int))) for a in found]
    z = error / np.array(bar)
    assert (np.abs(z) < 1).mean() > 0.5 and (np.abs(z) < 2).mean() > 0.85


def test_surplus_samples_of_the_base_save_temperatures_and_keep_log_z_right():
    energy, log_z = gaussian(np.full(12, 0.6), correlated(12, 0.5, 1.5))
    base, scores = Gaussian(np.zeros(12), np.eye(12)), []

    def run(seed, surplus, particles=640):
        return anneal_from(
            base, energy, particles, seed, 4, 1, lambda fraction, message: None, None, surplus
        )

    for seed in range(12):
        found = run(seed, 10)
        scores.append((found.log_z - log_z) / found.d_log_z)
    assert 0.3 < np.mean(np.square(scores)) < 2.5
    without = run(0, 1)
    assert len(found.temperatures) < len(without.temperatures)
    assert len(np.unique(found.founder)) > len(np.unique(without.founder))
    odd = run(0, 10, 601)
    assert len(odd.x) == len(odd.island) == 601 and (np.diff(odd.founder) >= 0).all()
