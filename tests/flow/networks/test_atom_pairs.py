"""The flow that moves the atoms of a molecule: exact maps, and which symmetries it has."""

import pytest
import torch
from random_numbers import normal, shaken

from onestep_md.flow.base import CLOCK_FEATURES
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.networks.atom_pairs import AtomPairs, _bonds_between
from onestep_md.flow.networks.topology import Topology

# fluoro-chloro-methane and an atom beyond it; the first two are alike
ELEMENTS, BONDS = ("H", "H", "C", "F", "Cl", "Br"), ((0, 2), (1, 2), (2, 3), (2, 4), (4, 5))
ALIKE = torch.tensor([1, 0, 2, 3, 4, 5])
N = len(ELEMENTS)


@pytest.fixture(params=["egnn", "e3nn"])
def flow(request):
    torch.manual_seed(0)
    spread = normal(N, N - 1)
    spread = spread - spread.mean(0)
    topology = Topology(ELEMENTS, BONDS)
    return shaken(EquivariantFlow(spread, 3, 3, 8, request.param, topology).double(), 0.1)


@pytest.fixture(params=["egnn", "e3nn"])
def network(request):
    torch.manual_seed(0)
    return shaken(AtomPairs(8, request.param, Topology(ELEMENTS, BONDS)).double(), 0.3)


@pytest.mark.parametrize("steps", [1, 2])
def test_inverse_log_determinant_and_score(flow, steps):
    z = normal(4, flow.dim)
    s, log_det, score = flow.forward_with_score(z, steps)
    assert (s - z).abs().mean() > 0.05 and log_det.abs().min() > 0.05
    point = s.detach().requires_grad_()
    back, again = flow.inverse(point, steps)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-9)
    log_q = -0.5 * back.square().sum(-1) - again
    torch.testing.assert_close(score, torch.autograd.grad(log_q.sum(), point)[0])

    def column(direction):
        tangent = direction.expand_as(z)
        return torch.func.jvp(lambda state: flow(state, steps)[0], (z,), (tangent,))[1]

    dense = torch.func.vmap(column)(torch.eye(flow.dim, dtype=z.dtype)).movedim(0, -1)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(dense)[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["egnn", "e3nn"])
def test_untrained_flow_is_the_identity(name):
    spread = torch.eye(N, dtype=torch.float64)[:, 1:] - 1.0 / N
    flow = EquivariantFlow(spread, 3, 2, 8, name, Topology(ELEMENTS, BONDS)).double()
    z = normal(5, flow.dim)
    s, log_det = flow(z, 2)
    torch.testing.assert_close(s, z, rtol=0, atol=1e-12)
    assert log_det.abs().max() == 0.0


def test_gradient_of_samples_reaches_every_parameter(flow):
    s, _, score = flow.forward_with_score(normal(10, flow.dim), 1)
    (score * s + s.sin()).sum().backward()
    for name, parameter in flow.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_turned_and_moved_molecules_are_moved_alike_and_mirror_images_are_not(network):
    clock, x = normal(1, CLOCK_FEATURES), 1.5 * normal(5, N, 3)
    turn, _ = torch.linalg.qr(normal(3, 3, seed=2))
    turn = turn * torch.linalg.det(turn)
    whole = torch.kron(torch.eye(N, dtype=x.dtype), turn.contiguous())
    shift, matrix = network(x, clock)
    assert shift.abs().mean() > 0.01 and matrix.abs().mean() > 0.01
    turned, turned_matrix = network(x @ turn.T + 3.0, clock)
    torch.testing.assert_close(turned, shift @ turn.T)
    torch.testing.assert_close(turned_matrix, whole @ matrix @ whole.T)
    mirrored, _ = network(-x, clock)
    assert (mirrored + shift).abs().max() > 1e-3


def test_atoms_of_one_kind_can_be_exchanged_and_others_not(network):
    clock, x = normal(1, CLOCK_FEATURES), 1.5 * normal(5, N, 3)
    shift, _ = network(x, clock)
    torch.testing.assert_close(network(x[:, ALIKE], clock)[0], shift[:, ALIKE])
    other = torch.tensor([0, 1, 2, 4, 3, 5])
    assert (network(x[:, other], clock)[0] - shift[:, other]).abs().max() > 1e-3


def test_bonds_are_counted_along_the_shortest_way():
    apart = _bonds_between(Topology(ELEMENTS, BONDS).bonded)
    assert apart[0].tolist() == [0, 2, 1, 2, 2, 3]
    chain = Topology(["C"] * 7, [(i, i + 1) for i in range(6)])
    assert _bonds_between(chain.bonded)[0].tolist() == [0, 1, 2, 3, 4, 4, 4]
