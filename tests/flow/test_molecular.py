"""Flows that read molecules: exact maps, and networks that know types and bonds alone."""

import math
from types import SimpleNamespace

import networkx as nx
import pytest
import torch
from e3nn import o3
from e3nn.util.test import assert_equivariant
from random_numbers import normal, shaken

from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.zmatrix import build_zmatrix
from onestep_md.flow.base import CLOCK_FEATURES
from onestep_md.flow.molecular import MolecularFlow, Network
from onestep_md.flow.networks.surroundings import gaussians
from onestep_md.flow.networks.topology import Topology


@pytest.fixture(scope="module")
def molecule(shipped):
    return shipped("alanine")


@pytest.fixture(scope="module")
def chart(molecule):
    """Of a molecule that vibrates, and turns about two of its bonds."""
    zmatrix = build_zmatrix(molecule.elements, molecule.bonds, (), molecule.positions)
    coordinates = InternalCoordinates(zmatrix)
    q, _ = coordinates.from_cartesian(torch.from_numpy(molecule.positions)[None])
    noise = normal(2000, coordinates.dim)
    scale = torch.full((coordinates.dim,), 0.05, dtype=torch.float64)
    scale[: coordinates.n_bonds] = 0.003
    first = coordinates.n_bonds + coordinates.n_angles
    scale[first + coordinates.torsion_proper.nonzero().squeeze(-1)[:2]] = 1.5
    q = q + noise * scale
    q[:, first:] = torch.remainder(q[:, first:] + math.pi, 2 * math.pi) - math.pi
    return MolecularChart.fit(coordinates, q)


@pytest.fixture(scope="module", params=["egnn", "e3nn"])
def flow(request, molecule, chart):
    topology = Topology(molecule.elements, molecule.bonds)
    torch.manual_seed(0)
    flow = MolecularFlow(chart, topology, 4, 8, 2, request.param, seed=0).double()
    return shaken(flow, 0.2)


def base(chart, n):
    return chart.sample_base(n, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("network", ["egnn", "e3nn"])
def test_untrained_flow_is_the_identity(molecule, chart, network):
    topology = Topology(molecule.elements, molecule.bonds)
    flow = MolecularFlow(chart, topology, 2, 8, 2, network, seed=0).double()
    z = base(chart, 5)
    s, log_det = flow(z, 2)
    assert (s - z).abs().max() < 1e-12 and log_det.abs().max() == 0.0


@pytest.mark.parametrize("steps", [1, 2])
def test_inverse_log_determinant_and_score(flow, chart, steps):
    z = base(chart, 3)
    s, log_det, score = flow.forward_with_score(z, steps)
    assert (s - z).abs().mean() > 0.05 and log_det.abs().min() > 0.05
    back, again = flow.inverse(s, steps)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-9)
    point = s.detach().requires_grad_()
    back, back_log_det = flow.inverse(point, steps)
    log_q = chart.log_base(back) - back_log_det
    torch.testing.assert_close(score, torch.autograd.grad(log_q.sum(), point)[0])

    def column(direction):
        tangent = direction.expand_as(z)
        return torch.func.jvp(lambda state: flow(state, steps)[0], (z,), (tangent,))[1]

    dense = torch.func.vmap(column)(torch.eye(flow.dim, dtype=z.dtype)).movedim(0, -1)
    sign, log_abs = torch.linalg.slogdet(dense)
    assert (sign == 1).all()
    torch.testing.assert_close(log_det, log_abs, rtol=0, atol=1e-9)


def test_gradient_of_samples_reaches_every_parameter(flow, chart):
    flow.zero_grad()
    s, _, score = flow.forward_with_score(base(chart, 10), 1)
    (score.detach() * s + s.sin()).sum().backward()
    for name, parameter in flow.named_parameters():
        if parameter.numel() and "to_circle" not in name and "to_line" not in name:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_layer_shows_what_it_keeps_alone(flow, chart):
    layer, s = flow.layers[0], base(chart, 2)
    other = s.clone()
    other[:, layer.moved] += 0.5
    torch.testing.assert_close(flow._seen(s, layer), flow._seen(other, layer))
    other[:, layer.is_kept.nonzero()[0]] += 0.5
    assert (flow._seen(s, layer) - flow._seen(other, layer)).abs().max() > 1e-4


def test_weights_cannot_blow_a_stiff_coordinate_up(molecule, chart):
    topology = Topology(molecule.elements, molecule.bonds)
    flow = shaken(MolecularFlow(chart, topology, 1, 8, 2, "egnn", seed=0).double(), 30.0)
    z = base(chart, 50)
    s, _ = flow(z, 1)
    layer = flow.layers[0]
    line = layer.moved[: layer.n_moved_line]
    # y = exp(a) z + b with |a|, |b| <= 1
    assert ((s - z)[:, line].abs() <= z[:, line].abs() * (math.e - 1.0) + 1.0 + 1e-9).all()
    assert (s - z)[:, line].abs().max() > 0.5


@pytest.fixture(scope="module", params=["egnn", "e3nn"])
def network(request):
    torch.manual_seed(0)
    return shaken(Network(8, request.param, per_line=2, per_circle=5).double(), 0.3)


