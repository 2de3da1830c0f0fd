"""Gradients of the losses: in a second thread, of what a loss does not depend on, clipped."""

import time

import pytest
import torch

from onestep_md.flow.step import StepFlow
from onestep_md.training.gradients import GRADIENT_NORM, clip, gradients_of, start_gradients


@pytest.fixture
def flow():
    torch.manual_seed(0)
    return StepFlow(3, 2, layers=2, width=8, orders=2, bins=0, seed=0)


def likelihood(flow, seed):
    s = torch.randn(32, 5, generator=torch.Generator().manual_seed(seed))
    z, log_det = flow.inverse(s, 1)
    return (z[:, :3].square().sum(-1) + log_det).mean()


def test_gradients_are_those_of_backward(flow):
    likelihood(flow, 0).backward()
    for own, parameter in zip(
        gradients_of(likelihood(flow, 0), flow), flow.parameters(), strict=True
    ):
        assert torch.equal(
            own, torch.zeros_like(own) if parameter.grad is None else parameter.grad
        )


def test_two_backward_passes_at_once_change_nothing(flow):
    """Graphs of two losses meet in the parameters alone."""
    alone = [gradients_of(likelihood(flow, seed), flow) for seed in (0, 1)]
    for _ in range(20):
        first = start_gradients(likelihood(flow, 0), flow)
        second = gradients_of(likelihood(flow, 1), flow)
        for own, known in zip((first.result(), second), alone, strict=True):
            assert all(map(torch.equal, own, known))


class _Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.5)
        return gradient


def test_the_learner_goes_on_meanwhile(flow):
    started = time.monotonic()
    gradients = start_gradients(_Slow.apply(likelihood(flow, 0)), flow)
    assert time.monotonic() - started < 0.4
    assert all(map(torch.equal, gradients.result(), gradients_of(likelihood(flow, 0), flow)))


def test_a_failure_in_the_thread_is_told(flow):
    with pytest.raises(RuntimeError, match="scalar"):
        start_gradients(flow.inverse(torch.zeros(4, 5), 1)[0], flow).result()


def test_what_a_loss_does_not_depend_on_has_a_gradient_of_zero(flow):
    last = list(flow.parameters())[-1]
    gradients = gradients_of(last.square().sum() + last.sum(), flow)
    assert len(gradients) == len(list(flow.parameters()))
    assert torch.equal(gradients[-1], torch.ones_like(last))
    assert all(not gradient.any() for gradient in gradients[:-1])


@pytest.mark.parametrize("length", [0.5, 1.0, 1e4])
def test_long_gradients_are_shortened_together(flow, length):
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(p.shape, generator=generator) for p in flow.parameters()]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    gradients = [gradient * (length * GRADIENT_NORM / norm) for gradient in gradients]
    clipped = torch.cat([gradient.flatten() for gradient in clip(gradients)])
    before = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(clipped, before * min(1.0, 1.0 / length), rtol=1e-5, atol=1e-7)
