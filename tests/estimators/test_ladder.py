"""Averages from the energies of a ladder of temperatures, against closed forms."""

import numpy as np

from onestep_md.estimators.ladder import average_ladder

K = 0.00831446
DIM, LADDER = 40, np.array([280.0, 310.0, 350.0, 400.0])


def draw_energies(seed, n=2000):
    """Energies of 40 harmonic coordinates at every temperature, in kT of the lowest."""
    generator = np.random.default_rng(seed)
    return generator.gamma(0.5 * DIM, 1.0, (n, len(LADDER))) * LADDER / LADDER[0]


def test_averages_and_their_errors_are_those_of_harmonic_wells():
    wanted, scores = [290.0, 330.0, 380.0], []
    for seed in range(20):
        for row in average_ladder(draw_energies(seed), LADDER, 300.0, wanted, K):
            t = row.temperature
            truths = (0.5 * DIM * np.log(t / 300.0), 0.5 * DIM * K * t, 0.5 * DIM * K)
            numbers = (row.delta_log_z, row.energy, row.heat_capacity)
            scores.append([(n.value - v) / n.error for n, v in zip(numbers, truths, strict=True)])
    squares = np.square(scores).reshape(20, 3, 3).mean(axis=(0, 1))
    assert ((squares > 0.5) & (squares < 1.8)).all(), squares


def test_a_shift_of_the_energies_changes_what_it_should():
    u = draw_energies(1)
    (before,), (after,) = (average_ladder(x, LADDER, 300.0, [350.0], K) for x in (u, u + 1e4))
    shift = 1e4 * K * LADDER[0]
    assert np.isclose(after.energy.value - before.energy.value, shift)
    assert np.isclose(after.heat_capacity.value, before.heat_capacity.value, rtol=1e-6)
    apart = after.delta_log_z.value - before.delta_log_z.value
    assert np.isclose(apart, (1.0 / 300.0 - 1.0 / 350.0) * shift / K, rtol=1e-6)


def test_temperatures_outside_and_energies_that_are_missing_are_left_out():
    u = draw_energies(2)
    u[:100, 2] = np.nan
    rows = average_ladder(u, LADDER, 300.0, [250.0, 350.0, 500.0], K)
    assert [row.temperature for row in rows] == [350.0]
    assert np.isfinite(rows[0].heat_capacity.error)
