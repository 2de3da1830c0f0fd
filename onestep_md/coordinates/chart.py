r"""The molecular chart: flow state s <-> Cartesian x, fitted to the exploration frames.

Everything linear or one-dimensional is taken out here, so that the flow only learns the rest:

* rotatable torsions tau are mapped through the CDF of a power of their smoothed marginal,
  s = 2 pi CDF(tau) - pi, which makes their base nearly uniform on the circle and leaves barriers
  wide; puckers of rings, which have several wells but do not turn, are among them;
* stiff coordinates (bonds, angles, torsions that stay in one well) follow the torsions by a linear
  regression on the harmonics h(tau) of every torsion and are whitened jointly,
  q = mu + A h(tau) + L s with L = D^{1/2} C^{1/2} (standard deviations D and correlations C of the
  residuals), which makes their base N(0, I) exact for a harmonic molecule.

The emphasis of `RareWells` weighs the frames here and in training; importance weights undo it, as
they undo every other difference from the target.

log|det dx/ds| is the sum of the z-matrix part and these two parts, all in float64. The regression
adds nothing: it shifts stiff coordinates by a function of the torsions.

Conformers of rings, see `ring_chart`, have a mu and an L each.
"""

import copy
import math

import torch
from torch import Tensor, nn

from onestep_md.coordinates.alignment import kabsch_rotation
from onestep_md.coordinates.angle_decoder import AngleDecoder
from onestep_md.coordinates.base import (
    Chart,
    Whitening,
    beyond_half_turn,
    multiply_each,
    wrap_torsions,
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
    Marginals,
    RareWells,
    circular_mean,
    is_rotatable,
)
from onestep_md.coordinates.ring_closure import RingClosure

_HARMONICS = 3  # of every rotatable torsion in the regression of the stiff coordinates
_RIDGE = 80.0  # penalty of the regression, in frames without any trend
N_TRAITS = 9  # of a coordinate, see `MolecularChart.traits`
LEAST_GAIN = 0.25  # nats per frame in log-likelihood that one more rotatable torsion must bring


