"""Networks compute where their parameters are, in every part of them.

There may be no GPU here. On the meta device nothing is computed, but tensors of another device
are refused just as a GPU would refuse them.
"""

import math
from functools import partial

import pytest
import torch

from onestep_md.coordinates.angle_decoder import AngleDecoder
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.marginals import Marginals
from onestep_md.coordinates.zmatrix import build_zmatrix
from onestep_md.flow.base import Flow
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.molecular import MolecularFlow
from onestep_md.flow.networks.topology import Topology
from onestep_md.flow.step import StepFlow
from onestep_md.targets.particles import LennardJones


def molecular() -> Flow:
    angles = 2.0 * math.pi * torch.rand(200, 3, dtype=torch.float64) - math.pi
    lens = AngleDecoder(Marginals.fit(angles, torch.full((200,), 0.005, dtype=torch.float64)))
    return StepFlow(5, 3, layers=2, width=16, orders=2, bins=0, seed=0, lens=lens)


def of_atoms(network: str) -> Flow:
    """A chain of five atoms and a branch."""
    generator = torch.Generator().manual_seed(0)
    elements, bonds = ("C", "C", "N", "C", "O", "H"), ((0, 1), (1, 2), (2, 3), (3, 4), (2, 5))
    x = 0.1 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    x[:, 0] += 0.1 * torch.arange(6)
    coordinates = InternalCoordinates(build_zmatrix(elements, bonds, (), x.numpy()))
    noise = torch.randn(200, coordinates.dim, generator=generator, dtype=torch.float64)
    noise[:, -2:] *= 100.0  # turn freely
    q = coordinates.from_cartesian(x[None])[0] + 0.01 * noise
    q[:, -3:] = torch.remainder(q[:, -3:] + math.pi, 2.0 * math.pi) - math.pi
    chart = MolecularChart.fit(coordinates, q)
    assert chart.n_circular
    return MolecularFlow(chart, Topology(elements, bonds), 2, 8, 2, network, seed=0)


FLOWS = {
    "molecular egnn": partial(of_atoms, "egnn"),
    "molecular e3nn": partial(of_atoms, "e3nn"),
    "molecule": molecular,
    "splines": lambda: StepFlow(5, 0, layers=2, width=16, orders=2, bins=8, seed=0),
    "egnn": lambda: EquivariantFlow(LennardJones(4).basis, 2, layers=2, width=8, network="egnn"),
    "e3nn": lambda: EquivariantFlow(LennardJones(4).basis, 3, layers=2, width=8, network="e3nn"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_every_part_of_a_flow_is_on_its_device(name):
    steps = 2
    flow = FLOWS[name]().to("meta")
    assert flow.device.type == "meta"
    z = torch.empty(6, flow.dim, device="meta")
    s, log_det, score = flow.forward_with_score(z, steps)
    assert {a.device.type for a in (s, log_det, score)} == {"meta"}
    (s * score).sum().backward()
    for moved, log_det in (flow(z, steps), flow.inverse(z, steps), flow.inverse(z, 1)):
        (moved.sum() + log_det.sum()).backward()
    t = torch.zeros(6)  # drawn by the CPU, as in training
    moved, _ = flow.step(z, t, 0.5 + t)
    moved.sum().backward()
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in flow.parameters())


def test_results_come_back_to_the_caller(monkeypatch):
    """The caller's tensors go to the device of the parameters, and nothing else comes back."""
    flow = molecular()
    here = torch.zeros(4, flow.dim)
    visited = []
    original = flow._move

    def watched(s, clock, d, inverse):
        visited.append((s.device, clock.device, d.device))
        return original(s, clock, d, inverse)

    monkeypatch.setattr(flow, "_move", watched)
    for result in (flow(here, 2), flow.inverse(here, 2), flow.step(here, 0.0, torch.ones(4))):
        assert all(part.device == here.device for part in result)
    assert {device for devices in visited for device in devices} == {flow.device}
    flow.to("meta")
    visited.clear()
    with pytest.raises(NotImplementedError, match="meta"):  # of bringing the result back
        flow(here, 1)
    assert {device.type for devices in visited for device in devices} == {"meta"}
