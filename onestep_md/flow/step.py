r"""The step map F(s; t, d) = s + d v(s, t, d) and its K-fold composition.

One network, conditioned on the flow time t AND the step size d, defines every step. The map is a
splitting step: the coordinates are updated in alternating halves, each half moved by elementwise
bijections whose parameters are d times a network of the other half, t and d. For d -> 0 this is a
Lie-Trotter splitting of the flow ds/dt = v(s, t, 0); for any d it is injective, with an exact
inverse and an exact log-determinant, so folds, Newton iterations and trace estimates do not exist.

State: s (batch, dim), the first `n_linear` coordinates on the line, the other `n_circular` angles.
"""

import math

import torch
from torch import Tensor, nn

from onestep_md.flow.transforms import (
    LINE_PARAMETERS,
    circle_forward,
    circle_inverse,
    circle_parameters,
    line_forward,
    line_inverse,
)

_HARMONICS = 2  # of every angle that a conditioner sees
_CLOCK_FEATURES = 9
# Adam moves every weight by about the learning rate, and so an output of a width-w layer by w times
# that: in 60 dimensions this jitter alone costs more nats than there are to learn. Scaling the
# outputs down quiets it, without slowing the hidden layers.
_OUTPUT_SCALE = 0.1


class Conditioner(nn.Module):
    """Residual MLP from one half of the state, t and d to raw parameters of the other half."""

    def __init__(self, n_inputs: int, n_outputs: int, width: int):
        super().__init__()
        self.first = nn.Linear(n_inputs, width)
        self.clock = nn.Linear(_CLOCK_FEATURES, 2 * width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, n_outputs)
        nn.init.zeros_(self.last.weight)  # an untrained flow is the identity: K = 0
        nn.init.zeros_(self.last.bias)

    def forward(self, inputs: Tensor, clock: Tensor) -> Tensor:
        first, second = self.clock(clock).chunk(2, dim=-1)
        hidden = nn.functional.silu(self.first(inputs) + first)
        hidden = hidden + nn.functional.silu(self.second(hidden) + second)
        return self.last(hidden)


