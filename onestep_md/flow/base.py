r"""What every flow offers: the step map F(s; t, d), its exact inverse, and K of them in a row.

A flow says what one step does; the clock, the K-step loops and the score that samples carry along
are here. State: s (batch, dim), the first `n_linear` coordinates on the line, the others angles.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

CLOCK_FEATURES = 9


class Flow(nn.Module, ABC):
    """A step-conditioned flow.

    Args:
        n_linear: coordinates on the line.
        n_circular: angles.
    """

    def __init__(self, n_linear: int, n_circular: int):
        super().__init__()
        self.n_linear, self.n_circular = n_linear, n_circular

    @abstractmethod
    def _move(self, s: Tensor, clock: Tensor, d: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """One step, or one back, and the log-determinant (batch,) of the FORWARD map."""

    @abstractmethod
    def _move_with_score(
        self, s: Tensor, clock: Tensor, d: Tensor, score: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`_move` forward, and grad log q after it from grad log q before it, (batch, dim)."""

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
        return self._move(s, *self._clock(s, t, d), inverse=False)

    def step_back(self, s: Tensor, t: Tensor | float, d: Tensor | float) -> tuple[Tensor, Tensor]:
        """Invert `step`: from time t + d back to t; same log-determinant, of the forward map."""
        return self._move(s, *self._clock(s, t, d), inverse=True)

    @staticmethod
    def _clock(s: Tensor, t: Tensor | float, d: Tensor | float) -> tuple[Tensor, Tensor]:
        """Features of flow time and step size (batch or 1, 9), and d (batch or 1, 1).

        One row serves all samples that share t and d, as when sampling.
        """
        t, d = torch.broadcast_tensors(
            *(torch.as_tensor(a, dtype=s.dtype, device=s.device).reshape(-1, 1) for a in (t, d))
        )
        # d spans 1/128 to 1: its logarithm is what tells the steps apart
        scale = torch.log2(d) / 7.0
        waves = [f(math.pi * k * t) for k in (0.5, 1.0, 2.0) for f in (torch.sin, torch.cos)]
        return torch.cat([t, d, scale, *waves], dim=-1), d

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

    def forward_with_score(self, z: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """`forward`, and grad_s log q(s) of the flow density at its samples, (batch, dim).

        Parameters are held fixed in the score, which carries no graph; the base is N(0, I) on the
        line and uniform on the circles.
        """
        s = z.detach().requires_grad_()
        score = torch.zeros_like(z)
        score[:, : self.n_linear] = -z[:, : self.n_linear]
        log_det = z.new_zeros(len(z))
        for k in range(steps):
            s, change, score = self._move_with_score(
                s, *self._clock(z, k / steps, 1.0 / steps), score
            )
            log_det = log_det + change
        return s, log_det, score

    def inverse(self, s: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Exact inverse of `forward`; same log-determinant, of the forward map."""
        log_det = s.new_zeros(len(s))
        for k in reversed(range(steps)):
            s, change = self.step_back(s, k / steps, 1.0 / steps)
            log_det = log_det + change
        return s, log_det
