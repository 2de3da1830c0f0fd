r"""Training from the energy along simulated paths: OSDS, SCDS and CDDS, one step of each.

* osds (arXiv 2512.05251): the smallest step learns to sample by diffusion, the path-measure
  objective; bigger steps agree with two half steps of the averaged teacher on the visited states,
  in state and in volume.
* scds (arXiv 2502.07579): the same without volume, and the flow itself is its teacher.
* cdds (same): a pretrained sampler simulates paths up to a random time and gives the smallest
  step; no energy is evaluated and no path is completed. A teacher of small steps alone is trained
  by osds without its consistency, on the grid of DIS and DDS or of PIS.

Stands in for `train.train_step`, which learns from a buffer instead.
"""

import math

import torch
from torch import Tensor

from onestep_md.config import PathTraining
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import Evaluators
from onestep_md.flow import losses
from onestep_md.flow.base import Flow
from onestep_md.flow.paths import log_sampling, log_variance, path_times, simulate, states_at
from onestep_md.training.gradients import clip, gradients_of
from onestep_md.training.state import StepInfo, TrainState, batch_ess, log_weight_spread

PATH_STEPS = 32
_LEARNED = 4  # steps of every path whose kernels the objective differentiates
_JACOBIAN_WEIGHT = 1e-4  # as published


def path_step(
    state: TrainState,
    settings: PathTraining,
    chart: Chart,
    evaluators: Evaluators,
    pretrained: Flow | None,
) -> StepInfo:
    """One optimizer step; `pretrained` is the sampler that cdds distils."""
    flow, generator = state.flow, state.generator
    z = chart.sample_base(settings.batch, generator).float()
    times = path_times(settings.grid, PATH_STEPS)
    if pretrained is not None:
        base_loss, visited = _distil(z, flow, pretrained, times, generator)
        spread, ess, infinite, spent = math.nan, math.nan, 0, 0
    else:
        base_loss, spread, visited, ess, infinite = _path_measure(
            z, state, times, chart, evaluators
        )
        spent = settings.batch
    smaller = flow if settings.method == "scds" else state.teacher
    state_loss, volume_loss, stretch = _consistency(
        flow, smaller, visited, times, settings, generator
    )
    volume_weight = 0.0 if settings.method == "scds" else settings.volume_weight
    loss = (
        base_loss
        + settings.state_weight * state_loss
        + volume_weight * volume_loss
        + _JACOBIAN_WEIGHT * stretch
    )
    state.descend([clip(gradients_of(loss, flow))], spent)
    return StepInfo(
        loss_energy=spread,
        loss_flow=float(base_loss.detach()),
        loss_state=float(state_loss.detach()),
        loss_volume=float(volume_loss.detach()),
        ess=ess,
        infinite=infinite,
        evaluations=spent,
        chains_jumped=math.nan,
    )


def _path_measure(
    z: Tensor, state: TrainState, times: list[float], chart: Chart, evaluators: Evaluators
) -> tuple[Tensor, float, Tensor, float, int]:
    """Log-variance objective of fresh paths, spread, visited states, ESS, number of u = +inf."""
    flow, generator = state.flow, state.generator
    paths = simulate(flow, z, times, generator)
    x, log_det = chart.to_x(paths.s[-1].double())
    ticket = evaluators.submit(x.numpy())
    chosen = torch.randperm(PATH_STEPS, generator=generator)[:_LEARNED].tolist()
    log_p = log_sampling(flow, paths.s, times, chosen)
    u, _ = evaluators.collect(ticket)
    log_w = log_det - torch.from_numpy(u) + (paths.log_noising - paths.log_sampling).double()
    loss = log_variance(log_p, log_w.float()) / flow.dim
    infinite = int((~torch.isfinite(log_w)).sum())
    return loss, log_weight_spread(log_w), paths.s, batch_ess(log_w), infinite


def _distil(
    z: Tensor,
    flow: Flow,
    pretrained: Flow,
    times: list[float],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Loss of the smallest step against that of the pretrained sampler, and its paths."""
    length = int(torch.randint(1, PATH_STEPS + 1, (), generator=generator))
    paths = simulate(pretrained, z, times, generator, until=length)
    k = torch.randint(length, (z.shape[0],), generator=generator)
    s, t, d = paths.s[k, torch.arange(len(z))], torch.tensor(times)[k], 1.0 / PATH_STEPS
    with torch.no_grad():
        target, _ = pretrained.step(s, t, d)
    moved, _ = flow.step(s, t, d)
    loss = ((moved - target) / d).square().sum(-1).mean()
    return loss, paths.s


def _consistency(
    flow: Flow,
    smaller: Flow,
    visited: Tensor,
    times: list[float],
    settings: PathTraining,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """State and volume consistency on visited states, and the Jacobian regulariser."""
    n = min(settings.regression_batch, visited.shape[1])
    levels = round(math.log2(PATH_STEPS))  # two halves of d are no smaller than a step of the path
    level = torch.randint(levels, (n,), generator=generator)
    t, d = losses.dyadic_times(level, torch.rand(n, generator=generator))
    known = t <= times[len(visited) - 1]  # a path that was not completed has no later states
    d, t = d[known], t[known]
    chosen = torch.randperm(visited.shape[1], generator=generator)[: len(t)]
    s = states_at(visited[:, chosen], times, t, generator)
    tangent = torch.randn(s.shape, generator=generator)
    if settings.method == "scds" or settings.volume_loss == "logdet":
        state_loss, volume_loss = losses.consistency_logdet(flow, smaller, s, t, d)
    else:
        state_loss, volume_loss = losses.consistency_tangent(flow, smaller, s, t, d, tangent)
    _, pushed = losses.push_forward(lambda at: flow.step(at, t, d)[0], s, tangent)
    return state_loss.mean(), volume_loss.mean(), pushed.square().sum(-1).mean()
