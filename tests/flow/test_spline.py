"""The rational-quadratic spline: identity, inverse, slope, and what it is for."""

import pytest
import torch

from onestep_md.flow.spline import spline_forward, spline_inverse, spline_parameter_count


def random_spline(bins, scale=2.0, seed=0):
    """Points (500, 3), a third of them outside the splined interval, and raw parameters."""
    generator = torch.Generator().manual_seed(seed)
    x = 4.0 * torch.randn(500, 3, generator=generator, dtype=torch.float64)
    shape = (500, 3, spline_parameter_count(bins))
    return x, scale * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("bins", [1, 2, 8, 32])
def test_inverse_returns_and_repeats_the_slope(bins):
    x, raw = random_spline(bins)
    y, log_slope = spline_forward(x, raw)
    back, again = spline_inverse(y, raw)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-7)
    torch.testing.assert_close(again, log_slope, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bins", [2, 16])
def test_slope_is_that_of_autograd(bins):
    x, raw = random_spline(bins)
    x.requires_grad_()
    y, log_slope = spline_forward(x, raw)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (slope > 0).all()
    torch.testing.assert_close(log_slope, torch.log(slope), rtol=0, atol=1e-9)


def test_zero_parameters_are_the_identity():
    x, raw = random_spline(8, scale=0.0)
    y, log_slope = spline_forward(x, raw)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-14)
    assert log_slope.abs().max() < 1e-13


def test_the_line_goes_on_outside():
    x, raw = random_spline(8)
    y, log_slope = spline_forward(x, raw)
    outside = x.abs() >= 5.0
    assert outside.any()
    assert (y == x)[outside].all() and (log_slope == 0)[outside].all()


def test_gradients_are_finite_everywhere():
    x, raw = random_spline(8, scale=20.0)
    x[0, 0], x[1, 0] = 5.0, -5.0
    raw.requires_grad_(), x.requires_grad_()
    for function in (spline_forward, spline_inverse):
        y, log_slope = function(x, raw)
        for gradient in torch.autograd.grad((y + log_slope).sum(), (x, raw)):
            assert torch.isfinite(gradient).all()


def test_one_spline_makes_two_modes_of_one():
    """Half of N(0, I) lands near -2, half near 2, from hand-set bins."""
    raw = torch.zeros(1, 1, spline_parameter_count(3), dtype=torch.float64)
    raw[..., 0:3] = torch.tensor([0.0, -4.0, 0.0])  # a narrow bin in the middle
    raw[..., 3:6] = torch.tensor([-1.0, 2.0, -1.0])  # is stretched
    z = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, _ = spline_forward(z, raw.expand(4000, 1, -1))
    assert (y.abs() < 1.0).double().mean() < 0.05
    assert 0.4 < (y > 2.0).double().mean() < 0.6
