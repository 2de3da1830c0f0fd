"""The equivariant step map: exact inverse, log-determinant and score, and its symmetries."""

import itertools

import pytest
import torch
from random_numbers import normal, shaken

from onestep_md.flow.base import CLOCK_FEATURES
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.networks.message_passing import MessagePassing, Pairs
from onestep_md.targets.particles import LennardJones

# particles, dimensions, layers, network
SHAPES = {
    "plane": (4, 2, 4, "egnn"),
    "odd number of layers": (3, 2, 3, "egnn"),
    "one layer": (3, 3, 1, "egnn"),
    "space": (4, 3, 4, "egnn"),
    "tensor products": (3, 3, 2, "e3nn"),
}


def build(n, space, layers, network, seed=0):
    torch.manual_seed(seed)
    basis = LennardJones(n).basis
    return EquivariantFlow(basis, space, layers, 16, network).double()


def rotation(space, seed=0, reflect=False):
    q, _ = torch.linalg.qr(normal(space, space, seed=seed))
    sign = -1.0 if reflect else 1.0
    if torch.linalg.det(q) * sign < 0:
        q[:, 0] = -q[:, 0]
    return q


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def flow(request):
    # 0.05: a factor 10 or so in volume, and moves of the size of the base
    return shaken(build(*request.param), 0.05)


@pytest.mark.parametrize("network", ["egnn", "e3nn"])
def test_untrained_flow_is_the_identity(network):
    flow = build(4, 3, 4, network)
    z = normal(20, flow.dim)
    for steps in (1, 4):
        s, log_det = flow(z, steps)
        assert (s - z).abs().max() < 1e-14
        assert log_det.abs().max() == 0.0


def test_step_vanishes_with_its_size(flow):
    s = normal(20, flow.dim)
    moves = [(flow.step(s, 0.3, d)[0] - s).abs().max() for d in (1e-2, 1e-4)]
    assert moves[0] > 1e-4
    assert moves[1] < 0.03 * moves[0]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_inverse_returns_and_repeats_the_log_determinant(flow, steps):
    z = normal(100, flow.dim)
    s, log_det = flow(z, steps)
    back, again = flow.inverse(s, steps)
    assert (s - z).abs().mean() > 0.05
    assert (back - z).abs().max() < 1e-9
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_inverse_takes_back_steps_made_one_by_one(flow, steps):
    s = z = normal(3, flow.dim)
    changes = []
    for k in range(steps):
        s, change = flow.step(s, k / steps, 1.0 / steps)
        changes.append(change)
    back, log_det = flow.inverse(s, steps)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(log_det, sum(changes))


@pytest.mark.parametrize("steps", [1, 3])
def test_log_determinant_is_that_of_the_dense_jacobian(flow, steps):
    z = normal(4, flow.dim)
    rows = [torch.autograd.functional.jacobian(lambda r: flow(r[None], steps)[0][0], r) for r in z]
    jacobian = torch.stack(rows)
    sign, dense = torch.linalg.slogdet(jacobian)
    log_det = flow(z, steps)[1]
    assert (sign == 1).all() and log_det.abs().min() > 0.05
    torch.testing.assert_close(log_det, dense, rtol=0, atol=1e-9)

    # as `certify` forms it
    def column(direction):
        tangent = direction.expand_as(z)
        return torch.func.jvp(lambda state: flow(state, steps)[0], (z,), (tangent,))[1]

    forward = torch.func.vmap(column)(torch.eye(flow.dim, dtype=z.dtype)).movedim(0, -1)
    torch.testing.assert_close(forward, jacobian)


@pytest.mark.parametrize(("t", "d"), [(0.0, 0.5), (0.75, 0.25), (0.3, 1.0 / 128.0)])
def test_one_step_at_any_time_and_size(flow, t, d):
    s = normal(3, flow.dim)
    _, log_det = flow.step(s, t, d)
    jacobian = torch.autograd.functional.jacobian(lambda r: flow.step(r[None], t, d)[0][0], s[0])
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian)[1], rtol=0, atol=1e-9)


def test_time_per_sample_equals_time_per_batch(flow):
    s = normal(3, flow.dim)
    t, d = torch.tensor([0.0, 0.25, 0.5]).double(), torch.tensor([1.0, 0.25, 0.125]).double()
    together, log_det = flow.step(s, t, d)
    for i in range(len(s)):
        alone, alone_log_det = flow.step(s[i : i + 1], float(t[i]), float(d[i]))
        torch.testing.assert_close(alone[0], together[i])
        torch.testing.assert_close(alone_log_det[0], log_det[i])


