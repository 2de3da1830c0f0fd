"""The base of a chart and a target in its coordinates, as densities to anneal."""

import math

import numpy as np
import torch

from onestep_md.coordinates.base import Chart, pull_back_along
from onestep_md.distributed.pool import Evaluators


class ChartBase:
    """The base of a chart as a `smc.Base`; angles are periodic and never run away."""

    def __init__(self, chart: Chart):
        self.chart = chart
        self.width = np.ones(chart.n_linear + chart.n_circular)
        self.width[chart.n_linear :] = np.inf
        self.constant = 0.5 * chart.n_linear * math.log(2.0 * math.pi)
        self.constant += chart.n_circular * math.log(2.0 * math.pi)

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        torch_generator = torch.Generator().manual_seed(int(generator.integers(2**62)))
        return self.chart.sample_base(n, torch_generator).numpy()

    def evaluate(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        line = np.where(np.arange(s.shape[1]) < self.chart.n_linear, s, 0.0)
        return self.constant + 0.5 * (line * line).sum(-1), line


class ChartEnergy:
    """The target in the coordinates of a chart, -log p(s) and its gradient."""

    def __init__(self, chart: Chart, evaluators: Evaluators):
        self.chart, self.evaluators = chart, evaluators

    def evaluate(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states = torch.tensor(s, requires_grad=True)
        with torch.enable_grad():
            x, log_det = self.chart.to_x(states)
        u, grad_u = self.evaluators.evaluate(x.detach().numpy())
        force = pull_back_along(states, x, log_det, torch.from_numpy(grad_u)).numpy()
        energy = u - log_det.detach().numpy()
        inside = np.isfinite(energy)
        return np.where(inside, energy, np.inf), np.where(inside[:, None], -force, 0.0)
