r"""The step map of molecules, from their Cartesian positions, atom types and bonds.

The base is a molecule already: its chart makes one of any state, bonds, angles and torsions with
their own distributions. Their correlations are left, and a network finds these in the positions of
all atoms. So every coupling layer shows its network a molecule,

    x~ = x(s~),   s~_k = s_k for what is kept, and 0, the middle of the base, for what is moved,

in Cartesian space, and the network, equivariant to rotations and to the exchange of atoms of one
kind, returns the parameters that move the other coordinates. x~ is a function of the kept ones
alone, so the layers are injective, with the exact inverse and log-determinant of `flow.step`; no
atom is moved on a straight line, so no bond is stretched when a torsion turns, and no
chirality centre inverts.

The network has no parameter of an atom or of a coordinate. It reads a coordinate from the features
of the atoms that define it and from its kind; one network serves any molecule.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from onestep_md.coordinates.chart import N_TRAITS, MolecularChart
from onestep_md.flow.base import CLOCK_FEATURES, set_to_zero
from onestep_md.flow.networks.message_passing import footprint
from onestep_md.flow.networks.surroundings import Surroundings, directions
from onestep_md.flow.networks.topology import UNIT, Topology
from onestep_md.flow.step import CouplingFlow, CouplingLayer, as_seen, halves
from onestep_md.flow.transforms import bounded

_ROLES = 4  # atoms of a coordinate: the one that it places, and up to three references
# Bound of the outputs on the line, of which a layer takes a tenth: in one layer no coordinate is
# moved by more than its width, or made e times as wide. Without it, long training on the
# likelihood blew single frames up by thousands.
_LARGEST = 10.0


class MolecularFlow(CouplingFlow):
    """Coupling layers whose conditioners read Cartesian positions.

    Args:
        chart: of the molecule; the flow has a copy of its own.
        topology: of the molecule.
        layers: coupling layers of one step; consecutive ones keep complementary halves.
        width: hidden units of every network.
        orders: Moebius orders of every angle.
        network: egnn or e3nn.
        seed: chooses which coordinates share a half.
    """

    muon = True

    def __init__(
        self,
        chart: MolecularChart,
        topology: Topology,
        layers: int,
        width: int,
        orders: int,
        network: str,
        seed: int,
    ):
        super().__init__(chart.n_linear, chart.n_circular)
        self.footprint = footprint(len(topology.atoms), width, network)
        self.chart = copy.deepcopy(chart)
        self.layers = nn.ModuleList(
            CouplingLayer(
                kept,
                chart.n_linear,
                orders,
                0,
                partial(MolecularConditioner, chart, topology, kept, width, network),
            )
            for kept in halves(chart.n_linear, chart.n_circular, layers, seed)
        )

    def use_networks_of(self, other: "MolecularFlow") -> None:
        """Take the networks of a flow of the same architecture, of another molecule."""
        for layer, source in zip(self._couplings, other._couplings, strict=True):
            layer.conditioner.network = source.conditioner.network

    def _seen(self, s: Tensor, layer: CouplingLayer) -> Tensor:
        """Positions (batch, n, 3) of the molecule that a layer shows, in 0.1 nm."""
        shown = s * layer.is_kept
        line = as_seen(shown[:, : self.n_linear])
        x, _ = self.chart.to_x(torch.cat([line, shown[:, self.n_linear :]], -1).double())
        return (x / UNIT).to(s.dtype)


class MolecularConditioner(nn.Module):
    """The network of a layer, with the atoms and coordinates of one molecule that it serves."""

    members: Tensor
    traits: Tensor

    def __init__(
        self,
        chart: MolecularChart,
        topology: Topology,
        kept: Tensor,
        width: int,
        network: str,
        per_line: int,
        per_circle: int,
    ):
        super().__init__()
        n = len(topology.atoms)
        self.topology = topology
        moved = (~kept).nonzero().squeeze(-1)
        members = chart.members[moved]
        self.n_line = int((moved < chart.n_linear).sum())
        self.register_buffer("members", torch.where(members < 0, n, members), persistent=False)
        self.register_buffer("traits", chart.traits[moved].float(), persistent=False)
        self.network = Network(width, network, per_line, per_circle)

    def forward(self, s: Tensor, seen: Tensor, clock: Tensor) -> Tensor:
        """Raw parameters (batch, outputs) of what is moved, from the positions `seen` alone."""
        line, circle = self.network(
            seen, clock, self.topology, self.members, self.traits, self.n_line
        )
        return torch.cat([line.flatten(1), circle.flatten(1)], dim=-1)


class Network(nn.Module):
    """From positions to the parameters that move coordinates; of no molecule in particular.

    Args:
        width: hidden units.
        network: egnn or e3nn.
        per_line, per_circle: parameters of a moved line coordinate and of a moved angle.
    """

    def __init__(self, width: int, network: str, per_line: int, per_circle: int):
        super().__init__()
        self.reader = Surroundings(width, directions(network, width))
        self.roles = nn.Linear(width, _ROLES * width)
        self.traits = nn.Linear(N_TRAITS, width)
        self.clock = nn.Linear(CLOCK_FEATURES, width)
        self.hidden = nn.Linear(width, width)
        self.to_line = set_to_zero(nn.Linear(width, per_line))
        self.to_circle = set_to_zero(nn.Linear(width, per_circle))

    def forward(
        self,
        positions: Tensor,
        clock: Tensor,
        topology: Topology,
        members: Tensor,
        traits: Tensor,
        n_line: int,
    ) -> tuple[Tensor, Tensor]:
        """Read a molecule.

        Args:
            positions: (batch, n, 3) in 0.1 nm.
            clock: (batch or 1, 9) from the flow.
            topology: of the molecule.
            members: (m, 4) atoms of the moved coordinates, n where there are fewer.
            traits: (m, N_TRAITS) of them.
            n_line: how many of them, the first ones, are on the line.

        Returns:
            (batch, n_line, per_line) and (batch, m - n_line, per_circle).
        """
        node = self.reader(positions, clock, topology)
        # an atom has a feature of its own for every role, and one that is not there has none
        roles = nn.functional.pad(self.roles(node), (0, 0, 0, 1)).chunk(_ROLES, dim=-1)
        hidden = self.traits(traits.to(node)) + self.clock(clock)[:, None]
        for role, column in zip(roles, members.T, strict=True):
            hidden = hidden + role.index_select(1, column)
        hidden = silu(hidden)
        hidden = hidden + silu(self.hidden(hidden))
        line = bounded(self.to_line(hidden[:, :n_line]), _LARGEST)
        return line, self.to_circle(hidden[:, n_line:])
