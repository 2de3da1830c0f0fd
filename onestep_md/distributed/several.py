"""Energies of several targets by one evaluator.

A batch is of one target, and carries its number in an extra row that is no atom: so it may be cut
into jobs and sent to any evaluator, like that of a single target.
"""

import functools
from collections.abc import Sequence

import numpy as np

from onestep_md.distributed.pool import EvaluatorFactory, run_segments
from onestep_md.targets.evaluator import Segment, SegmentResult


def mark(x: np.ndarray, which: int) -> np.ndarray:
    """Mark conformations (batch, atoms, 3) of target `which`, as (batch, atoms + 1, 3)."""
    return np.concatenate([x, np.full_like(x[:, :1], which)], axis=1)


def several_factories(factories: Sequence[EvaluatorFactory]) -> EvaluatorFactory:
    """Return the factory of an evaluator of all targets; a single target has its own."""
    if len(factories) == 1:
        return factories[0]
    return functools.partial(SeveralEvaluator, tuple(factories))


class SeveralEvaluator:
    """Reduced energies of several targets; called like the evaluator of one."""

    def __init__(self, factories: Sequence[EvaluatorFactory]):
        """Make one evaluator for each of them."""
        self._evaluators = [factory() for factory in factories]

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """U (batch,) in kT and grad_u of the shape of x, which `mark` made; zero in its row."""
        u, grad_u = self._evaluators[int(x[0, -1, 0])].evaluate(x[:, :-1])
        return u, mark(grad_u, 0)

    def run_segment(self, segment: Segment) -> SegmentResult:
        """Run a piece of dynamics of the target that it names."""
        (result,) = run_segments(self._evaluators[segment.target], [segment])
        return result
