r"""The training loop: one function, read from top to bottom.

Each step does two things at once. Flow samples of a K-step map, K drawn from {1, 2, 4, 8}, are on
their way through the evaluators, while the learner regresses the small steps on the buffer (flow
matching) and makes big steps agree with two half steps of the teacher (state and volume
consistency). Then the energies arrive: their path gradient sharpens the K-step map itself, and
the buffer, whose configurations are Markov chains, moves on: a step of each drawn one in the
latent space of the one-step map, then a jump to a flow sample, both with the ratio of importance
weights (Gabrie, Rotskoff and Vanden-Eijnden, arXiv 2105.12603). The order of arithmetic does not
depend on timing, so the same seed gives the same run on any number of evaluators.

Several learners (`distributed.learners`) run this same loop side by side. A step shards in one
place each way: all draw the random numbers of the whole batch and `take_rows` cuts out a
learner's own, then `gather` puts together what the whole batch decides. For a single learner both
return what they are given.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from onestep_md.config import BufferTraining, Train
from onestep_md.coordinates.base import Chart, pull_back_along
from onestep_md.distributed.learners import Alone, Learners
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import PoolError
from onestep_md.flow import crank_nicolson, losses
from onestep_md.flow.base import Flow
from onestep_md.training import regression
from onestep_md.training.buffer import Configurations
from onestep_md.training.chains import move_chains, weigh
from onestep_md.training.gradients import clip, gradients_of, start_gradients
from onestep_md.training.monitor import Monitor
from onestep_md.training.path_step import path_step
from onestep_md.training.schedule import draw_step_count, learning_rate
from onestep_md.training.state import StepInfo, TrainState, batch_ess, log_weight_spread
from onestep_md.training.task import Keeper, Task

# The path gradient lacks the flow through the boundary of a bounded support: it pushes ever more
# samples out. Beyond this share of a batch only the likelihood of the chains brings them back.
OUTSIDE = 0.05


def train(
    tasks: Sequence[Task],
    settings: Train,
    keeper: Keeper,
    show: Callable[[float, str], None],
    pretrained: Flow | None = None,
    learners: Learners | None = None,
) -> None:
    """Run `settings.steps` steps of every task in all, writing metrics and checkpoints.

    Each step is one of the task that is furthest behind. `pretrained` is the sampler to distil,
    for the method cdds. `learners` are those of a group, of which the first one writes; the
    default is one alone.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
        PoolError: all evaluators are lost; a checkpoint was written first.
    """
    learners = learners or Alone()
    writes, several = learners.rank == 0, len(tasks) > 1
    if writes:
        monitors = {
            task.name: Monitor(
                task.state, task.evaluators, task.folder / "metrics.jsonl", settings.steps
            )
            for task in tasks
        }
    with learners:
        while (task := furthest_behind(tasks)).state.step < settings.steps:
            state = task.state
            state.optimizer.rate = learning_rate(state.peak_rate, state.step, settings.steps)
            draws = state.generator.get_state()
            if several:
                monitors[task.name].start()
            try:
                if settings.method == "buffer":
                    info = train_step(state, settings, task.chart, task.evaluators, learners)
                else:
                    info = path_step(state, settings, task.chart, task.evaluators, pretrained)
            except PoolError:
                # the failed step has changed nothing in the checkpoint except the random numbers
                state.generator.set_state(draws)
                if writes:
                    keeper.save()
                raise
            stop = learners.stop_requested()
            if writes:
                line = monitors[task.name].record(info)
                show(state.step / settings.steps, f"{task.name}: {line}" if several else line)
                keeper.save_if(stop)
            if stop:
                raise keeper.interruption(f"step {state.step} of {settings.steps}")
    if writes:
        keeper.save()


def furthest_behind(tasks: Sequence[Task]) -> Task:
    """The task that has had the fewest steps."""
    return min(tasks, key=lambda task: task.state.step)


def train_step(
    state: TrainState,
    settings: BufferTraining,
    chart: Chart,
    evaluators: Evaluators,
    learners: Learners,
) -> StepInfo:
    """One optimizer step: energies in flight, consistency meanwhile, then their path gradient."""
    flow, generator = state.flow, state.generator

    # ---- every learner draws the random numbers of the whole batch, and takes its rows
    steps = draw_step_count(settings.step_shares, generator)
    z = learners.take_rows(chart.sample_base(settings.batch, generator))
    index, drawn = state.buffer.draw(settings.regression_batch, generator)
    chains = drawn.map(learners.take_rows)
    # as many chains move as there are flow samples; learners have whole multiples of `every`
    every = len(index) // settings.batch if len(index) % settings.batch == 0 else 1
    moving = len(index) // every
    # the one-step map is the cheapest to move chains by
    kicks = crank_nicolson.draw(moving, flow.dim, generator) if steps == 1 else None
    kicks = kicks and kicks.map(learners.take_rows)
    draws = regression.draw(settings, chart, len(index), generator)
    draws = draws and draws.map(learners.take_rows)

    # ---- flow samples leave for the evaluators, and proposals for the drawn chains after them
    s, log_det, score = flow.forward_with_score(z.float(), steps)
    sent = [_send(s, chart, evaluators, True)]
    latent = flow.inverse(chains.s, steps)
    if kicks:
        with torch.no_grad():
            start = latent[0][::every]
            near = crank_nicolson.propose(start, flow.n_linear, state.buffer.stride, kicks)
            moved = flow(near, steps)
        # only the regression reads forces of chains
        sent.append(_send(moved[0], chart, evaluators, draws is not None))

    # ---- meanwhile: small steps on the buffer, big steps against two half steps
    places = weigh(chart, chains, *latent).map(learners.gather)
    of_chains = learners.take_rows(losses.chain_influence(places.log_w))
    loss, regressed = regression.regress(state, settings, chart, chains, latent, of_chains, draws)
    # gradients are summed over the learners, and these are means
    of_loss = start_gradients(loss / learners.world, flow)

    # ---- the energies are back
    states, log_det_chart, u, force = _receive(sent, evaluators)
    # towards the target with its rare wells emphasised; the weights that are reported undo it
    emphasis = chart.log_emphasis(states)
    evaluated, n = Configurations(states, log_det_chart - u + emphasis, force), len(z)
    # where the chart ends, the density is negligible; where the target ends, it need not be
    outside = (u[:n].isposinf() & log_det_chart[:n].isfinite()).double()

    # ---- the whole batch decides: path gradient of the K-step map
    samples = weigh(chart, evaluated[:n], z, log_det).map(learners.gather)
    # every rare well has an emphasis of its own
    wells = learners.gather(emphasis[:n]), chart.log_emphasis(drawn.s.double())
    influence = losses.influence(samples.log_w, *wells)
    gradients = []
    if learners.gather(outside).mean() > OUTSIDE:
        state.walled += 1
    elif settings.energy_weight > 0:
        energy = losses.energy(s, score, force[:n], learners.take_rows(influence))
        gradients.append(gradients_of(settings.energy_weight * energy, flow))
    gradients.append(of_loss.result())
    for part in gradients:
        learners.sum_gradients(part)

    # ---- the drawn chains move on, before the flow changes
    proposals = None
    if kicks:
        proposals = weigh(chart, evaluated[n:], near, moved[1]).map(learners.gather)
    full = bool(kicks and kicks.full)
    jumped = move_chains(state.buffer, index, places, proposals, every, full, samples, generator)

    spent = len(u) * learners.world
    state.descend([clip(part) for part in gradients], spent)
    regressed = learners.gather(regressed[None]).mean(0)
    return _step_info(samples.log_w - wells[0], regressed, jumped, spent, steps)


class _Sent(NamedTuple):
    """States (n, dim), what the chart makes of them in a graph, and the ticket of energies."""

    states: Tensor
    x: Tensor
    log_det_chart: Tensor
    ticket: int


def _send(s: Tensor, chart: Chart, evaluators: Evaluators, with_force: bool) -> _Sent:
    """Start the evaluators on states (n, dim); forces need a graph of the chart."""
    states = s.detach().double().requires_grad_(with_force)
    x, log_det_chart = chart.to_x(states)
    return _Sent(states, x, log_det_chart, evaluators.submit(x.detach().numpy()))


def _receive(
    sent: Sequence[_Sent], evaluators: Evaluators
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return all states, their chart's log-determinants, u and forces, nan if not known."""
    received = []
    for states, x, log_det_chart, ticket in sent:
        u, grad_u = map(torch.from_numpy, evaluators.collect(ticket))
        if states.requires_grad:
            force = pull_back_along(states, x, log_det_chart, grad_u)
        else:
            force = torch.full_like(states, torch.nan)
        received.append((states.detach(), log_det_chart.detach(), u, force))
    states, log_det_chart, u, force = map(torch.cat, zip(*received, strict=True))
    return states, log_det_chart, u, force


def _step_info(
    log_w: Tensor, regressed: Tensor, jumped: Tensor, spent: int, steps: int
) -> StepInfo:
    """Report on a step of the `steps`-step map from log_w (batch,) and three regression losses."""
    matching, state_loss, volume_loss = regressed.tolist()
    return StepInfo(
        loss_energy=log_weight_spread(log_w),
        loss_flow=matching,
        loss_state=state_loss,
        loss_volume=volume_loss,
        ess=batch_ess(log_w) if steps == 1 else math.nan,
        infinite=int((~torch.isfinite(log_w)).sum()),
        evaluations=spent,
        chains_jumped=float(jumped.double().mean()),
    )
