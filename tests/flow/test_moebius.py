"""Closed derivatives of Moebius transformations beside autograd and finite differences."""

import pytest
import torch

from onestep_md.flow import moebius

BATCH, ANGLES, ORDERS = 5, 3, 4
WAYS = [range(1, ORDERS + 1), range(ORDERS, 0, -1)]


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    x = 6.2 * torch.rand(BATCH, ANGLES, generator=generator, dtype=torch.float64) - 3.1
    centres = torch.rand(2, ORDERS, BATCH, ANGLES, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), (0.98 * centres - 0.49).requires_grad_()


def term_by_term(x, centres, orders):
    log_slope = torch.zeros_like(x)
    for k in orders:
        w = torch.complex(*centres[:, k - 1])
        e = torch.exp(1j * k * x)
        x = x - 2.0 / k * torch.angle(1.0 - w.conj() * e)
        log_slope = (
            log_slope + torch.log1p(-(w.abs() ** 2)) - 2.0 * (1.0 - w.conj() * e).abs().log()
        )
    return x, log_slope


@pytest.mark.parametrize("orders", WAYS)
def test_values_are_those_of_the_definition(inputs, orders):
    for own, other in zip(
        moebius.transform(*inputs, orders), term_by_term(*inputs, orders), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("orders", WAYS)
def test_gradients_are_those_of_autograd(inputs, orders):
    weights = torch.randn(2, BATCH, ANGLES, generator=torch.Generator().manual_seed(1))
    gradients = [
        torch.autograd.grad((torch.stack(function(*inputs, orders)) * weights).sum(), inputs)
        for function in (moebius.transform, term_by_term)
    ]
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("orders", WAYS)
def test_tangents_and_their_gradients_are_those_of_autograd(inputs, orders):
    generator = torch.Generator().manual_seed(2)
    tangents = tuple(torch.randn(i.shape, generator=generator, dtype=i.dtype) for i in inputs)
    pushed = [
        torch.func.jvp(lambda *two, f=function: f(*two, orders), inputs, tangents)[1]
        for function in (moebius.transform, term_by_term)
    ]
    for own, other in zip(*pushed, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-11)
    gradients = [torch.autograd.grad(sum(parts).square().sum(), inputs) for parts in pushed]
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-11, atol=1e-9)


def test_opposite_centres_in_the_opposite_order_go_back(inputs):
    x, centres = inputs
    y, log_slope = moebius.transform(x, centres, WAYS[0])
    back, log_back = moebius.transform(y, -centres, WAYS[1])
    torch.testing.assert_close(back, x, rtol=0, atol=1e-13)
    torch.testing.assert_close(log_back, -log_slope, rtol=0, atol=1e-12)


def test_second_derivatives_are_refused_rather_than_wrong(inputs):
    y, _ = moebius.transform(*inputs, WAYS[0])
    (gradient,) = torch.autograd.grad(y.sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="not require grad"):
        torch.autograd.grad(gradient.sum(), inputs[0])
