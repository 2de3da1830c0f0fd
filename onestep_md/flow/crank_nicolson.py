r"""Crank-Nicolson moves of chains in the latent space of the one-step map s = F(z).

    line:  z_new = (1 - h^2)^{1/2} z + h noise        circle:  z_new = z + (pi / 3^{1/2}) h noise

The base N(0, I) x uniform circles is invariant under such moves, in any number of dimensions, and
they are reversible with respect to it (Cotter, Roberts, Stuart and White, Statist. Sci. 28, 424
(2013)). So the Metropolis-Hastings ratio is that of the importance weights
w = p(F(z)) |det DF(z)| / base(z), and moves are as long as the flow is good: where it is the
target, all are accepted. They need no gradient.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from onestep_md.coordinates.base import wrap

_SHORT = 0.25  # of the stride, in every fourth move: for places that the flow fits badly
_CIRCLE = math.pi / math.sqrt(3.0)  # standard deviation of the uniform distribution


class Draws(NamedTuple):
    """Random numbers of n proposals.

    Attributes:
        noise: (n, dim) standard normal.
        full: whether the proposals have the whole stride.
    """

    noise: Tensor
    full: bool

    def map(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        """The function's value of the noise."""
        return Draws(function(self.noise), self.full)


def draw(n: int, dim: int, generator: torch.Generator) -> Draws:
    """Draw the random numbers of n proposals."""
    full = bool(torch.rand((), generator=generator) > 0.25)
    return Draws(torch.randn(n, dim, generator=generator), full)


def propose(z: Tensor, n_linear: int, stride: float, draws: Draws) -> Tensor:
    """Propose new latent states (n, dim).

    Args:
        z: (n, dim) latent states.
        n_linear: number of coordinates on the line; the others are angles.
        stride: h of usual proposals, at most 1.
        draws: from `draw`.
    """
    h = stride if draws.full else _SHORT * stride
    noise = draws.noise.to(z)
    line = math.sqrt(1.0 - h * h) * z[:, :n_linear] + h * noise[:, :n_linear]
    circle = wrap(z[:, n_linear:] + _CIRCLE * h * noise[:, n_linear:])
    return torch.cat([line, circle], dim=-1)
