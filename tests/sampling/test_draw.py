"""Weights of random, untrained flows on a target whose log Z is known: exact at every K."""

import math

import numpy as np
import pytest
import torch

from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.estimators.evidence import bar, elbo, eubo, log_z
from onestep_md.estimators.weights import ess
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.step import StepFlow
from onestep_md.sampling.certificates import _dense_jacobian, affordable_jacobians, certify
from onestep_md.sampling.draw import TargetSamples, draw_samples, log_weights_at
from onestep_md.targets.particles import LennardJones

DIM = 6
SHIFT = 0.3
LOG_Z = 0.5 * DIM * math.log(2 * math.pi)  # of u = |x - 0.3|^2 / 2


class FlatChart(Chart):
    """x (batch, 2, 3) is the state itself; all coordinates on the line."""

    n_linear, n_circular = DIM, 0

    def to_x(self, s):
        inside = s[:, 0] > -4.0  # a chart that ends somewhere
        return s.reshape(-1, 2, 3), torch.where(inside, 0.0, -torch.inf).double()

    def from_x(self, x):
        return x.reshape(-1, DIM), torch.zeros(len(x)).double()

    def log_base(self, s):
        return -0.5 * s.square().sum(-1) - LOG_Z

    def sample_base(self, n, generator):
        return torch.randn(n, DIM, generator=generator, dtype=torch.float64)


class QuadraticEvaluators:
    """The part of the evaluators that sampling needs."""

    def __init__(self, shift=SHIFT):
        self.batches, self.shift = [], shift

    def submit(self, x):
        self.batches.append(x)
        return len(self.batches) - 1

    def collect(self, ticket):
        x = self.batches[ticket]
        u = 0.5 * ((x - self.shift) ** 2).reshape(len(x), -1).sum(axis=1)
        return u, x - self.shift


def crooked_flow(seed):
    torch.manual_seed(seed)  # the network's own initial weights
    flow = StepFlow(DIM, 0, layers=4, width=16, orders=2, bins=0, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return flow.double()


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_evidence_brackets_the_known_log_z(steps):
    """z-scores of log Z over seeds, and ELBO <= log Z <= EUBO for each of them."""
    scores = []
    for seed in range(12):
        flow, chart = crooked_flow(seed), FlatChart()
        generator = torch.Generator().manual_seed(100 + seed)
        samples = draw_samples(flow, chart, QuadraticEvaluators(), 4000, steps, generator)
        estimate = log_z(samples.log_w)
        scores.append((estimate.value - LOG_Z) / estimate.error)
        lower = elbo(samples.log_w[np.isfinite(samples.log_w)])
        target = SHIFT + np.random.default_rng(seed).normal(size=(2000, 2, 3))
        u = 0.5 * ((target - SHIFT) ** 2).sum(axis=(1, 2))
        upper = eubo(log_weights_at(flow, chart, target, u, steps, generator))
        assert lower.value < LOG_Z + 3 * lower.error
        assert upper.value > LOG_Z - 3 * upper.error
    # twelve z-scores: mean 0 +- 0.29, and none far out
    assert abs(np.mean(scores)) < 1.2 and np.abs(scores).max() < 5


def test_weight_is_minus_u_minus_log_q_and_zero_outside_the_chart():
    flow = crooked_flow(3)
    samples = draw_samples(
        flow, FlatChart(), QuadraticEvaluators(), 20_000, 1, torch.Generator().manual_seed(0)
    )
    outside = samples.x[:, 0, 0] <= -4.0
    assert outside.any()
    assert (samples.log_w[outside] == -np.inf).all() and (samples.u[outside] == np.inf).all()
    np.testing.assert_allclose(
        samples.log_w[~outside], (-samples.u - samples.log_q)[~outside], rtol=1e-12
    )


def crooked_particles(seed):
    """Three particles in the plane of the density N(0, I), and a random flow for them."""
    torch.manual_seed(seed)
    basis = LennardJones(3).basis
    chart = CartesianChart.fit(torch.ones(2, 4, dtype=torch.float64), basis, 2)
    flow = EquivariantFlow(basis, 2, layers=4, width=8, network="egnn").double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.02 * noise)
    return flow, chart


@pytest.mark.parametrize("steps", [1, 2])
def test_weights_of_several_auxiliary_draws_are_exact_and_better(steps):
    """z-scores of log Z and BAR over seeds; for every flow, more draws improve bounds and ESS."""
    exact, draws = 2.0 * math.log(2.0 * math.pi), (1, 2, 8)
    scores, share, width = ({m: [] for m in draws} for _ in range(3))
    for seed in range(6):
        flow, chart = crooked_particles(seed)
        x = np.random.default_rng(seed).normal(size=(2000, 4))
        for m in draws:
            generator = torch.Generator().manual_seed(100 + seed)
            samples = draw_samples(
                flow, chart, QuadraticEvaluators(0.0), 2000, steps, generator, m
            )
            u = 0.5 * np.square(x).sum(1)
            log_w_target = log_weights_at(flow, chart, x, u, steps, generator, m)
            both, own = bar(samples.log_w, log_w_target), log_z(samples.log_w)
            scores[m] += [(of.value - exact) / of.error for of in (both, own)]
            lower, upper = elbo(samples.log_w), eubo(log_w_target)
            assert lower.value < exact + 3 * lower.error and upper.value > exact - 3 * upper.error
            share[m].append(ess(samples.log_w))
            width[m].append(upper.value - lower.value)
            if m == 1:
                joint = samples.log_w
            # the first draw is the flow's own, whatever comes after
            np.testing.assert_allclose(samples.log_w_joint, joint, rtol=1e-12)
    for m in draws:
        assert abs(np.mean(scores[m])) < 1.2 and np.abs(scores[m]).max() < 5
    assert (np.array(share[8]) > share[1]).all()
    assert (np.array(width[8]) < width[1]).all()


