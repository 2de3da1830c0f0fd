"""Flows with random weights, and base samples, in float64; `random_numbers` for the tests here."""

import math
import sys
from pathlib import Path

import pytest
import torch

from onestep_md.flow.step import StepFlow

sys.path.insert(0, str(Path(__file__).parent))

SHAPES = {  # coordinates on the line, angles, spline bins
    "mixed": (7, 3, 0),
    "line only": (6, 0, 0),
    "circles only": (0, 4, 0),
    "one of each": (1, 1, 0),
    "splines": (6, 0, 8),
    "splines and circles": (3, 2, 5),
}


def _random_flow(
    n_linear: int, n_circular: int, bins: int = 0, seed: int = 0, scale: float = 0.2
) -> StepFlow:
    """A flow that is far from the identity."""
    torch.manual_seed(seed)  # the network's own initial weights
    flow = StepFlow(n_linear, n_circular, layers=4, width=16, orders=3, bins=bins, seed=seed)
    flow = flow.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            # splines multiply their parameters by ten
            parameter.add_((0.3 * scale if bins else scale) * noise)
    return flow


def _base_samples(flow: StepFlow, n: int, seed: int = 1) -> torch.Tensor:
    """N(0, I) on the line, uniform on circles."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.randn(n, flow.n_linear, generator=generator, dtype=torch.float64)
    circle = torch.rand(n, flow.n_circular, generator=generator, dtype=torch.float64)
    return torch.cat([line, (2.0 * circle - 1.0) * math.pi], dim=-1)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def flow(request) -> StepFlow:
    return _random_flow(*request.param)


@pytest.fixture
def random_flow():
    return _random_flow


@pytest.fixture
def base_samples():
    return _base_samples
