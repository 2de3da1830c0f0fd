r"""The interface of all flows: the step map F(s; t, d), its exact inverse, and K steps in a row.

A subclass defines one step; the clock, the K-step loops and the score that samples carry along
are here. State: s (batch, dim), the first `n_linear` coordinates on the line, the others angles.

A flow computes where its parameters are, on a GPU perhaps, and takes and returns tensors that are
where its caller is: charts, weights and random numbers stay with the CPU.
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

    Attributes:
        footprint: numbers that a pass keeps in memory at once for every sample, without gradients.
        muon: whether `optimizer.Optimizer` moves the matrices of its networks by Muon.
    """

    muon = False

    def __init__(self, n_linear: int, n_circular: int):
        super().__init__()
        self.n_linear, self.n_circular = n_linear, n_circular
        self.footprint = 30 * self.dim

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

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def step(self, s: Tensor, t: Tensor | float, d: Tensor | float) -> tuple[Tensor, Tensor]:
        """One step of size d from time t.

        Args:
            s: (batch, dim) state at time t.
            t: flow time, scalar or (batch,).
            d: step size, scalar or (batch,).

        Returns:
            State at time t + d and log |det dF/ds| (batch,), which contains every dependence.
        """
        here = s.to(self.device)
        moved, log_det = self._move(here, *self._clock(here, t, d), inverse=False)
        return moved.to(s.device), log_det.to(s.device)

    def weights(self) -> dict[str, Tensor]:
        """Return what training changes, for `load_weights`: all but the chart of a molecule."""
        return {name: value for name, value in self.state_dict().items() if not _is_chart(name)}

    def load_weights(self, stored: dict[str, Tensor]) -> None:
        """Take the weights of a flow of the same architecture; the chart stays what it is."""
        chart = {name: value for name, value in self.state_dict().items() if _is_chart(name)}
        weights = {name: value for name, value in stored.items() if not _is_chart(name)}
        self.load_state_dict({**weights, **chart})

    @staticmethod
    def _clock(s: Tensor, t: Tensor | float, d: Tensor | float) -> tuple[Tensor, Tensor]:
        """Features of flow time and step size (batch or 1, 9), and d (batch or 1, 1).

        One row serves all samples that share t and d, as when sampling.
        """
        time, size = torch.broadcast_tensors(
            *(torch.as_tensor(a, dtype=s.dtype, device=s.device).reshape(-1, 1) for a in (t, d))
        )
        # d spans 1/128 to 1: its logarithm separates the steps
        scale = torch.log2(size) / 7.0
        waves = [f(math.pi * k * time) for k in (0.5, 1.0, 2.0) for f in (torch.sin, torch.cos)]
        return torch.cat([time, size, scale, *waves], dim=-1), size

    def forward(self, z: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Map base samples by K = `steps` equal steps; K = 0 is the identity.

        Returns:
            s (batch, dim) and the summed log-determinant (batch,).
        """
        s = z.to(self.device)
        log_det = s.new_zeros(len(s))
        for k in range(steps):
            s, change = self._move(s, *self._clock(s, k / steps, 1.0 / steps), inverse=False)
            log_det = log_det + change
        return s.to(z.device), log_det.to(z.device)

    def forward_with_score(self, z: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """`forward`, and grad_s log q(s) of the flow density at its samples, (batch, dim).

        Parameters are held fixed in the score, which carries no graph; the base is N(0, I) on the
        line and uniform on the circles.
        """
        s = z.detach().to(self.device).requires_grad_()
        score = torch.zeros_like(s)
        score[:, : self.n_linear] = -s.detach()[:, : self.n_linear]
        log_det = s.new_zeros(len(s))
        for k in range(steps):
            s, change, score = self._move_with_score(
                s, *self._clock(s, k / steps, 1.0 / steps), score
            )
            log_det = log_det + change
        return s.to(z.device), log_det.to(z.device), score.to(z.device)

    def inverse(self, s: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Exact inverse of `forward`; same log-determinant, of the forward map."""
        z = s.to(self.device)
        log_det = z.new_zeros(len(z))
        for k in reversed(range(steps)):
            z, change = self._move(z, *self._clock(z, k / steps, 1.0 / steps), inverse=True)
            log_det = log_det + change
        return z.to(s.device), log_det.to(s.device)


def set_to_zero(last: nn.Linear) -> nn.Linear:
    """Set all parameters of a last layer to zero: an untrained flow is the identity, as K = 0."""
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return last


def _is_chart(name: str) -> bool:
    return name.startswith("chart.")
