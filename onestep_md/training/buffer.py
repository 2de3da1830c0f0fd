"""Configurations of the target that the flow learns from: a population of Markov chains.

The buffer starts with what the exploration found. A part of it is drawn in every training step,
moved while the learner computes (`train` says how) and written back. So populations that the
exploration got wrong relax to those of the target, and a basin that the flow does not reach yet
is not forgotten.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_ADAPTATION = 0.1  # of the logarithm of the stride, per step of training
_FIRST_STRIDE = 0.3
_ACCEPTANCE = 0.4  # of proposals, that the stride is led to


@dataclass(frozen=True)
class Configurations:
    """States that have been evaluated.

    Attributes:
        s: (n, dim) in flow coordinates.
        log_p: (n,) log-density that training samples, in flow coordinates, up to a constant.
        force: (n, dim) grad log p of the target in flow coordinates, nan where it is not known.
    """

    s: Tensor
    log_p: Tensor
    force: Tensor

    def __getitem__(self, rows) -> "Configurations":
        return Configurations(self.s[rows], self.log_p[rows], self.force[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Configurations":
        """Apply a function to all three."""
        return Configurations(function(self.s), function(self.log_p), function(self.force))

    def where(self, chosen: Tensor, other: "Configurations") -> "Configurations":
        """Take these where `chosen` (n,), else the others."""
        row = chosen[:, None]
        return Configurations(
            torch.where(row, self.s, other.s),
            torch.where(chosen, self.log_p, other.log_p),
            torch.where(row, self.force, other.force),
        )


class Buffer:
    """A fixed number of chains.

    Attributes:
        chains: where they are; states and forces in float32, log-densities in float64.
        stride: h of their moves, see `crank_nicolson`.
    """

    def __init__(self, start: Configurations):
        self.chains = Configurations(
            start.s.float().clone(), start.log_p.double().clone(), start.force.float().clone()
        )
        self.stride = _FIRST_STRIDE

    def __len__(self) -> int:
        return len(self.chains.s)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Configurations]:
        """Draw n different chains, at most all: their indices, and where they are."""
        index = torch.randperm(len(self), generator=generator)[:n]
        return index, self.chains[index]

    def replace(self, index: Tensor, new: Configurations) -> None:
        """Move the chains `index` to new places."""
        self.chains.s[index] = new.s.float()
        self.chains.log_p[index] = new.log_p
        self.chains.force[index] = new.force.float()

    def adapt(self, accepted: Tensor) -> None:
        """Bring the stride nearer to the best fraction of accepted proposals (n,)."""
        excess = float(accepted.double().mean()) - _ACCEPTANCE
        self.stride = min(1.0, self.stride * math.exp(_ADAPTATION * excess))

    def state(self) -> dict[str, Tensor | float]:
        """Tensors and primitives for a checkpoint."""
        chains = self.chains
        return {
            "s": chains.s, "log_p": chains.log_p, "force": chains.force, "stride": self.stride
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict) -> "Buffer":
        """Rebuild a buffer from `state()`."""
        buffer = cls(Configurations(state["s"], state["log_p"], state["force"]))
        buffer.stride = min(1.0, state["stride"])  # of older runs, whose moves were others
        return buffer