class MolecularChart(Chart):
    """Whitened stiff coordinates and flattened rotatable torsions of one molecule.

    The state holds `n_linear` stiff coordinates, then `n_circular` angles in [-pi, pi).
    """

    line: Tensor
    circle: Tensor
    is_stiff_torsion: Tensor
    centre: Tensor
    slope: Tensor
    mix: Tensor
    unmix: Tensor
    log_det_mix: Tensor

    def __init__(
        self,
        coordinates: InternalCoordinates,
        circle: Tensor,
        centre: Tensor,
        slope: Tensor,
        whitening: Whitening,
        marginals: Marginals,
        rare_wells: RareWells,
        closure: RingClosure | None = None,
    ):
        """Take what `fit` finds.

        Args:
            coordinates: the z-matrix map of the molecule.
            circle: (n_circular,) which internal coordinates are rotatable torsions.
            centre, slope: mu (conformers, n_linear) and A (harmonics, n_linear).
            whitening: of the residuals of the stiff coordinates of each conformer, L.
            marginals: of the rotatable torsions.
            rare_wells: of the rotatable torsions.
            closure: of a large ring; stiff coordinates are linear in the state without it.
        """
        super().__init__()
        self.coordinates = coordinates
        is_line = torch.ones(coordinates.dim, dtype=torch.bool).index_fill(0, circle, False)
        self.register_buffer("line", is_line.nonzero().squeeze(-1))
        self.register_buffer("circle", circle)
        first = coordinates.n_bonds + coordinates.n_angles
        self.register_buffer("is_stiff_torsion", self.line >= first)
        self.register_buffer("centre", centre)
        self.register_buffer("slope", slope)
        self.register_buffer("mix", whitening.mix)
        self.register_buffer("unmix", whitening.unmix)
        self.register_buffer("log_det_mix", whitening.log_det)
        self.marginals, self.rare_wells, self.closure = marginals, rare_wells, closure

    @classmethod
    def fit(
        cls,
        coordinates: InternalCoordinates,
        q: Tensor,
        puckers: frozenset[int] = frozenset(),
        power: float = POWER,
    ) -> "MolecularChart":
        """Fit the chart.

        Args:
            coordinates: the z-matrix map of the molecule.
            q: (frames, dim) internal coordinates of exploration frames at the target temperature.
            puckers: numbers of stiff torsions that are taken as rotatable.
            power: of the marginals that flatten; 1 for the likeliest base.
        """
        first = coordinates.n_bonds + coordinates.n_angles
        rotatable = is_rotatable(q[:, first:]) & coordinates.periodic
        rotatable[list(puckers)] = True
        is_line = torch.cat([torch.ones(first, dtype=torch.bool), ~rotatable])
        line, circle = is_line.nonzero().squeeze(-1), (~is_line).nonzero().squeeze(-1)
        angles, is_stiff_torsion = q[:, circle], line >= first
        rare_wells = RareWells.fit(angles)
        weight = torch.softmax(rare_wells.log_emphasis(angles), 0)

        centre = q[:, line].mean(0)
        centre[is_stiff_torsion] = circular_mean(q[:, line[is_stiff_torsion]])
        deviation = wrap_torsions(q[:, line] - centre, is_stiff_torsion)
        # the mean of an unwrapped torsion is not exactly its circular mean
        centre += weight @ deviation
        deviation = deviation - weight @ deviation
        shift, slope, covariance = regress(waves(angles), deviation, weight)
        marginals = Marginals.fit(angles, weight, power)
        whitening = Whitening.from_covariance(covariance)
        one = Whitening(*(part[None] for part in whitening))
        middle = (centre - shift)[None]
        return cls(coordinates, circle, middle, slope, one, marginals, rare_wells)

    @property
    def n_linear(self) -> int:
        """Number of stiff coordinates."""
        return len(self.line)

    @property
    def n_circular(self) -> int:
        """Number of rotatable torsions."""
        return len(self.circle)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels of the rotatable torsions, in the order of the state."""
        return tuple(self.coordinates.names[i] for i in self.circle.tolist())

    @property
    def members(self) -> Tensor:
        """Atoms (dim, 4) that define each coordinate of the state; -1 where it has fewer."""
        return self.coordinates.members[torch.cat([self.line, self.circle])]

    @property
    def traits(self) -> Tensor:
        """Features (dim, N_TRAITS) that distinguish coordinates of the same atom types.

        They are the kind, one-hot (bond, angle, closing bond, proper torsion, improper, flap),
        whether the coordinate rotates, and sine and cosine of the middle of a stiff torsion.
        """
        c = self.coordinates
        kinds = torch.cat(
            [torch.zeros(c.n_bonds), 1 + c.closing.long(), 4 - c.torsion_proper.long()]
        ).long()
        kinds[c.n_bonds + c.n_angles :][c.closing[1:]] = 5
        kinds = nn.functional.one_hot(kinds, 6)[torch.cat([self.line, self.circle])]
        others = torch.zeros(self.n_linear + self.n_circular, 3, dtype=torch.float64)
        others[self.n_linear :, 0] = 1.0
        stiff = self.is_stiff_torsion.nonzero().squeeze(-1)
        middle = self.centre[0, stiff]
        others[stiff, 1], others[stiff, 2] = middle.sin(), middle.cos()
        return torch.cat([kinds.double(), others], dim=-1)

    def __str__(self) -> str:
        names = "; ".join(name.partition(" ")[2] for name in self.names)
        turning = f"{self.n_circular} rotatable torsions ({names})" if names else "rigid"
        return f"{self.n_linear} stiff coordinates, {turning}"

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map states to conformations.

        Args:
            s: (batch, dim) float64 states.

        Returns:
            x (batch, atoms, 3) in nm and log|det dx/ds| (batch,). States outside the chart (a
            stiff torsion beyond half a turn, a negative bond) get log-determinant -inf: the map
            is injective on the rest, and these samples carry no weight.
        """
        q, log_stretch = self.to_internal(s)
        x, log_det = self.coordinates.to_cartesian(q)
        return x, log_det + log_stretch

    def to_internal(self, s: Tensor, conformer: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map states of conformers (batch,) to internal coordinates q (batch, dim).

        Returns:
            q, and log|det dq/ds| (batch,); conformers are the first one where none are given.
        """
        conformer = _first(s) if conformer is None else conformer
        circle, log_density = self.marginals.quantile(s[:, self.n_linear :])
        spread = multiply_each(s[:, : self.n_linear], self.mix, conformer)
        line = waves(circle) @ self.slope + spread
        if self.closure:
            line = self.closure.close(line, conformer)
        q = s.new_empty(len(s), self.coordinates.dim)
        q[:, self.line] = self.centre[conformer] + line
        q[:, self.circle] = circle
        # ds = 2 pi p(q) dq on circles, so log|dq/ds| = -log(2 pi p)
        log_stretch = self._log_det_line[conformer] - log_density.sum(-1)
        outside = beyond_half_turn(line, self.is_stiff_torsion)
        return q, torch.where(outside, -torch.inf, log_stretch)

    def dense_log_det(self, s: Tensor, along: Tensor) -> Tensor:
        """Compute it as `Chart.dense_log_det` does, with rigid motion and constrained bonds."""
        with torch.no_grad():
            x, _ = self.to_x(s)
        columns = torch.cat([jacobian(self.to_x, s) @ along, rigid_motions(x)], dim=-1)
        lengths = length_gradients(x, self.coordinates.constrained)
        return log_abs_det(columns) - log_abs_det(lengths)

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_x`: s (batch, dim) and the SAME log|det dx/ds| (batch,)."""
        q, log_det = self.coordinates.from_cartesian(x)
        s, log_stretch = self.from_internal(q)
        return s, log_det + log_stretch

    def log_likelihood(self, q: Tensor, conformer: Tensor | None = None) -> Tensor:
        """Compute the log-density of the base per volume of internal coordinates (batch, dim)."""
        s, log_stretch = self.from_internal(q, conformer)
        return self.log_base(s) - log_stretch

    def from_internal(self, q: Tensor, conformer: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Invert `to_internal`; the same log|det dq/ds|."""
        conformer = _first(q) if conformer is None else conformer
        angles = q[:, self.circle]
        deviation = wrap_torsions(q[:, self.line] - self.centre[conformer], self.is_stiff_torsion)
        if self.closure:
            deviation = self.closure.open(deviation, conformer)
        residual = deviation - waves(angles) @ self.slope
        line = multiply_each(residual, self.unmix, conformer)
        circle, log_density = self.marginals.cumulative(angles)
        log_stretch = self._log_det_line[conformer] - log_density.sum(-1)
        return torch.cat([line, circle], dim=-1), log_stretch

    @property
    def _log_det_line(self) -> Tensor:
        return self.log_det_mix - self.closure.log_det if self.closure else self.log_det_mix

    def pull_back_frames(self, s: Tensor, x: Tensor, grad_u: Tensor) -> Tensor:
        """Pull back gradients of conformations in any orientation.

        Args:
            s: (batch, dim) states of the conformations.
            x: (batch, atoms, 3) nm, the conformations as they were evaluated.
            grad_u: (batch, atoms, 3) du/dx in kT/nm at x.
        """
        with torch.no_grad():
            placed, _ = self.to_x(s)
        return self.pull_back(s, grad_u @ kabsch_rotation(x, placed))

    @property
    def angle_decoder(self) -> nn.Module:
        """A copy of the map from angles (batch, n_circular) to torsions, any float type."""
        return AngleDecoder(copy.deepcopy(self.marginals))

    def log_emphasis(self, s: Tensor) -> Tensor:
        """Compute the logarithm (batch,) of the emphasis of the wells that states are in."""
        torsions, _ = self.marginals.quantile(s[:, self.n_linear :].double())
        return self.rare_wells.log_emphasis(torsions)


def _first(rows: Tensor) -> Tensor:
    """Give every row (batch, n) the first conformer (batch,)."""
    return torch.zeros(len(rows), dtype=torch.long)


def find_puckers(coordinates: InternalCoordinates, q: Tensor) -> frozenset[int]:
    """Find the stiff torsions that have several wells in frames q (n, dim), by their numbers.

    One after the other, the stiff torsion with the largest gain in likelihood becomes rotatable:
    it has wells of its own then instead of one Gaussian, and other coordinates follow it. These
    are puckers of rings, mostly.
    """
    torsions = q[:, coordinates.n_bonds + coordinates.n_angles :]
    turning = coordinates.torsion_proper | coordinates.closing[1:]
    stiff = set((turning & ~is_rotatable(torsions)).nonzero().squeeze(-1).tolist())

    def likelihood(puckers: frozenset[int]) -> float:
        chart = MolecularChart.fit(coordinates, q, puckers, power=1.0)
        return float(chart.log_likelihood(q).mean())

    puckers: frozenset[int] = frozenset()
    reached = likelihood(puckers)
    while True:
        options = {likelihood(puckers | {i}): puckers | {i} for i in sorted(stiff - puckers)}
        best = max(options, default=-math.inf)
        if best < reached + LEAST_GAIN:
            return puckers
        puckers, reached = options[best], best


def regress(features: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Regress centred values (frames, n) on features (frames, m), weighted and with a ridge.

    Returns:
        values (n,) at the mean of the features, slope (m, n), covariance (n, n) of the residuals.
    """
    mean = weight @ features
    features = features - mean
    weighted = features * weight[:, None]
    penalty = _RIDGE / len(features) * torch.eye(features.shape[1], dtype=features.dtype)
    slope = torch.linalg.solve(weighted.T @ features + penalty, weighted.T @ values)
    covariance = torch.cov((values - features @ slope).T, aweights=weight)
    n = values.shape[1]
    return mean @ slope, slope, covariance.reshape(n, n)  # of one coordinate it is a number


def waves(angles: Tensor) -> Tensor:
    """Compute sines and cosines (batch, 2 n harmonics) of the multiples of angles (batch, n)."""
    multiples = [k * angles for k in range(1, _HARMONICS + 1)]
    return torch.cat([f(a) for a in multiples for f in (torch.sin, torch.cos)], dim=-1)
