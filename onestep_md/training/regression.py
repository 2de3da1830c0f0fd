"""Losses of the drawn chains: likelihood, flow matching, state and volume consistency."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from onestep_md.config import BufferTraining
from onestep_md.coordinates.base import Chart
from onestep_md.flow import losses
from onestep_md.training.buffer import Configurations
from onestep_md.training.state import TrainState

_LEVELS = round(-math.log2(losses.MIN_STEP))


class Draws(NamedTuple):
    """Random numbers of the regression on n chains.

    Attributes:
        z: (n, dim) base samples, the other ends of the paths to the chains.
        t: (n,) flow times of flow matching.
        level: (n,) step sizes of the consistencies, d = 2^-level in {1, 1/2, ..., 1/64}.
        start: (n,) in [0, 1), the times of these steps before they are rounded.
        tangent: (n, dim) directions of the volume consistency, (n, 0) where it needs none.
    """

    z: Tensor
    t: Tensor
    level: Tensor
    start: Tensor
    tangent: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        """Apply a function to all tensors."""
        return Draws(*map(function, self))


def draw(
    settings: BufferTraining, chart: Chart, n: int, generator: torch.Generator
) -> Draws | None:
    """Draw the random numbers for n chains; None where no regression has a weight."""
    if settings.flow_weight == settings.state_weight == settings.volume_weight == 0:
        return None
    z = chart.sample_base(n, generator)
    t = torch.rand(n, generator=generator)
    level = torch.randint(_LEVELS, (n,), generator=generator)
    start = torch.rand(n, generator=generator)
    tangent = torch.empty(n, 0)
    if settings.volume_loss == "tangent":
        tangent = torch.randn(n, z.shape[1], generator=generator)
    return Draws(z, t, level, start, tangent)


def regress(
    state: TrainState,
    settings: BufferTraining,
    chart: Chart,
    chains: Configurations,
    latent: tuple[Tensor, Tensor],
    influence: Tensor,
    draws: Draws | None,
) -> tuple[Tensor, Tensor]:
    """Compute the weighted loss of drawn chains, and the regression losses (3,) for the log.

    Args:
        state: the flow and its teacher.
        settings: the weights.
        chart: coordinates of the flow.
        chains: n drawn ones.
        latent: their z (n, dim) and log|det DF| (n,) in the map of this step.
        influence: (n,) of each in the likelihood, see `losses.chain_influence`.
        draws: random numbers from `draw`.
    """
    likelihood = losses.negative_log_likelihood(*latent, state.flow.n_linear)
    matching, state_loss, volume_loss = _regression_losses(state, settings, chart, chains, draws)
    loss = (
        settings.likelihood_weight * (influence.to(likelihood) * likelihood).mean()
        + settings.flow_weight * matching
        + settings.state_weight * state_loss
        + settings.volume_weight * volume_loss
    )
    return loss, torch.stack([matching, state_loss, volume_loss]).detach()


def _regression_losses(
    state: TrainState,
    settings: BufferTraining,
    chart: Chart,
    drawn: Configurations,
    draws: Draws | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Means of flow matching, state and volume consistency over drawn chains."""
    if draws is None:
        return (torch.zeros(()),) * 3
    flow = state.flow
    z = chart.align(draws.z.float(), drawn.s)
    chains = state.buffer.chains
    # the force gives the velocity only where z is independent of its partner
    trust = losses.force_trust(chains.s, chains.force, flow.n_linear) * (not chart.symmetric)
    matching = losses.flow_matching(flow, z, drawn.s, drawn.force, draws.t, trust).mean()

    t, d = losses.dyadic_times(draws.level, draws.start)
    s = losses.path_point(z, drawn.s, t, flow.n_linear)
    if settings.volume_loss == "logdet":
        state_loss, volume_loss = losses.consistency_logdet(flow, state.teacher, s, t, d)
    else:
        state_loss, volume_loss = losses.consistency_tangent(
            flow, state.teacher, s, t, d, draws.tangent
        )
    return matching, state_loss.mean(), volume_loss.mean()
