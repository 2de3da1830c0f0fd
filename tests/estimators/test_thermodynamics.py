"""Thermodynamics along temperature against closed forms of harmonic wells."""

import numpy as np
import pytest

from onestep_md.estimators.estimate import Estimate, z_score
from onestep_md.estimators.thermodynamics import (
    MOLECULE,
    Ensemble,
    Thermodynamics,
    particle_ensemble,
    reweighted_ensemble,
)

K = 0.008  # Boltzmann's constant of these tests
OWN = 300.0


def oscillator(temperature: float, stiffness: float, dim: int, depth: float = 0.0) -> np.ndarray:
    """F, U, TS and C_v of U = depth + stiffness |x|^2 / 2."""
    kT = K * temperature
    free_energy = depth - 0.5 * dim * kT * np.log(2.0 * np.pi * kT / stiffness)
    energy = depth + 0.5 * dim * kT
    return np.array([free_energy, energy, energy - free_energy, 0.5 * dim * K])


def draw_oscillator(generator, n: int, stiffness: float, dim: int, widening: float = 1.0):
    """Log q and U of samples of a Gaussian that is nearly that of the run's temperature."""
    width = widening * np.sqrt(K * OWN / stiffness)
    x = width * generator.standard_normal((n, dim))
    log_q = -0.5 * ((x / width) ** 2 + np.log(2.0 * np.pi * width**2)).sum(axis=1)
    return log_q, 0.5 * stiffness * (x**2).sum(axis=1)


def numbers(row: Thermodynamics) -> list[Estimate]:
    return [row.free_energy, row.energy, row.entropy, row.heat_capacity]


def at(temperature: float, log_q, potential, inside=None, regions=(), seed=0) -> Ensemble:
    inside = np.zeros((len(log_q), 0), dtype=bool) if inside is None else inside
    return reweighted_ensemble(log_q, potential, temperature, K, regions, inside, seed)


@pytest.mark.parametrize("temperature", [270.0, 300.0, 340.0])
def test_a_harmonic_oscillator_has_its_closed_forms(temperature):
    generator = np.random.default_rng(1)
    log_q, potential = draw_oscillator(generator, 20_000, 500.0, 6, 1.05)
    (row,) = at(temperature, log_q, potential).absolute()
    assert row.name == MOLECULE
    for found, known in zip(numbers(row), oscillator(temperature, 500.0, 6), strict=True):
        assert abs(found.value - known) < 3.5 * found.error
        assert found.error < 0.03 * max(abs(known), K * temperature)


def test_an_exact_density_knows_f_without_error_and_the_rest_with_its_fluctuations():
    generator = np.random.default_rng(2)
    n, dim = 10_000, 6
    log_q, potential = draw_oscillator(generator, n, 500.0, dim)
    (row,) = at(OWN, log_q, potential).absolute()
    assert row.free_energy.value == pytest.approx(oscillator(OWN, 500.0, dim)[0])
    assert row.free_energy.error == pytest.approx(0.0, abs=1e-12)
    assert row.energy.error == pytest.approx(K * OWN * np.sqrt(0.5 * dim / n), rel=0.2)
    # U / kT is a gamma variable of shape a = dim / 2:
    # var(s^2) = (m4 - m2^2) / n = (2 a^2 + 6 a) / n
    shape = 0.5 * dim
    error = K * np.sqrt((2.0 * shape**2 + 6.0 * shape) / n)
    assert row.heat_capacity.error == pytest.approx(error, rel=0.2)


def test_errors_cover_the_truth():
    z = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        log_q, potential = draw_oscillator(generator, 1500, 500.0, 6, 1.05)
        own = at(OWN, log_q, potential, seed=seed)
        other = at(330.0, log_q, potential, seed=seed)
        known = oscillator(330.0, 500.0, 6)
        difference = known - oscillator(OWN, 500.0, 6)
        difference[3] = known[3]
        for rows, truth in ((other.absolute(), known), (other.relative(own), difference)):
            found = numbers(rows[0])
            z.append([(f.value - t) / f.error for f, t in zip(found, truth, strict=True)])
    z = np.abs(np.array(z).reshape(100, 8))
    assert ((z < 1.0).mean(axis=0) > 0.55).all()
    assert ((z < 1.0).mean(axis=0) < 0.80).all()
    assert ((z < 2.0).mean(axis=0) > 0.88).all()