def test_the_base_needs_no_further_auxiliary_draws():
    flow, chart = crooked_particles(1)
    one, eight = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    few = draw_samples(flow, chart, QuadraticEvaluators(0.0), 50, 0, one, 1)
    many = draw_samples(flow, chart, QuadraticEvaluators(0.0), 50, 0, eight, 8)
    np.testing.assert_array_equal(few.log_w, many.log_w)
    assert torch.equal(one.get_state(), eight.get_state())


def test_chunks_of_target_samples_share_no_auxiliary_draws(monkeypatch):
    flow, chart = crooked_particles(1)
    monkeypatch.setattr("onestep_md.sampling.draw.CHUNK", 10)
    x, generator = np.ones((20, 4)), torch.Generator().manual_seed(0)
    log_w = log_weights_at(flow, chart, x, np.zeros(20), 1, generator)
    assert len(np.unique(log_w.round(12))) == 20


@pytest.mark.parametrize("steps", [1, 4])
def test_certificates_of_an_injective_map(steps):
    generator = torch.Generator().manual_seed(0)
    found = certify(crooked_flow(1), FlatChart(), steps, generator, 200, 500)
    assert (found.checked, found.inverted, found.negative) == (200, 500, 0)
    assert found.log_det_error < 1e-9 and found.round_trip < 1e-9


def test_fewer_jacobians_are_formed_where_they_are_dear(monkeypatch):
    flow, basis = crooked_flow(1), LennardJones(55).basis
    large = EquivariantFlow(basis, 3, layers=1, width=32, network="egnn")
    assert [affordable_jacobians(flow, k) for k in (0, 1, 8)] == [1000, 1000, 125]
    assert [affordable_jacobians(large, k) for k in (0, 1, 8)] == [4, 4, 1]
    monkeypatch.setattr("onestep_md.sampling.certificates._JACOBIANS", 20 * DIM * flow.footprint)
    assert [affordable_jacobians(flow, k) for k in (1, 4, 32)] == [20, 5, 1]


def test_no_more_samples_pass_a_flow_at_once_than_memory_allows(monkeypatch):
    flow, sizes = crooked_flow(1), []

    def evidence():
        generator = torch.Generator().manual_seed(0)
        samples = draw_samples(flow, FlatChart(), QuadraticEvaluators(), 60, 2, generator)
        held_out = log_weights_at(flow, FlatChart(), samples.x, samples.u, 2, generator)
        return samples.log_w, held_out, certify(flow, FlatChart(), 2, generator, 20, 50)

    def counted(s, clock, d, inverse):
        sizes.append(len(s))
        return move(s, clock, d, inverse)

    move = flow._move
    monkeypatch.setattr(flow, "_move", counted)
    *log_w, found = evidence()
    assert max(sizes) == 60
    monkeypatch.setattr("onestep_md.sampling.draw._IN_FLIGHT", 9 * flow.footprint)
    sizes.clear()
    *log_w_of_parts, found_of_parts = evidence()
    assert max(sizes) == 9
    np.testing.assert_allclose(log_w_of_parts, log_w, rtol=1e-12)
    assert (found_of_parts.checked, found_of_parts.inverted) == (found.checked, found.inverted)
    assert max(found.log_det_error, found_of_parts.log_det_error) < 1e-9


def test_certificates_notice_a_wrong_log_determinant_and_a_wrong_inverse():
    class Liar(StepFlow):
        def forward(self, z, steps):
            s, log_det = super().forward(z, steps)
            return s.flip(-1), log_det + 0.1  # flipping six coordinates is an odd permutation

    flow = Liar(DIM, 0, layers=2, width=8, orders=2, bins=0, seed=0).double()
    found = certify(flow, FlatChart(), 1, torch.Generator().manual_seed(0), 50, 50)
    assert found.negative == 50
    assert abs(found.log_det_error - 0.1) < 1e-9
    assert found.round_trip > 0.1


def test_certificates_notice_a_chart_that_is_wrong():
    class Wrong(FlatChart):
        def to_x(self, s):
            x, log_det = super().to_x(s)
            return 2.0 * x, log_det + 6.0 * math.log(2.0) + 0.01 * s[:, 0]

        def from_x(self, x):
            return super().from_x(0.5 * x + 0.001)

    found = certify(crooked_flow(1), Wrong(), 1, torch.Generator().manual_seed(0), 100, 100)
    assert 0.01 < found.log_det_error < 0.1 and 0.0005 < found.round_trip < 0.1
    assert found.negative == 0


def test_jacobians_of_a_few_among_many_samples_take_little_memory():
    many = torch.zeros(100_000, DIM, dtype=torch.float64)
    with torch.profiler.profile(profile_memory=True) as profile, torch.no_grad():
        _dense_jacobian(crooked_flow(1), many[:2], 1, DIM)
    # a tangent of each direction, were it as large as all samples, would have 29 MB
    assert max(event.self_cpu_memory_usage for event in profile.events()) < 1e6


@pytest.mark.parametrize("n", [1, 7, 29, 30, 100])
@pytest.mark.parametrize("walkers", [True, False])
def test_target_samples_are_thinned_evenly_and_stay_together(n, walkers):
    x, u = np.arange(30.0)[:, None], np.arange(30.0)
    few = TargetSamples(x, u, u // 10 if walkers else None).at_most(n)
    assert len(few.u) == min(n, 30)
    assert np.array_equal(few.x[:, 0], few.u)
    assert np.ptp(np.diff(few.u)) <= 1.0 if n > 1 else few.u == 0.0
    assert np.array_equal(few.walker, few.u // 10) if walkers else few.walker is None