@pytest.mark.parametrize("steps", [1, 2])
def test_score_is_the_gradient_of_the_flow_density(flow, steps):
    z = normal(10, flow.dim)
    s, log_det, score = flow.forward_with_score(z, steps)
    plain, plain_log_det = flow(z, steps)
    torch.testing.assert_close(s, plain)
    torch.testing.assert_close(log_det, plain_log_det)
    point = s.detach().requires_grad_()
    back, back_log_det = flow.inverse(point, steps)
    log_q = -0.5 * back.square().sum(-1) - back_log_det
    torch.testing.assert_close(score, torch.autograd.grad(log_q.sum(), point)[0])


def test_gradient_of_samples_reaches_every_parameter(flow):
    s, log_det, score = flow.forward_with_score(normal(10, flow.dim), 2)
    (score * s + s.sin()).sum().backward()
    for name, parameter in flow.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("reflect", [False, True], ids=["rotation", "reflection"])
def test_rotations_reflections_and_exchange_commute_with_the_flow(flow, reflect):
    n, space, basis = len(flow.spread), flow.space, flow.spread
    turn, order = rotation(space, reflect=reflect), torch.arange(n).roll(1)

    def acted(s):
        x = basis @ s[:, : flow.free].unflatten(-1, (-1, space))
        a = s[:, flow.free :].unflatten(-1, (-1, space))
        x, a = ((r @ turn.T)[:, order] for r in (x, a))
        return torch.cat([(basis.T @ x).flatten(1), a.flatten(1)], dim=-1)

    z = normal(20, flow.dim)
    for steps in (1, 2):
        s, log_det, score = flow.forward_with_score(z, steps)
        turned, same, turned_score = flow.forward_with_score(acted(z), steps)
        torch.testing.assert_close(turned, acted(s))
        torch.testing.assert_close(same, log_det)
        torch.testing.assert_close(turned_score, acted(score))


@pytest.mark.parametrize("name", ["egnn", "e3nn"])
def test_networks_have_their_symmetries(name):
    """Also by the checker of e3nn, which turns and reflects at random."""
    from e3nn import o3
    from e3nn.util.test import assert_equivariant

    from onestep_md.flow.networks.tensor_products import TensorProducts

    torch.manual_seed(0)
    network = (MessagePassing if name == "egnn" else TensorProducts)(16, 4)
    network = shaken(network.double(), 0.3)
    n, clock, positions = 4, normal(1, CLOCK_FEATURES), normal(5, 4, 3)
    vectors = n * o3.Irreps("1o")

    def function(flat):
        return network(flat.double().unflatten(-1, (n, 3)), clock)[0].flatten(1)

    with torch.no_grad():
        assert_equivariant(function, [positions.flatten(1)], vectors, vectors, tolerance=1e-5)
        shift, matrix = network(positions, clock)
        assert shift.abs().mean() > 0.005 and matrix.abs().mean() > 0.005
        for moved, same in zip(network(positions + 5.0, clock), (shift, matrix), strict=True):
            torch.testing.assert_close(moved, same)

        turn, order = rotation(3, reflect=True), torch.tensor([2, 0, 3, 1])
        permutation = torch.eye(n, dtype=torch.float64)[order]
        whole = torch.kron(permutation, turn.contiguous())
        turned, turned_matrix = network(permutation @ positions @ turn.T, clock)
        torch.testing.assert_close(turned, permutation @ shift @ turn.T)
        torch.testing.assert_close(turned_matrix, whole @ matrix @ whole.T)


def test_stiffness_is_the_matrix_of_its_quadratic_form():
    n, space = 4, 3
    own = normal(2, n, space, space, seed=1)
    own = own + own.mT
    common, radial = normal(2, 6, seed=2), normal(2, 6, seed=3)
    direction = normal(2, 6, space, seed=4)
    v = normal(2, n, space, seed=5)
    form = torch.einsum("bni,bnij,bnj->b", v, own, v)
    for p, (i, j) in enumerate(itertools.combinations(range(n), 2)):
        w = v[:, i] - v[:, j]
        along = (w * direction[:, p]).sum(-1)
        form = form + common[:, p] * w.square().sum(-1) + radial[:, p] * along.square()
    matrix = Pairs(n).stiffness(own, common, radial, direction)
    torch.testing.assert_close(matrix, matrix.mT)
    flat = v.flatten(1)
    torch.testing.assert_close(torch.einsum("bi,bij,bj->b", flat, matrix, flat), form)


def test_weights_cannot_make_a_layer_stretch_without_bound():
    flow = shaken(build(3, 3, 1, "egnn"), 30.0)
    z = normal(50, flow.dim)
    _, log_det = flow(z, 1)
    assert log_det.abs().max() < 2.0 * 9.0 + 1e-9
    back, _ = flow.inverse(flow(z, 1)[0], 1)
    assert back.isfinite().all()
