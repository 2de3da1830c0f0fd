"""The step map: identity at d = 0, exact inverse, exact log-determinant and score."""

import math

import pytest
import torch

from onestep_md.flow.step import StepFlow


def circular_distance(a, b, n_linear):
    line = (a[:, :n_linear] - b[:, :n_linear]).abs()
    circle = torch.remainder(a[:, n_linear:] - b[:, n_linear:] + math.pi, 2 * math.pi) - math.pi
    return torch.cat([line, circle.abs()], dim=-1)


def dense_jacobian(function, s):
    return torch.stack([torch.autograd.functional.jacobian(function, row) for row in s])


def test_untrained_flow_is_the_identity(base_samples):
    flow = StepFlow(5, 2, layers=4, width=16, orders=3, bins=0, seed=0).double()
    z = base_samples(flow, 50)
    for steps in (1, 4):
        s, log_det = flow(z, steps)
        assert circular_distance(s, z, 5).max() < 1e-14
        assert log_det.abs().max() < 1e-13


def test_step_vanishes_with_its_size(flow, base_samples):
    s = base_samples(flow, 50)
    moves = [
        circular_distance(flow.step(s, 0.3, d)[0], s, flow.n_linear).max() for d in (1e-2, 1e-4)
    ]
    assert moves[0] > 1e-4  # it does move
    assert moves[1] < 0.03 * moves[0]  # and by about d (the clock contains log d)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_inverse_returns_and_repeats_the_log_determinant(flow, steps, base_samples):
    z = base_samples(flow, 200)
    s, log_det = flow(z, steps)
    back, again = flow.inverse(s, steps)
    assert circular_distance(s, z, flow.n_linear).mean() > 0.01
    assert circular_distance(back, z, flow.n_linear).max() < 1e-8
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("n_linear", "n_circular", "bins"), [(1, 0, 0), (1, 0, 8), (0, 1, 0)])
def test_a_single_coordinate_has_layers_that_move_nothing(
    n_linear, n_circular, bins, random_flow, base_samples
):
    flow = random_flow(n_linear, n_circular, bins)
    z = base_samples(flow, 50)
    s, log_det, _ = flow.forward_with_score(z, 2)
    back, again = flow.inverse(s, 2)
    assert circular_distance(s, z, n_linear).mean() > 0.01
    assert circular_distance(back, z, n_linear).max() < 1e-8
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 3])
def test_log_determinant_is_that_of_the_dense_jacobian(flow, steps, base_samples):
    z = base_samples(flow, 8)
    jacobian = dense_jacobian(lambda row: flow(row[None], steps)[0][0], z)
    sign, dense = torch.linalg.slogdet(jacobian)
    assert (sign == 1).all()
    torch.testing.assert_close(flow(z, steps)[1], dense, rtol=0, atol=1e-9)


def test_time_per_sample_equals_time_per_batch(flow, base_samples):
    s = base_samples(flow, 6)
    t = torch.tensor([0.0, 0.25, 0.5, 0.5, 0.75, 0.75], dtype=s.dtype)
    d = torch.tensor([1.0, 0.25, 0.5, 0.125, 0.25, 0.125], dtype=s.dtype)
    together, log_det = flow.step(s, t, d)
    for i in range(len(s)):
        alone, alone_log_det = flow.step(s[i : i + 1], float(t[i]), float(d[i]))
        torch.testing.assert_close(alone[0], together[i])
        torch.testing.assert_close(alone_log_det[0], log_det[i])


@pytest.mark.parametrize("steps", [1, 2])
def test_score_is_the_gradient_of_the_flow_density(flow, steps, base_samples):
    z = base_samples(flow, 20)
    s, log_det, score = flow.forward_with_score(z, steps)
    plain, plain_log_det = flow(z, steps)
    torch.testing.assert_close(s, plain)
    torch.testing.assert_close(log_det, plain_log_det)

    point = s.detach().requires_grad_()
    back, back_log_det = flow.inverse(point, steps)
    log_q = -0.5 * back[:, : flow.n_linear].square().sum(-1) - back_log_det
    (expected,) = torch.autograd.grad(log_q.sum(), point)
    torch.testing.assert_close(score, expected, rtol=1e-7, atol=1e-7)


def test_gradient_reaches_every_parameter(flow, base_samples):
    z = base_samples(flow, 20)
    s, log_det = flow(z, 2)
    (s.sin().sum() + log_det.sum()).backward()
    for name, parameter in flow.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_circles_do_not_notice_where_they_are_cut(base_samples, random_flow):
    flow = random_flow(3, 2)
    z = base_samples(flow, 20)
    turned = z.clone()
    turned[:, 3:] += 2 * math.pi
    s, log_det = flow(z, 1)
    same, same_log_det = flow(turned, 1)
    assert circular_distance(s, same, 3).max() < 1e-12
    torch.testing.assert_close(log_det, same_log_det)


def test_any_two_angles_are_separated_by_some_layer():
    flow = StepFlow(4, 6, layers=6, width=8, orders=2, bins=0, seed=3)
    for i in range(4, 10):
        for j in range(i + 1, 10):
            assert any(bool(layer.is_kept[i] != layer.is_kept[j]) for layer in flow.layers)


@pytest.mark.parametrize(
    ("lens", "sources"),
    [
        (lambda a: a + 0.5 * torch.sin(a), None),
        (lambda a: torch.cat([a, torch.cos(a[:, 1:])], dim=-1), [0, 1, 2, 1, 2]),
    ],
    ids=["one each", "two of some"],
)
def test_a_lens_changes_what_is_seen_and_nothing_else(base_samples, lens, sources):
    """Still injective, with exact log-determinant and score, through any smooth lens."""
    sources = sources and torch.tensor(sources)
    flow = StepFlow(
        4, 3, layers=4, width=16, orders=2, bins=0, seed=0, lens=lens, sources=sources
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    z = base_samples(flow, 6)
    s, log_det, score = flow.forward_with_score(z, 1)
    back, _ = flow.inverse(s, 1)
    assert circular_distance(back, z, 4).max() < 1e-9
    jacobian = dense_jacobian(lambda row: flow(row[None], 1)[0][0], z)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian)[1], rtol=0, atol=1e-9)
    point = s.detach().requires_grad_()
    base, base_log_det = flow.inverse(point, 1)
    log_q = -0.5 * base[:, :4].square().sum(-1) - base_log_det
    torch.testing.assert_close(score, torch.autograd.grad(log_q.sum(), point)[0])
