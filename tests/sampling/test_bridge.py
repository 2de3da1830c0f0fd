"""The bridge: gradients, a known log Z, the same numbers after an interruption and on any pool."""

import functools

import numpy as np
import pytest
import torch

from onestep_md.coordinates.flat import FlatChart
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.flow.step import StepFlow
from onestep_md.sampling.bridge import LatentEnergy, bridge
from onestep_md.sampling.draw import TargetSamples
from onestep_md.sampling.sampler import Sampler
from onestep_md.targets.densities import GaussianMixture
from onestep_md.targets.density_evaluator import DensityEvaluator

DIM = 2
LOG_Z = 3.0


def far_wells():
    """Two wells of equal weight far from where the flow is; normalised."""
    means = torch.tensor([[4.0, 0.0], [-3.0, 2.0]], dtype=torch.float64)
    return GaussianMixture("far wells", means, 0.5)


class Shifted:
    """Energies of the wells less LOG_Z, of which every call is counted and one may fail."""

    def __init__(self, fails_at=None):
        self.pool = SerialEvaluators(functools.partial(DensityEvaluator, far_wells), "torch")
        self.calls, self.fails_at = 0, fails_at

    def submit(self, x):
        return self.pool.submit(x)

    def collect(self, ticket):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        u, grad_u = self.pool.collect(ticket)
        return u - LOG_Z, grad_u

    def evaluate(self, x):
        return self.collect(self.submit(x))


@pytest.fixture(scope="module")
def sampler():
    """An untrained flow with random weights, which is a map like any other."""
    torch.manual_seed(3)
    flow = StepFlow(DIM, 0, layers=4, width=8, orders=1, bins=0, seed=0).double()
    for parameter in flow.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    chart = FlatChart.fit(1.5 * torch.randn(500, DIM, dtype=torch.float64))
    nothing = TargetSamples(np.zeros((0, DIM)), np.zeros(0), None)
    return Sampler(chart, flow.requires_grad_(False), nothing)


def quiet(fraction, message):
    pass


def test_gradients_are_those_of_the_energy(sampler):
    energy = LatentEnergy(sampler.flow, sampler.chart, Shifted())
    z = np.random.default_rng(0).normal(size=(20, DIM))
    _, gradient = energy.evaluate(z)
    for k in range(DIM):
        step = np.zeros(DIM)
        step[k] = 1e-6
        slope = (energy.evaluate(z + step)[0] - energy.evaluate(z - step)[0]) / 2e-6
        np.testing.assert_allclose(slope, gradient[:, k], rtol=1e-6, atol=1e-6)


def test_log_z_and_samples_are_those_of_the_other_density(sampler):
    found = bridge(sampler, Shifted(), 1024, 4, 0, quiet)
    off = found.log_z.value - LOG_Z
    assert abs(off) < 4.0 * found.log_z.error and found.log_z.error < 0.3
    u, _ = Shifted().evaluate(found.x)
    np.testing.assert_allclose(found.u, u, atol=1e-9)
    right = found.x[:, 0] > 0.5
    assert right.mean() == pytest.approx(0.5, abs=0.15)
    # the weight of the flow at these places is what its inverse says
    s, log_det_chart = sampler.chart.from_x(torch.from_numpy(found.x))
    z, log_det = sampler.flow.inverse(s, 1)
    log_q = sampler.chart.log_base(z) - log_det - log_det_chart
    np.testing.assert_allclose(found.log_q, log_q.numpy(), atol=1e-6)


def test_a_bridge_that_is_interrupted_ends_in_the_same_bits(sampler, tmp_path):
    expected = bridge(sampler, Shifted(), 512, 2, 7, quiet)
    saved = tmp_path / "pass.npz"
    with pytest.raises(KeyboardInterrupt):
        bridge(sampler, Shifted(fails_at=9), 512, 2, 7, quiet, saved)
    assert saved.exists()
    rest = Shifted()
    found = bridge(sampler, rest, 512, 2, 7, quiet, saved)
    for name in ("x", "u", "log_q", "island", "founder", "temperatures", "acceptance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.log_z == expected.log_z and found.evaluations == expected.evaluations
    # a finished one needs no more energies
    again = Shifted()
    assert bridge(sampler, again, 512, 2, 7, quiet, saved).log_z == expected.log_z
    assert again.calls == 0 < rest.calls


@pytest.mark.slow
def test_errors_of_the_bridge_cover(sampler):
    z = []
    for seed in range(40):
        found = bridge(sampler, Shifted(), 1024, 4, seed, quiet).log_z
        z.append((found.value - LOG_Z) / found.error)
    assert 0.5 < np.mean(np.square(z)) < 2.0
