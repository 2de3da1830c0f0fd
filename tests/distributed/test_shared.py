"""Evaluators of several molecules: every molecule gets the energies that are its own."""

import functools

import numpy as np
import pytest

from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.distributed.several import several_factories
from onestep_md.distributed.shared import SharedEvaluators
from onestep_md.targets.evaluator import PotentialEvaluator, Segment


@pytest.fixture(scope="module")
def molecules(shipped):
    return shipped("alanine"), shipped("glycine")


class Flat:
    """An energy of zero without a gradient."""

    def evaluate(self, x):
        return np.zeros(len(x)), np.full(x.shape, np.nan)


def pool_of(molecules):
    factories = [functools.partial(PotentialEvaluator, m, "Reference") for m in molecules]
    return SerialEvaluators(several_factories(factories), "Reference")


def test_every_molecule_has_its_own_energies_and_counts(molecules):
    pool = pool_of(molecules)
    shared = [SharedEvaluators(pool, i) for i in range(2)]
    generator = np.random.default_rng(0)
    x = [
        m.positions + 0.002 * generator.normal(size=(n, *m.positions.shape))
        for m, n in zip(molecules, (3, 5), strict=True)
    ]
    tickets = [evaluators.submit(part) for evaluators, part in zip(shared, x, strict=True)]
    for i in (1, 0):
        u, grad_u = shared[i].collect(tickets[i])
        expected = PotentialEvaluator(molecules[i], "Reference").evaluate(x[i])
        np.testing.assert_array_equal(u, expected[0])
        np.testing.assert_array_equal(grad_u, expected[1])
    assert [evaluators.evaluations for evaluators in shared] == [3, 5]
    assert pool.evaluations == 8


def test_energies_that_overflow_are_infinite(molecules):
    shared = SharedEvaluators(pool_of(molecules), 1)
    u, _ = shared.evaluate(np.zeros((2, *molecules[1].positions.shape)))
    assert np.isposinf(u).all() and shared.gaps.gradients == 0


def test_rows_without_a_gradient_are_counted_for_their_molecule():
    pool = SerialEvaluators(several_factories([Flat, Flat]), "Reference")
    shared = [SharedEvaluators(pool, i) for i in range(2)]
    shared[1].evaluate(np.ones((2, 3, 3)))
    assert [evaluators.gaps.gradients for evaluators in shared] == [0, 2]
    np.testing.assert_array_equal(shared[1].gaps.example, np.ones((3, 3)))


def test_dynamics_are_those_of_the_molecule_alone(molecules):
    shared, alone = SharedEvaluators(pool_of(molecules), 1), pool_of(molecules[1:])
    segment = Segment(molecules[1].positions, None, 300.0, 20, 2.0, 1.0, 10, seed=3)
    ((found,), (expected,)) = (pool.map_segments([segment]) for pool in (shared, alone))
    np.testing.assert_array_equal(found.positions, expected.positions)
    assert shared.evaluations == alone.evaluations == found.force_evaluations