def read(network, molecule, positions, members, order=None):
    """Parameters of four coordinates, of a molecule whose atoms may have another order."""
    n = len(molecule.elements)
    order = torch.arange(n) if order is None else order
    new = torch.argsort(order)  # number of each atom afterwards
    elements = [molecule.elements[i] for i in order]
    bonds = [(int(new[i]), int(new[j])) for i, j in molecule.bonds]
    topology = Topology(elements, bonds)
    members = torch.cat([new, torch.tensor([n])])[members]
    traits = normal(4, 9, seed=3)
    clock = normal(1, CLOCK_FEATURES)
    line, circle = network(positions[:, order], clock, topology, members, traits, 2)
    return torch.cat([line.flatten(1), circle.flatten(1)], dim=-1)


def test_networks_know_no_frame_no_order_but_a_hand(network, molecule):
    n = len(molecule.elements)
    members = torch.tensor([[3, 1, n, n], [5, 4, 3, n], [6, 4, 3, 1], [8, 6, 4, 3]])
    positions = 10.0 * torch.from_numpy(molecule.positions) + 0.3 * normal(2, n, 3)
    with torch.no_grad():
        plain = read(network, molecule, positions, members)

        def function(flat):
            return read(network, molecule, flat.double().unflatten(-1, (n, 3)), members)

        outputs = o3.Irreps(f"{plain.shape[1]}x0e")
        inputs = [positions.flatten(1)]
        assert_equivariant(
            function, inputs, n * o3.Irreps("1e"), outputs, tolerance=1e-5, do_parity=False
        )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(read(network, molecule, positions, members, order), plain)
        torch.testing.assert_close(read(network, molecule, positions + 1.0, members), plain)
        # torsions of the mirror image have to turn the other way
        mirrored = read(network, molecule, -positions, members)
        assert (mirrored - plain).abs().max() > 1e-3


def test_a_mirror_turns_the_signs_of_triple_products_alone(network, molecule):
    n = len(molecule.elements)
    topology = Topology(molecule.elements, molecule.bonds)
    positions = 10.0 * torch.from_numpy(molecule.positions) + 0.3 * normal(2, n, 3)
    directions = network.reader.directions
    last = directions.products if hasattr(directions, "products") else directions.scalars
    inputs = []
    with torch.no_grad():
        atoms = network.reader.context(topology)
        handle = last.register_forward_hook(lambda _, args, __: inputs.append(args[0]))
        for sign in (1.0, -1.0):
            directions(sign * positions, gaussians(sign * positions), atoms)
        handle.remove()
    plain, mirrored = inputs
    even = (mirrored - plain).abs().amax((0, 1)) < 1e-9
    odd = (mirrored + plain).abs().amax((0, 1)) < 1e-9
    assert (even | odd).all() and even.sum() >= 4 and odd.sum() >= 4
    assert (even & odd).sum() == 0


def test_atoms_of_one_kind_are_told_alike(network, molecule):
    """The hydrogens of a methyl group, exchanged in space and in the coordinate they define."""
    names = list(molecule.atom_names)
    first, second, carbon = (names.index(name) for name in ("HB1", "HB2", "CB"))
    n = len(names)
    order = torch.arange(n)
    order[[first, second]] = order[[second, first]]
    members = torch.tensor([[first, carbon, n, n]] * 2 + [[second, carbon, n, n]] * 2)
    swapped = torch.tensor([[second, carbon, n, n]] * 2 + [[first, carbon, n, n]] * 2)
    positions = 10.0 * torch.from_numpy(molecule.positions)[None]
    with torch.no_grad():
        plain = read(network, molecule, positions, members)
        moved = read(network, molecule, positions[:, order], swapped)
    torch.testing.assert_close(moved, plain)


def test_far_atoms_do_not_change_what_near_ones_say(network, molecule):
    """Networks for molecules of any size: a second molecule 3 nm away changes nothing."""
    n = len(molecule.elements)
    members = torch.tensor([[3, 1, n, n], [5, 4, 3, n], [6, 4, 3, 1], [8, 6, 4, 3]])
    two = SimpleNamespace(
        elements=[*molecule.elements] * 2,
        bonds=[*molecule.bonds, *((i + n, j + n) for i, j in molecule.bonds)],
    )
    positions = 10.0 * torch.from_numpy(molecule.positions)[None]
    both = torch.cat([positions, positions + 30.0], dim=1)
    with torch.no_grad():
        alone = read(network, molecule, positions, members)
        members = torch.where(members == n, 2 * n, members)
        torch.testing.assert_close(read(network, two, both, members), alone, rtol=0, atol=1e-6)


def test_topology_holds_bonds_and_kinds_of_atoms(molecule):
    topology = Topology(molecule.elements, molecule.bonds)
    bonded = nx.to_numpy_array(nx.Graph(molecule.bonds), nodelist=range(len(topology.atoms)))
    assert (topology.bonded.numpy() == bonded).all()
    kinds = {tuple(row.tolist()) for row in topology.atoms}
    assert len(kinds) == 5  # H, C of three and of four neighbours, N, O
    rare = Topology(["Si", "H"], [(0, 1)]).atoms
    assert rare[0, 0] == 1 and rare.sum() == 4