WELLS = {"deep": (-4.0, 900.0), "broad": (0.0, 150.0)}  # depth, stiffness
PLACE = 2.0


def draw_wells(generator, n: int, dim: int = 3):
    """Log q, U and regions of two wells that do not overlap, drawn equally often."""
    second = generator.random(n) < 0.5
    depth, stiffness = np.where(second[:, None], WELLS["broad"], WELLS["deep"]).T
    width = 1.1 * np.sqrt(K * OWN / stiffness)[:, None]
    x = width * generator.standard_normal((n, dim))
    log_q = np.log(0.5) - 0.5 * ((x / width) ** 2 + np.log(2.0 * np.pi * width**2)).sum(axis=1)
    potential = depth + 0.5 * stiffness * (x**2).sum(axis=1)
    return log_q, potential, np.stack([~second, second], axis=1)


def wells(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantities of the molecule (4,) and of the two wells (2, 4)."""
    kT = K * temperature
    each = np.array([oscillator(temperature, s, 3, depth) for depth, s in WELLS.values()])
    p = np.exp(-each[:, 0] / kT)
    free_energy, p = -kT * np.log(p.sum()), p / p.sum()
    energy = p @ each[:, 1]
    # var U = <var U> + var <U>
    variance = p @ (each[:, 3] * kT * temperature) + p @ (each[:, 1] - energy) ** 2
    return np.array(
        [free_energy, energy, energy - free_energy, variance / (kT * temperature)]
    ), each


def test_wells_of_other_depth_and_width_are_covered():
    z = []
    for seed in range(100):
        log_q, potential, inside = draw_wells(np.random.default_rng(seed), 2000)
        own = at(OWN, log_q, potential, inside, tuple(WELLS), seed)
        other = at(340.0, log_q, potential, inside, tuple(WELLS), seed)
        whole, each = wells(340.0)
        absolute = np.stack([whole, *each])
        zero = np.stack([wells(OWN)[0], whole, whole])
        zero[:, 3] = 0.0
        for rows, truth in ((other.absolute(), absolute), (other.relative(own), absolute - zero)):
            assert [row.name for row in rows] == [MOLECULE, *WELLS]
            found = [number for row in rows for number in numbers(row)]
            z.append([(f.value - t) / f.error for f, t in zip(found, truth.ravel(), strict=True)])
    z = np.array(z).reshape(100, 24)
    assert (np.abs(z.mean(axis=0)) < 0.35).all()
    assert ((np.abs(z) < 1.0).mean(axis=0) > 0.55).all()
    assert ((np.abs(z) < 1.0).mean(axis=0) < 0.80).all()


def test_differences_from_the_run_have_smaller_errors_than_two_independent_numbers():
    log_q, potential, inside = draw_wells(np.random.default_rng(0), 5000)
    own, other = (at(t, log_q, potential, inside, tuple(WELLS)) for t in (OWN, 310.0))
    apart = np.hypot(own.absolute()[0].energy.error, other.absolute()[0].energy.error)
    assert other.relative(own)[0].energy.error < 0.5 * apart
    zero = own.relative(own)[0]
    assert zero.free_energy == Estimate(0.0, 0.0)
    assert zero.energy == Estimate(0.0, 0.0)
    assert zero.heat_capacity == own.absolute()[0].heat_capacity


def test_the_slope_of_f_is_minus_the_entropy_and_that_of_u_the_heat_capacity():
    log_q, potential, inside = draw_wells(np.random.default_rng(3), 20_000)
    below, here, above = (
        at(t, log_q, potential, inside, tuple(WELLS)).values for t in (309.9, 310.0, 310.1)
    )
    slope = (above - below) / 0.2
    # reweighted averages of one set of samples are derivatives of its own log Z, without noise
    np.testing.assert_allclose(slope[:, 0], -here[:, 2] / 310.0, rtol=1e-5)
    np.testing.assert_allclose(slope[:, 1], here[:, 3], rtol=1e-5)


def test_too_few_samples_are_no_estimate_and_have_a_reason():
    log_q, potential, inside = draw_wells(np.random.default_rng(4), 4000)
    own = at(OWN, log_q, potential, inside, tuple(WELLS))
    far = at(3000.0, log_q, potential, inside, tuple(WELLS))
    for row in far.relative(own) + own.relative(far)[:1]:
        assert all(np.isnan(number.value) and number.reason for number in numbers(row))
    few = inside.copy()
    few[np.flatnonzero(few[:, 0])[20:], 0] = False
    molecule, small, broad = at(OWN, log_q, potential, few, tuple(WELLS)).absolute()
    assert "effective samples" in small.energy.reason
    assert not molecule.energy.reason and not broad.energy.reason
    nowhere = np.zeros_like(inside)
    assert at(OWN, log_q, potential, nowhere, tuple(WELLS)).absolute()[1].energy.reason


def test_samples_without_energy_or_density_weigh_nothing():
    log_q, potential, inside = draw_wells(np.random.default_rng(5), 4000)
    clean = at(310.0, log_q, potential, inside, tuple(WELLS))
    log_q = np.concatenate([log_q, [0.0, np.inf, np.nan]])
    potential = np.concatenate([potential, [np.inf, 0.0, 0.0]])
    inside = np.concatenate([inside, np.ones((3, 2), dtype=bool)])
    found = at(310.0, log_q, potential, inside, tuple(WELLS))
    np.testing.assert_allclose(found.values[:, [1, 3]], clean.values[:, [1, 3]])
    shift = K * 310.0 * np.log(4003 / 4000)  # they count among the samples
    np.testing.assert_allclose(found.values[:, 0], clean.values[:, 0] + shift)
    nothing = at(310.0, np.full(50, np.inf), np.zeros(50))
    assert nothing.absolute()[0].free_energy.reason


def test_particles_of_equal_weight_are_covered_in_spite_of_their_relatives():
    whole, each = wells(350.0)
    absolute, kT = np.stack([whole, *each]), K * 350.0
    p = np.exp(-(each[:, 0] - whole[0]) / kT)
    z = []
    for seed in range(100):
        generator = np.random.default_rng(seed)
        # every configuration three times, as particles that have not moved since they parted
        second = np.repeat(generator.random(800) < p[1], 3)
        normal = np.repeat(generator.standard_normal((800, 3)), 3, axis=0)
        depth = np.where(second, WELLS["broad"][0], WELLS["deep"][0])
        potential = depth + 0.5 * kT * (normal**2).sum(axis=1)
        log_z = Estimate(-whole[0] / kT + 0.03 * generator.standard_normal(), 0.03)
        inside = np.stack([~second, second], axis=1)
        island = np.repeat(np.arange(16), 150)
        found = particle_ensemble(
            log_z, potential, island, 350.0, K, tuple(WELLS), inside, seed
        ).absolute()
        each_number = [number for row in found for number in numbers(row)]
        z.append(
            [(f.value - t) / f.error for f, t in zip(each_number, absolute.ravel(), strict=True)]
        )
    z = np.abs(np.array(z))
    assert ((z < 1.0).mean(axis=0) > 0.5).all()
    assert ((z < 2.0).mean(axis=0) > 0.85).all()


def test_both_ways_agree():
    generator = np.random.default_rng(6)
    log_q, potential = draw_oscillator(generator, 10_000, 500.0, 6, 1.02)
    by_weights = at(OWN, log_q, potential).absolute()[0]
    _, drawn = draw_oscillator(generator, 4000, 500.0, 6)
    log_z = Estimate(-oscillator(OWN, 500.0, 6)[0] / (K * OWN), 0.01)
    inside = np.zeros((4000, 0), dtype=bool)
    by_particles = particle_ensemble(
        log_z, drawn, np.repeat(np.arange(16), 250), OWN, K, (), inside, 0
    ).absolute()[0]
    for a, b in zip(numbers(by_weights), numbers(by_particles), strict=True):
        assert abs(z_score(a, b)) < 3.5


def test_the_heat_capacity_needs_more_of_the_tail_than_the_energy():
    log_q, potential = draw_oscillator(np.random.default_rng(7), 10_000, 500.0, 60)
    near, far = (at(t, log_q, potential).absolute()[0] for t in (320.0, 370.0))
    assert not near.heat_capacity.reason
    assert "k-hat" in far.heat_capacity.reason and np.isnan(far.heat_capacity.value)
    assert abs(far.energy.value - oscillator(370.0, 500.0, 60)[1]) < 3.5 * far.energy.error
