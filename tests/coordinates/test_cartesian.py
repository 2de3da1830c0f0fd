"""The chart of particles: joint density of positions and auxiliaries, and its gradient."""

import math

import pytest
import torch

from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.targets.density_evaluator import evaluate_with_gradient
from onestep_md.targets.particles import DoubleWellParticles, LennardJones


@pytest.fixture(params=[DoubleWellParticles(), LennardJones(5)], ids=lambda d: d.name)
def density(request):
    return request.param


@pytest.fixture
def samples(density):
    generator = torch.Generator().manual_seed(1)
    return 1.7 * torch.randn(300, density.dim, generator=generator, dtype=torch.float64)


@pytest.fixture
def chart(density, samples):
    return CartesianChart.fit(samples, density.basis, density.space)


def test_dimensions_and_unit(chart, density, samples):
    assert chart.n_linear == density.dim + density.n * density.space
    assert chart.n_circular == 0
    assert chart.sigma == pytest.approx(float(samples.square().mean().sqrt()))
    assert str(chart).startswith(f"{density.n} particles in {density.space} dimensions")


def test_from_x_is_inverted_and_repeats_itself(chart, samples):
    s, log_det = chart.from_x(samples)
    x, again = chart.to_x(s)
    torch.testing.assert_close(x, samples)
    torch.testing.assert_close(again, log_det)
    assert torch.equal(chart.from_x(samples)[0], s)
    auxiliary = s[:, samples.shape[1] :]
    assert abs(auxiliary.mean()) < 0.1 and abs(auxiliary.std() - 1.0) < 0.05


def test_states_give_mean_free_positions(chart, density):
    s = chart.sample_base(10, torch.Generator().manual_seed(0))
    positions = density.positions(chart.to_x(s)[0])
    assert positions.shape == (10, density.n, density.space)
    assert positions.mean(1).abs().max() < 1e-14


def test_log_density_is_that_of_the_target_and_of_independent_noise(chart, density, samples):
    s, log_det = chart.from_x(samples)
    m = density.dim
    noise = torch.distributions.Normal(0.0, 1.0).log_prob(s[:, m:]).sum(-1)
    # p(s) = p(x) |det dx/ds_x| N(s_a)
    jacobian = chart.sigma * torch.eye(m, dtype=torch.float64)
    expected = noise + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(log_det, expected)


def test_nearest_image_is_an_image_and_nearer(chart, density):
    generator = torch.Generator().manual_seed(4)
    z, s = (chart.sample_base(40, generator) for _ in range(2))
    image = chart.align(z, s)
    assert ((image - s).norm(dim=1) < (z - s).norm(dim=1)).all()
    torch.testing.assert_close(chart.log_base(image), chart.log_base(z))
    # positions and auxiliaries have moved together: all distances of both, in another order
    vectors = (chart._particles(states).flatten(1, 2) for states in (image, z))
    lengths = [torch.cdist(v, v).flatten(1).sort().values for v in vectors]
    torch.testing.assert_close(*lengths)


def test_nearest_image_undoes_exchange_and_small_rotation(chart, density):
    generator = torch.Generator().manual_seed(5)
    s = chart.sample_base(30, generator)
    particles = chart._particles(s)[:, torch.randperm(density.n, generator=generator)]
    skew = 0.05 * torch.randn(density.space, density.space, generator=generator).double()
    particles = particles @ torch.matrix_exp(skew - skew.T)
    position = chart.basis.T @ particles[:, :, 0]
    z = torch.cat([position.flatten(1), particles[:, :, 1].flatten(1)], dim=1)
    torch.testing.assert_close(chart.align(z, s), s, rtol=0, atol=1e-10)


def test_pull_back_is_the_gradient_of_the_log_density(chart, density):
    s = 1.2 * chart.sample_base(20, torch.Generator().manual_seed(2))
    point = s.clone().requires_grad_()
    x, log_det = chart.to_x(point)
    log_p = density.log_prob(x) + log_det
    (expected,) = torch.autograd.grad(log_p.sum(), point)
    _, grad_u = evaluate_with_gradient(density, chart.to_x(s)[0])
    torch.testing.assert_close(chart.pull_back(s, grad_u), expected)


def test_weights_of_a_normal_target_are_exact():
    """For p(x) = N(0, sigma^2 I) the base is the target, and every weight is Z."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 9, generator=generator, dtype=torch.float64)
    chart = CartesianChart.fit(x, LennardJones(4).basis, 3)
    s = chart.sample_base(20, generator)
    x, log_det = chart.to_x(s)
    u = 0.5 * x.square().sum(-1) / chart.sigma**2
    log_w = -u - (chart.log_base(s) - log_det)
    known = 9 * (0.5 * math.log(2 * math.pi) + chart.sigma.log())
    torch.testing.assert_close(log_w, known.expand(20))
