"""Flows of every kind and size without a real exploration.

They serve measurements of the arithmetic alone: numbers on two devices, and the time of a step.
"""

from collections.abc import Sequence

import numpy as np
import torch

from onestep_md.config import Config
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.exploration.explored import Exploration
from onestep_md.sampling.model import Model, build_model
from onestep_md.sampling.target import Target
from onestep_md.targets.evaluator import Segment, SegmentResult
from onestep_md.targets.gaps import Gaps

_STIRRED = 0.05  # standard deviation of the noise added to untrained parameters


class FreeEvaluators:
    """The `Evaluators` protocol with energies that are zero and cost nothing."""

    workers = alive = 1
    platform, repairs, evaluations, wait_seconds = "none", 0, 0, 0.0

    def __init__(self):
        self.gaps = Gaps()
        self._waiting: dict[int, np.ndarray] = {}
        self._tickets = 0

    def submit(self, x: np.ndarray) -> int:
        """Keep the shape of x."""
        self._tickets += 1
        self._waiting[self._tickets] = np.zeros_like(x)
        return self._tickets

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """Return zeros."""
        grad_u = self._waiting.pop(ticket)
        return np.zeros(len(grad_u)), grad_u

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return zeros of the shape of x."""
        return self.collect(self.submit(x))

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """Refuse: dynamics needs forces."""
        raise NotImplementedError

    def publish(self, values: dict[str, float]) -> None:
        """Drop the values."""

    def close(self) -> None:
        """Do nothing."""


def serial_evaluators(target: Target, platform: str) -> SerialEvaluators:
    """Return evaluators in this process; the platform matters for molecules only."""
    return SerialEvaluators(target.factory(platform), platform)


def make_rough_exploration(target: Target, n: int) -> Exploration:
    """Make an exploration of the samples that an annealing starts from, with real energies."""
    x = target.rough_samples(n, seed=0)
    u, grad_u = serial_evaluators(target, "Reference").evaluate(x)
    finite = np.isfinite(u)
    return Exploration(
        frames=x[finite],
        u=u[finite],
        grad_u=grad_u[finite],
        replica=np.zeros(finite.sum(), dtype=int),
        temperatures=np.ones(1),
        exchange_acceptance=np.zeros(0),
        evaluations=n,
        restarts=0,
    )


def build_rough_model(config: Config, target: Target, n: int) -> Model:
    """Build a model from n frames whose flow equals its teacher and is not the identity."""
    model = build_model(config, target, make_rough_exploration(target, n))
    state = model.state
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in state.flow.parameters():
            parameter.add_(_STIRRED * torch.randn(parameter.shape, generator=generator))
    state.teacher.load_state_dict(state.flow.state_dict())
    return model
