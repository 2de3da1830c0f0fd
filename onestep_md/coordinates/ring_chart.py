r"""The chart of a molecule whose rings have several conformers: one more angle chooses among them.

The torsions of a ring depend on each other, as it has to close. Independent marginals of torsions
with several wells would hardly ever close it. Within one conformer of the rings, every ring
torsion has one well, and closure is nearly linear: a Gaussian with the covariance of that
conformer closes. So the state has one more angle u, the label. Conformer c of share pi_c owns an
arc of length 2 pi pi_c of its circle, and on this arc the other coordinates are those of a
molecular chart with the middle and the covariance of c, which counts the ring torsions among the
stiff coordinates.

Any x belongs to every conformer, with the probabilities

    r(c | x) = softmax_c (log pi_c - sum_j (1 - cos(tau_j - mu_cj)) / sigma_j^2)

of the ring torsions tau of widths sigma about the means mu_c, near to those of the base, and u is
uniform on the arc of c. The flow samples

    p(s) = p(x(s)) |det dx/ds| r(c | x) / (2 pi pi_c),

whose marginal in x is the target (as for the auxiliary coordinates in `augmented`), so weights of
the joint density are exact weights of x.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onestep_md.coordinates.alignment import kabsch_rotation
from onestep_md.coordinates.base import Chart, Whitening, wrap, wrap_torsions
from onestep_md.coordinates.chart import (
    LEAST_GAIN,
    MolecularChart,
    find_puckers,
    regress,
    waves,
)
from onestep_md.coordinates.dense import (
    jacobian,
    length_gradients,
    log_abs_det,
    rigid_motions,
)
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.marginals import (
    POWER,
    RARE,
    Marginals,
    RareWells,
    circular_mean,
    rare_emphasis,
)
from onestep_md.coordinates.ring_closure import find_closure
from onestep_md.coordinates.ring_conformers import (
    estimate_covariances,
    find_conformers,
)

_SEED = 20_261_129  # of the labels that `from_x` draws


class RingChart(Chart):
    """Molecular charts of the conformers of rings, chosen by one more angle.

    The state holds `n_linear` stiff coordinates, then rotatable torsions outside of these rings,
    then the label, all angles in [-pi, pi).
    """

    shares: Tensor
    edges: Tensor
    torsions: Tensor
    means: Tensor
    widths: Tensor
    emphasis: Tensor

    def __init__(
        self,
        molecular: MolecularChart,
        shares: Tensor,
        torsions: Tensor,
        means: Tensor,
        widths: Tensor,
        emphasis: Tensor,
    ):
        """Take what `fit` finds.

        Args:
            molecular: the chart of the other coordinates, with all conformers.
            shares: (conformers,) pi, of sum one.
            torsions: (n,) numbers of the internal coordinates that are torsions of rings.
            means, widths: (conformers, n) mu and (n,) sigma in rad.
            emphasis: (conformers,) logarithms of the emphasis of training on the rare ones.
        """
        super().__init__()
        self.molecular = molecular
        self.register_buffer("shares", shares)
        self.register_buffer("edges", shares.cumsum(0)[:-1])
        self.register_buffer("torsions", torsions)
        self.register_buffer("means", means)
        self.register_buffer("widths", widths)
        self.register_buffer("emphasis", emphasis)

    @classmethod
    def fit(
        cls,
        coordinates: InternalCoordinates,
        q: Tensor,
        turning: Tensor,
        rings: Tensor,
        cycles: Sequence[Sequence[int]],
        power: float = POWER,
    ) -> "RingChart":
        """Fit the chart.

        Args:
            coordinates: the z-matrix map of the molecule.
            q: (frames, dim) internal coordinates of frames at the target temperature.
            turning: (dim,) which coordinates are torsions that turn or have several wells.
            rings: (dim,) which coordinates are made of atoms of the rings with several conformers.
            cycles: the atoms of these rings.
            power: of the marginals of the other torsions, as in `MolecularChart.fit`.
        """
        torsions = (turning & rings).nonzero().squeeze(-1)
        circle = (turning & ~rings).nonzero().squeeze(-1)
        line = torch.ones(len(turning), dtype=torch.bool).index_fill(0, circle, False)
        line = line.nonzero().squeeze(-1)
        is_torsion = line >= coordinates.n_bonds + coordinates.n_angles
        label, means = find_conformers(q[:, torsions])
        population = torch.bincount(label, minlength=len(means)).double() / len(q)
        # many rare conformers together have no more emphasis than one of all their population
        emphasis = rare_emphasis(population * max(1, int((population < RARE).sum())))

        rare_wells = RareWells.fit(q[:, circle])
        weight = torch.softmax(rare_wells.log_emphasis(q[:, circle]) + emphasis[label], 0)
        shares = torch.zeros(len(means), dtype=q.dtype).index_add_(0, label, weight)
        groups = [q[label == c][:, line] for c in range(len(means))]
        centres = torch.stack(
            [torch.where(is_torsion, circular_mean(group), group.mean(0)) for group in groups]
        )
        deviation = wrap_torsions(q[:, line] - centres[label], is_torsion)
        places = torch.stack([q[label == c][0] for c in range(len(means))])
        places[:, line] = centres
        closure = find_closure(coordinates, places, line, cycles)
        if closure:
            deviation = closure.open(deviation, label)
        features = waves(q[:, circle])
        _, slope, _ = regress(features, deviation - weight @ deviation, weight)
        residual = deviation - features @ slope
        middles = torch.stack([residual[label == c].mean(0) for c in range(len(means))])
        covariances = estimate_covariances(residual - middles[label], label, weight, rings[line])
        whitenings = [Whitening.from_covariance(covariance) for covariance in covariances]
        if closure:
            closure = closure.shifted(middles.clone())
            middles[:, closure.bound] = 0.0
        molecular = MolecularChart(
            coordinates,
            circle,
            centres + middles,
            slope,
            Whitening(*(torch.stack(parts) for parts in zip(*whitenings, strict=True))),
            Marginals.fit(q[:, circle], weight, power),
            rare_wells,
            closure,
        )
        away = wrap(q[:, torsions] - means[label])
        return cls(molecular, shares, torsions, means, away.std(0), emphasis)

    @property
    def coordinates(self) -> InternalCoordinates:
        """The z-matrix map of the molecule."""
        return self.molecular.coordinates

    @property
    def n_linear(self) -> int:
        """Number of stiff coordinates."""
        return self.molecular.n_linear

    @property
    def n_circular(self) -> int:
        """Number of rotatable torsions outside of the rings, and the label."""
        return self.molecular.n_circular + 1

    def __str__(self) -> str:
        return f"{self.molecular}, {len(self.shares)} conformers of rings"

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map states (batch, dim) to conformations, as `MolecularChart.to_x`."""
        label = self._labels(s)
        q, log_stretch = self.molecular.to_internal(s[:, :-1], label)
        x, log_det = self.coordinates.to_cartesian(q)
        return x, log_det + log_stretch + self._log_label(q, label)

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_x`; labels are drawn, the same ones at every call."""
        q, log_det = self.coordinates.from_cartesian(x)
        u = self._draw(q, torch.Generator().manual_seed(_SEED))
        return self._with_label(q, log_det, u)

    def recover(self, s: Tensor) -> Tensor:
        q, log_det = self.coordinates.from_cartesian(self.to_x(s)[0])
        return self._with_label(q, log_det, s[:, -1])[0]

    def redraw(self, s: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the labels anew."""
        q, log_det = self.coordinates.from_cartesian(self.to_x(s.double())[0])
        return self._with_label(q, log_det, self._draw(q, generator))[0].to(s)

    def dense_log_det(self, s: Tensor, along: Tensor) -> Tensor:
        """Compute it as `MolecularChart.dense_log_det` does, with the label and its density."""
        with torch.no_grad():
            x, _ = self.to_x(s)
            label = self._labels(s)
            log_label = self._log_label(self.coordinates.from_cartesian(x)[0], label)
        motions = rigid_motions(x)
        columns = torch.cat([jacobian(self.to_x, s) @ along, motions], dim=-1)
        row = torch.cat([along[:, -1:], motions.new_zeros(len(s), 1, motions.shape[-1])], dim=-1)
        lengths = length_gradients(x, self.coordinates.constrained)
        return log_abs_det(torch.cat([columns, row], dim=1)) - log_abs_det(lengths) + log_label

    def pull_back_frames(self, s: Tensor, x: Tensor, grad_u: Tensor) -> Tensor:
        """Pull back gradients as `MolecularChart.pull_back_frames` does."""
        with torch.no_grad():
            placed, _ = self.to_x(s)
        return self.pull_back(s, grad_u @ kabsch_rotation(x, placed))

    @property
    def angle_decoder(self) -> nn.Module:
        """A copy of the map from angles (batch, n_circular) to torsions, those of rings, too."""
        return LabelDecoder(self.molecular.angle_decoder, self.edges.clone(), self.means.clone())

    @property
    def angle_sources(self) -> Tensor:
        own = torch.arange(self.n_circular - 1)
        return torch.cat([own, torch.full_like(self.torsions, self.n_circular - 1)])

    def log_likelihood(self, q: Tensor) -> Tensor:
        """Compute the log-density of the base per volume of internal coordinates (batch, dim)."""
        each = [
            self.molecular.log_likelihood(q, torch.full((len(q),), c))
            for c in range(len(self.shares))
        ]
        return torch.logsumexp(torch.stack(each, dim=-1) + self.shares.log(), dim=-1)

    def log_emphasis(self, s: Tensor) -> Tensor:
        """Compute the logarithm (batch,) of the emphasis of wells and conformers of states."""
        return self.molecular.log_emphasis(s[:, :-1]) + self.emphasis[self._labels(s)]

    def _labels(self, s: Tensor) -> Tensor:
        """Find the conformers (batch,) of states."""
        return find_arcs(s[:, -1].detach().double(), self.edges)

    def _log_label(self, q: Tensor, label: Tensor) -> Tensor:
        """Compute log r(c|x) - log(2 pi pi_c), the log-density (batch,) of u given x."""
        log_r = self._log_belonging(q).gather(1, label[:, None]).squeeze(1)
        return log_r - torch.log(2.0 * math.pi * self.shares[label])

    def _log_belonging(self, q: Tensor) -> Tensor:
        """Compute log r (batch, conformers) of internal coordinates."""
        away = 1.0 - torch.cos(q[:, None, self.torsions] - self.means)
        return torch.log_softmax(self.shares.log() - (away / self.widths**2).sum(-1), dim=-1)

    def _draw(self, q: Tensor, generator: torch.Generator) -> Tensor:
        """Draw u (batch,) given internal coordinates."""
        chance = self._log_belonging(q).exp().nan_to_num(1.0)  # q without a value has any label
        label = torch.multinomial(chance, 1, generator=generator).squeeze(1)
        inside = torch.rand(len(q), generator=generator, dtype=torch.float64)
        turn = self.shares.cumsum(0)[label] - self.shares[label] * (1.0 - inside)
        return math.pi * (2.0 * turn - 1.0)

    def _with_label(self, q: Tensor, log_det: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Complete a state by its label, and the log-determinant of x by that of the rest."""
        label = find_arcs(u, self.edges)
        s, log_stretch = self.molecular.from_internal(q, label)
        log_det = log_det + log_stretch + self._log_label(q, label)
        return torch.cat([s, u[:, None]], dim=-1), log_det


class LabelDecoder(nn.Module):
    """The map from circular states to torsions, and from labels to the ring torsions they mean."""

    edges: Tensor
    means: Tensor

    def __init__(self, torsions: nn.Module, edges: Tensor, means: Tensor):
        """Take the decoder of torsions, the edges (conformers - 1,) of the arcs, and mu."""
        super().__init__()
        self.torsions = torsions
        # the chart keeps them, so that no checkpoint of a flow has to
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("means", means, persistent=False)

    def forward(self, circle: Tensor) -> Tensor:
        """Map angles (batch, n_circular)."""
        label = find_arcs(circle[:, -1].detach().double(), self.edges)
        return torch.cat([self.torsions(circle[:, :-1]), self.means[label].to(circle.dtype)], -1)


def fit_chart(
    coordinates: InternalCoordinates, q: Tensor, rings: Sequence[Sequence[int]]
) -> MolecularChart | RingChart:
    """Fit the chart of frames, with a part for each conformer of rings where this is better.

    Args:
        coordinates: the z-matrix map of the molecule.
        q: (frames, dim) internal coordinates of frames at the target temperature.
        rings: atoms of every ring that has shapes to sample.
    """
    puckers = find_puckers(coordinates, q)
    one = MolecularChart.fit(coordinates, q, puckers)
    turning = torch.zeros(coordinates.dim, dtype=torch.bool).index_fill(0, one.circle, True)
    members = coordinates.members
    in_ring = torch.zeros(coordinates.dim, dtype=torch.bool)
    for ring in rings:
        in_ring |= (torch.isin(members, torch.tensor(ring)) | (members < 0)).all(-1)
    if not (turning & in_ring).any():
        return one
    # on frames that neither was fitted to: the parts have many more parameters
    first, second = q.chunk(2)
    parts = RingChart.fit(coordinates, first, turning, in_ring, rings, power=1.0)
    whole = MolecularChart.fit(coordinates, first, puckers, power=1.0)
    gain = parts.log_likelihood(second).mean() - whole.log_likelihood(second).mean()
    return RingChart.fit(coordinates, q, turning, in_ring, rings) if gain > LEAST_GAIN else one


def find_arcs(u: Tensor, edges: Tensor) -> Tensor:
    """Number the arcs (batch,) of angles u (batch,), divided at edges in turns from -pi."""
    turn = torch.remainder(u + math.pi, 2.0 * math.pi) / (2.0 * math.pi)
    return torch.searchsorted(edges, turn.contiguous(), right=True)
