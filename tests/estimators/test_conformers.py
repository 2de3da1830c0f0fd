"""Conformers by population, and their entropy against its closed form."""

import numpy as np
import pytest

from onestep_md.estimators.conformers import (
    conformational_entropy,
    find_row,
    number_conformers,
)


def test_conformers_are_numbered_by_falling_weight():
    wells = np.array([[0, 1], [1, 0], [0, 1], [2, 2], [1, 0]])
    rows, number = number_conformers(wells, np.array([0.1, 0.3, 0.1, 0.2, 0.3]))
    assert rows.tolist() == [[1, 0], [0, 1], [2, 2]]
    assert number.tolist() == [1, 0, 1, 2, 0]
    assert find_row(rows, np.array([[2, 2], [2, 1]])).tolist() == [2, -1]


def entropy(p: np.ndarray) -> float:
    return float(-(p * np.log(p)).sum())


@pytest.mark.parametrize("p", [np.array([0.7, 0.2, 0.1]), np.full(40, 1 / 40)])
def test_entropy_and_its_error_are_right_over_many_sets(p):
    """The spread of 200 sets is the error that each has, and 40 equal conformers have no bias."""
    found = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        conformer = generator.choice(len(p), 1000, p=p)
        found.append(conformational_entropy(conformer, np.zeros(1000), generator, 50))
    values = np.array([estimate.value for estimate in found])
    errors = np.array([estimate.error for estimate in found])
    # of frequencies alone: (40 - 1) / 2000 = 0.02 too low
    assert abs(values.mean() - entropy(p)) < max(4.0 * values.std() / 200**0.5, 0.002)
    if (
        len(p) == 3
    ):  # where all are equal the entropy is at its top, and its spread of second order
        assert errors.mean() == pytest.approx(values.std(), rel=0.2)


def test_weights_count():
    """Two conformers drawn alike whose weights are 9 and 1."""
    generator = np.random.default_rng(3)
    conformer = generator.integers(2, size=20_000)
    log_w = np.where(conformer == 0, np.log(9.0), 0.0)
    found = conformational_entropy(conformer, log_w, generator)
    assert abs(found.value - entropy(np.array([0.9, 0.1]))) < 4.0 * found.error
    assert found.error < 0.01


def test_few_effective_samples_tell_no_entropy():
    found = conformational_entropy(np.zeros(50, dtype=int), np.zeros(50), np.random.default_rng(0))
    assert np.isnan(found.value) and "50.0 effective" in found.reason
