r"""The step map F(s; t, d) = s + d v(s, t, d) and its K-fold composition.

One network, conditioned on the flow time t AND the step size d, defines every step. The map is a
splitting step: the coordinates are updated in alternating halves, each half moved by elementwise
bijections whose parameters are d times a network of the other half, t and d. For d -> 0 this is a
Lie-Trotter splitting of the flow ds/dt = v(s, t, 0); for any d it is injective, with an exact
inverse and an exact log-determinant, so folds, Newton iterations and trace estimates do not exist.

State: s (batch, dim), the first `n_linear` coordinates on the line, the other `n_circular` angles.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from onestep_md.flow.base import CLOCK_FEATURES, Flow, set_to_zero
from onestep_md.flow.transforms import (
    bounded,
    circle_forward,
    circle_inverse,
    circle_parameter_count,
    line_forward,
    line_inverse,
    line_parameter_count,
)

_HARMONICS = 3  # of every angle that a conditioner sees
_SEEN = 5.0  # standard deviations up to which a conditioner distinguishes line coordinates
_WAVE_NUMBERS = (1.0, 2.0, 4.0, 8.0)  # of line coordinates, where splines follow: with modes a
# twentieth of the base wide, a smooth network of the bare coordinate learns too slowly
# Adam moves every weight of the last layer by about the learning rate, and so an output by the
# width times that: in 60 dimensions this jitter alone costs more nats than there are to learn.
# Scaling the outputs down quiets it, without slowing the hidden layers.
_OUTPUT_SCALE = 0.1


class Conditioner(nn.Module):
    """Residual MLP from one half of the state, t and d to raw parameters of the other half."""

    line: Tensor
    circle: Tensor
    harmonics: Tensor
    wave_numbers: Tensor

    def __init__(
        self,
        kept: Tensor,
        n_linear: int,
        sources: Tensor,
        width: int,
        waves: bool,
        per_line: int,
        per_circle: int,
    ):
        super().__init__()
        line = kept[:n_linear].nonzero().squeeze(-1)
        circle = kept[n_linear:][sources].nonzero().squeeze(-1)
        self.register_buffer("line", line, persistent=False)
        self.register_buffer("circle", circle, persistent=False)
        self.register_buffer("harmonics", torch.arange(1.0, _HARMONICS + 1), persistent=False)
        numbers = torch.tensor(_WAVE_NUMBERS if waves else ())
        self.register_buffer("wave_numbers", numbers, persistent=False)
        n_inputs = (1 + 2 * len(numbers)) * len(line) + 2 * _HARMONICS * len(circle)
        moved_circle = int((~kept[n_linear:]).sum())
        n_outputs = per_line * (n_linear - len(line)) + per_circle * moved_circle
        self.first = nn.Linear(n_inputs, width)
        self.clock = nn.Linear(CLOCK_FEATURES, 2 * width)
        self.second = nn.Linear(width, width)
        self.last = set_to_zero(nn.Linear(width, n_outputs))

    def forward(self, s: Tensor, seen: Tensor, clock: Tensor) -> Tensor:
        """Raw parameters from the kept line of s (batch, dim) and from all angles `seen`."""
        line = as_seen(s.index_select(1, self.line))
        inputs = [line]
        if len(self.circle):  # operations on empty tensors cost time, too
            inputs.append(_waves(seen.index_select(1, self.circle), self.harmonics))
        if len(self.wave_numbers):
            inputs.append(_waves(line, self.wave_numbers))
        first, second = self.clock(clock).chunk(2, dim=-1)
        hidden = nn.functional.silu(self.first(torch.cat(inputs, -1)) + first)
        hidden = hidden + nn.functional.silu(self.second(hidden) + second)
        return self.last(hidden)


class CouplingLayer(nn.Module):
    """Moves the coordinates outside `kept` by parameters computed from those inside.

    Args:
        kept: (dim,) bool.
        n_linear: coordinates on the line.
        orders: Moebius orders of every angle.
        bins: spline bins of every line coordinate.
        make: the conditioner, made for so many outputs per moved line coordinate and moved angle,
            which it returns in this order. It is called with s (batch, dim), of which it reads
            the kept coordinates alone, with `seen`, which the flow computes, and the clock.
    """

    is_kept: Tensor
    moved: Tensor

    def __init__(
        self,
        kept: Tensor,
        n_linear: int,
        orders: int,
        bins: int,
        make: Callable[[int, int], nn.Module],
    ):
        super().__init__()
        self.register_buffer("is_kept", kept, persistent=False)
        self.register_buffer("moved", (~kept).nonzero().squeeze(-1), persistent=False)
        self.n_moved_line = int((~kept[:n_linear]).sum())
        self.per_line, self.per_circle = line_parameter_count(bins), circle_parameter_count(orders)
        self.conditioner = make(self.per_line, self.per_circle)

    def _raw_parameters(self, s: Tensor, seen: Tensor, clock: Tensor, d: Tensor) -> Tensor:
        return (_OUTPUT_SCALE * d) * self.conditioner(s, seen, clock)

    def _transform(self, moved: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Elementwise maps of the moved coordinates (line, then circle) and their log-slopes."""
        n, angles = self.n_moved_line, moved.shape[-1] - self.n_moved_line
        on_line, on_circle = (
            (line_inverse, circle_inverse) if inverse else (line_forward, circle_forward)
        )
        line, circle = moved.split([n, angles], -1)
        of_line, of_circle = raw.split([n * self.per_line, angles * self.per_circle], -1)
        parts = []
        if n or not angles:  # of a single coordinate every other layer moves nothing
            parts.append(on_line(line, of_line.unflatten(-1, (n, self.per_line))))
        if angles:
            parts.append(on_circle(circle, of_circle.unflatten(-1, (angles, self.per_circle))))
        new, log_slope = zip(*parts, strict=True)
        return torch.cat(new, -1), torch.cat(log_slope, -1)

    def forward(
        self, s: Tensor, seen: Tensor, clock: Tensor, d: Tensor, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the moved state and the log-determinant of the FORWARD map, (batch,).

        `seen` is what the conditioner sees of s, beside s itself.
        """
        raw = self._raw_parameters(s, seen, clock, d)
        new, log_slope = self._transform(s.index_select(1, self.moved), raw, inverse)
        return s.index_copy(1, self.moved, new), log_slope.sum(-1)

    def forward_with_score(
        self, s: Tensor, seen: Tensor, clock: Tensor, d: Tensor, score: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`forward`, and the score grad log q carried along with the samples.

        For y = (T(x_m; r(x_k)), x_k) the density changes by log q(y) = log q(x) - sum log T', so
        score(y) = J^{-T} grad_x [log q(x) - sum log T'], and J is triangular:

            score_m(y) = (score_m(x) - d(sum log T')/dx_m) / T'
            score_k(y) = score_k(x) - d/dx_k [sum log T' + T . score_m(y)], score_m(y) constant

        Args:
            s: (batch, dim) samples; must be part of a graph.
            seen, clock, d: as in `forward`, `seen` as a function of s.
            score: (batch, dim) grad log q at s, parameters held fixed.
        """
        raw, moved = self._raw_parameters(s, seen, clock, d), s.index_select(1, self.moved)
        new, log_slope = self._transform(moved, raw, inverse=False)
        (by_moved,) = torch.autograd.grad(  # the slope of affine maps does not depend on x_m
            log_slope.sum(), moved, retain_graph=True, materialize_grads=True
        )
        ahead = (score.index_select(1, self.moved) - by_moved) * torch.exp(-log_slope.detach())
        # to x_m too, which is not read
        (through,) = torch.autograd.grad(
            (new, log_slope), s, (ahead, torch.ones_like(log_slope)), retain_graph=True
        )
        score = (score - through).index_copy(1, self.moved, ahead)
        return s.index_copy(1, self.moved, new), log_slope.sum(-1), score


class CouplingFlow(Flow):
    """Coupling layers of elementwise bijections, one after the other."""

    layers: nn.ModuleList

    @property
    def _couplings(self) -> Sequence[CouplingLayer]:
        return cast("Sequence[CouplingLayer]", self.layers)

    @abstractmethod
    def _seen(self, s: Tensor, layer: CouplingLayer) -> Tensor:
        """What the conditioner of a layer sees of the states."""

    def _move(self, s: Tensor, clock: Tensor, d: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        log_det = s.new_zeros(len(s))
        for layer in reversed(self._couplings) if inverse else self._couplings:
            s, change = layer(s, self._seen(s, layer), clock, d, inverse)
            log_det = log_det + change
        return s, log_det

    def _move_with_score(
        self, s: Tensor, clock: Tensor, d: Tensor, score: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        log_det = s.new_zeros(len(s))
        for layer in self._couplings:
            s, change, score = layer.forward_with_score(s, self._seen(s, layer), clock, d, score)
            log_det = log_det + change
        return s, log_det, score


class StepFlow(CouplingFlow):
    """The flow of a state without symmetries: conditioners read the coordinates themselves.

    Args:
        n_linear: coordinates on the line.
        n_circular: angles.
        layers: coupling layers of one step; consecutive ones keep complementary halves.
        width: hidden width of every conditioner.
        orders: Moebius orders of every angle.
        bins: spline bins of every line coordinate; 0: affine maps only.
        seed: chooses which coordinates share a half.
        lens: a map of the angles (batch, n_circular) to those that conditioners see, (batch, m);
            default: the angles themselves. In a flattened torsion a rare basin is a sliver; a lens
            shows it at the width that it has in the molecule.
        sources: (m,) the angle that each output of the lens depends on; default: one each.
    """

    def __init__(
        self,
        n_linear: int,
        n_circular: int,
        layers: int,
        width: int,
        orders: int,
        bins: int,
        seed: int,
        lens: nn.Module | None = None,
        sources: Tensor | None = None,
    ):
        super().__init__(n_linear, n_circular)
        if sources is None:
            sources = torch.arange(n_circular)
        self.layers = nn.ModuleList(
            CouplingLayer(
                kept,
                n_linear,
                orders,
                bins,
                partial(Conditioner, kept, n_linear, sources, width, bins > 0),
            )
            for kept in halves(n_linear, n_circular, layers, seed)
        )
        self.lens = lens or nn.Identity()

    def _seen(self, s: Tensor, layer: CouplingLayer) -> Tensor:
        return self.lens(s[:, self.n_linear :])


def as_seen(line: Tensor) -> Tensor:
    """Line coordinates for conditioners, bounded: an outlier must not grow in the next layer."""
    return bounded(line, _SEEN)


def _waves(x: Tensor, numbers: Tensor) -> Tensor:
    """Sines and cosines (batch, 2 k n) of x (batch, n) times each of the k wave numbers."""
    # the chart of a molecule has the same values of its torsions by another sum of gradients:
    # one function for both would change the last digits of forces, and so every trained model
    phase = numbers[:, None] * x[:, None, :]
    return torch.stack([torch.sin(phase), torch.cos(phase)], 2).flatten(1)


def halves(n_linear: int, n_circular: int, layers: int, seed: int) -> list[Tensor]:
    """Boolean masks of the kept coordinates, one per layer, in complementary pairs.

    Angles are split by the binary digits of their index, so that any two of them are in different
    halves after log2(n) pairs; the many linear coordinates are split at random.
    """
    generator = torch.Generator().manual_seed(seed)
    digits = max(1, math.ceil(math.log2(max(n_circular, 2))))
    masks = []
    for pair in range((layers + 1) // 2):
        line = torch.zeros(n_linear, dtype=torch.bool)
        line[torch.randperm(n_linear, generator=generator)[: n_linear // 2]] = True
        circle = (torch.arange(n_circular) >> (pair % digits)) % 2 == 0
        kept = torch.cat([line, circle])
        masks += [kept, ~kept]
    return masks[:layers]