class CouplingLayer(nn.Module):
    """Moves the coordinates outside `kept` by parameters computed from those inside."""

    def __init__(self, kept: Tensor, n_linear: int, width: int, bins: int):
        super().__init__()
        dim = len(kept)
        is_linear = torch.arange(dim) < n_linear
        for name, chosen in (
            ("kept_line", kept & is_linear),
            ("kept_circle", kept & ~is_linear),
            ("moved_line", ~kept & is_linear),
            ("moved_circle", ~kept & ~is_linear),
        ):
            self.register_buffer(name, chosen.nonzero().squeeze(-1), persistent=False)
        self.bins = bins
        n_inputs = len(self.kept_line) + 2 * _HARMONICS * len(self.kept_circle)
        self.n_line_outputs = LINE_PARAMETERS * len(self.moved_line)
        n_outputs = self.n_line_outputs + circle_parameters(bins) * len(self.moved_circle)
        self.conditioner = Conditioner(n_inputs, n_outputs, width)

    def _raw_parameters(self, s: Tensor, clock: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        angles = s[:, self.kept_circle]
        waves = [f(k * angles) for k in range(1, _HARMONICS + 1) for f in (torch.sin, torch.cos)]
        inputs = torch.cat([s[:, self.kept_line], *waves], dim=-1)
        raw = (_OUTPUT_SCALE * d) * self.conditioner(inputs, clock)
        line, circle = raw[:, : self.n_line_outputs], raw[:, self.n_line_outputs :]
        return (
            line.unflatten(-1, (len(self.moved_line), LINE_PARAMETERS)),
            circle.unflatten(-1, (len(self.moved_circle), circle_parameters(self.bins))),
        )

    def forward(self, s: Tensor, clock: Tensor, d: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the moved state and the log-determinant of the FORWARD map, (batch,)."""
        line, circle = self._raw_parameters(s, clock, d)
        moved = s.clone()
        log_det = s.new_zeros(len(s))
        if len(self.moved_line):
            transform = line_inverse if inverse else line_forward
            moved[:, self.moved_line], log_slope = transform(s[:, self.moved_line], line)
            log_det = log_det + log_slope.sum(-1)
        if len(self.moved_circle):
            transform = circle_inverse if inverse else circle_forward
            moved[:, self.moved_circle], log_slope = transform(s[:, self.moved_circle], circle)
            log_det = log_det + log_slope.sum(-1)
        return moved, log_det


class StepFlow(nn.Module):
    """The step-conditioned flow: `step`, its exact inverse, and K of them in a row.

    Args:
        n_linear: coordinates on the line.
        n_circular: angles.
        layers: coupling layers of one step; consecutive ones keep complementary halves.
        width: hidden width of every conditioner.
        bins: spline bins of every angle.
        seed: chooses which coordinates share a half.
    """

    def __init__(
        self, n_linear: int, n_circular: int, layers: int, width: int, bins: int, seed: int
    ):
        super().__init__()
        self.n_linear, self.n_circular = n_linear, n_circular
        halves = _halves(n_linear, n_circular, layers, torch.Generator().manual_seed(seed))
        self.layers = nn.ModuleList(
            CouplingLayer(kept, n_linear, width, bins) for kept in halves
        )

    @property
    def dim(self) -> int:
        """Dimension of the flow state."""
        return self.n_linear + self.n_circular

    def step(self, s: Tensor, t: Tensor | float, d: Tensor | float) -> tuple[Tensor, Tensor]:
        """One step of size d from time t.

        Args:
            s: (batch, dim) state at time t.
            t: flow time, scalar or (batch,).
            d: step size, scalar or (batch,).

        Returns:
            State at time t + d and log |det dF/ds| (batch,), which contains every dependence.
        """
        return self._run(s, t, d, inverse=False)

    def step_back(self, s: Tensor, t: Tensor | float, d: Tensor | float) -> tuple[Tensor, Tensor]:
        """Invert `step`: from time t + d back to t; same log-determinant, of the forward map."""
        return self._run(s, t, d, inverse=True)

    def _run(self, s, t, d, inverse: bool) -> tuple[Tensor, Tensor]:
        # one row if all samples share t and d, as when sampling: the clock is then free
        t, d = torch.broadcast_tensors(
            *(torch.as_tensor(a, dtype=s.dtype, device=s.device).reshape(-1, 1) for a in (t, d))
        )
        clock = _clock(t, d)
        log_det = s.new_zeros(len(s))
        for layer in reversed(self.layers) if inverse else self.layers:
            s, change = layer(s, clock, d, inverse)
            log_det = log_det + change
        return s, log_det

    def forward(self, z: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Map base samples by K = `steps` equal steps; K = 0 is the identity.

        Returns:
            s (batch, dim) and the summed log-determinant (batch,).
        """
        log_det = z.new_zeros(len(z))
        for k in range(steps):
            z, change = self.step(z, k / steps, 1.0 / steps)
            log_det = log_det + change
        return z, log_det

    def inverse(self, s: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Exact inverse of `forward`; same log-determinant, of the forward map."""
        log_det = s.new_zeros(len(s))
        for k in reversed(range(steps)):
            s, change = self.step_back(s, k / steps, 1.0 / steps)
            log_det = log_det + change
        return s, log_det


def _clock(t: Tensor, d: Tensor) -> Tensor:
    """Features of flow time and step size, (batch, 9)."""
    # d spans 1/128 to 1: its logarithm is what tells the steps apart
    scale = torch.log2(d) / 7.0
    waves = [f(math.pi * k * t) for k in (0.5, 1.0, 2.0) for f in (torch.sin, torch.cos)]
    return torch.cat([t, d, scale, *waves], dim=-1)


def _halves(
    n_linear: int, n_circular: int, layers: int, generator: torch.Generator
) -> list[Tensor]:
    """Boolean masks of the kept coordinates, one per layer, in complementary pairs.

    Angles are split by the binary digits of their index, so that any two of them are in different
    halves after log2(n) pairs; the many linear coordinates are split at random.
    """
    digits = max(1, math.ceil(math.log2(max(n_circular, 2))))
    masks = []
    for pair in range((layers + 1) // 2):
        line = torch.zeros(n_linear, dtype=torch.bool)
        line[torch.randperm(n_linear, generator=generator)[: n_linear // 2]] = True
        circle = (torch.arange(n_circular) >> (pair % digits)) % 2 == 0
        kept = torch.cat([line, circle])
        masks += [kept, ~kept]
    return masks[:layers]
