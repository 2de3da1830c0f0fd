r"""The training loop: one function, read from top to bottom.

Each step does two things at once. Flow samples of a K-step map, K drawn from {1, 2, 4, 8}, are on
their way through the evaluators, while the learner regresses the small steps on the buffer (flow
matching) and makes big steps agree with two half steps of the teacher (state and volume
consistency). Then the energies arrive: their path gradient sharpens the K-step map itself, and
the buffer, whose configurations are Markov chains, moves on: a Langevin move of each drawn one in
the latent space of the K-step map, then a jump to a flow sample with the ratio of importance
weights (Gabrie, Rotskoff and Vanden-Eijnden, arXiv 2105.12603). The order of arithmetic does not
depend on timing, so the same seed gives the same run on any number of evaluators.

Several learners (`distributed.learners`) run this same loop side by side, each on its rows of
every batch: all draw the random numbers of the whole batch, then `share` takes what is theirs;
`gather` puts together what the whole batch decides.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from onestep_md.config import BufferTraining, Train
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.learners import Alone, Learners
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import Interrupted, PoolError
from onestep_md.flow import langevin, losses
from onestep_md.flow.base import Flow
from onestep_md.training.buffer import Configurations
from onestep_md.training.monitor import Monitor
from onestep_md.training.path_step import path_step
from onestep_md.training.schedule import draw_step_count, learning_rate
from onestep_md.training.state import StepInfo, TrainState, batch_ess, typical
from onestep_md.training.task import Keeper, Task

# The path gradient lacks what flows through the boundary of a bounded support: it pushes ever more
# samples out. Beyond this share of a batch the likelihood of the chains alone brings them back.
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
                # the failed step has changed nothing in the checkpoint but the random numbers
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
                raise Interrupted(
                    f"stopped at step {state.step} of {settings.steps}; everything is saved in "
                    f"{keeper.folder}.\n  Continue with --resume."
                )
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
    state.optimizer.zero_grad()

    # ---- flow samples, and proposals for a part of the buffer, leave for the evaluators
    steps = draw_step_count(settings.step_shares, generator)
    z = learners.share(chart.sample_base(settings.batch, generator))
    n = len(z)
    s, log_det, score = flow.forward_with_score(z.float(), steps)
    index, drawn = state.buffer.draw(settings.regression_batch, generator)
    old = drawn.map(learners.share)
    z_old, log_det_old = flow.inverse(old.s, steps)
    proposal = None
    if steps == 1:  # the cheapest map to move chains by
        noise, full = langevin.draw(len(index), flow.dim, generator)
        noise, stride = learners.share(noise), state.buffer.stride
        proposal = langevin.propose(flow, z_old, old.force, stride, noise, full)
    wide = torch.cat([s.detach(), *([proposal.s] if proposal else [])]).double()
    with torch.no_grad():
        x, log_det_chart = chart.to_x(wide)
    ticket = evaluators.submit(x.numpy())

    # ---- meanwhile: small steps on the buffer, big steps against two half steps
    likelihood = losses.negative_log_likelihood(z_old, log_det_old, flow.n_linear).mean()
    matching, state_loss, volume_loss = _buffer_losses(state, settings, chart, old, learners)
    regression = (
        settings.likelihood_weight * likelihood
        + settings.flow_weight * matching
        + settings.state_weight * state_loss
        + settings.volume_weight * volume_loss
    )
    (regression / learners.world).backward()  # gradients are summed, and these are means

    # ---- the energies are back: path gradient of the K-step map
    u, grad_u = (torch.tensor(array) for array in evaluators.collect(ticket))
    # towards the target with its rare wells emphasised; the weights that are reported undo it
    emphasis = chart.log_emphasis(wide)
    force = chart.pull_back(wide, grad_u)
    known = ~force.isnan().any(-1)  # the others have an energy and no gradient
    force = torch.where(known[:, None], force, 0.0)
    evaluated = Configurations(wide, log_det_chart - u + emphasis, force)
    samples, proposed = evaluated[:n], evaluated[n:]
    mine = _log_w(chart, samples, z, log_det)
    log_w = learners.gather(mine)
    # every rare well has an emphasis of its own
    wells = learners.gather(emphasis[:n]), chart.log_emphasis(drawn.s.double())
    share = learners.share(losses.influence(log_w, *wells)) * known[:n]
    # chart and target both end somewhere, but charts where nearly nothing is
    outside = (u[:n].isposinf() & log_det_chart[:n].isfinite()).double()
    if learners.gather(outside).mean() > OUTSIDE:
        state.walled += 1
    else:
        losses.energy(s, score, samples.force, share).backward()

    # ---- the drawn chains move on, before the flow changes
    chains, log_w_old = old, _log_w(chart, old, z_old, log_det_old)
    if proposal:
        rise = proposed.log_p - old.log_p
        ratio = langevin.log_ratio(flow, proposal, rise, proposed.force)
        accepted = langevin.accept(learners.gather(ratio), generator)
        if full:
            state.buffer.adapt(accepted)
        accepted = learners.share(accepted)
        chains = proposed.where(accepted, old)
        log_w_new = _log_w(chart, proposed, proposal.z, proposal.log_det)
        log_w_old = torch.where(accepted, log_w_new, log_w_old)
    log_w_old, chains = learners.gather(log_w_old), chains.map(learners.gather)
    m = min(len(index), len(log_w))  # flow samples take the places of chains, one for one
    jumped = langevin.accept(log_w[:m] - log_w_old[:m], generator)
    state.buffer.replace(index, chains)
    state.buffer.replace(index[:m][jumped], samples.map(learners.gather)[:m][jumped])

    learners.sum_gradients(flow.parameters())
    spent = len(u) * learners.world
    state.descend(spent)
    log_w = learners.gather(mine - emphasis[:n])
    regressed = torch.stack([matching, state_loss, volume_loss]).detach()
    return _step_info(log_w, learners.gather(regressed[None]).mean(0), jumped, spent, steps)


def _log_w(chart: Chart, at: Configurations, z: Tensor, log_det: Tensor) -> Tensor:
    """Log importance weights (batch,) of F(z) for training's density; log_det is log|det DF|."""
    return at.log_p - chart.log_base(z.detach().double()) + log_det.detach().double()


def _step_info(
    log_w: Tensor, regressed: Tensor, jumped: Tensor, spent: int, steps: int
) -> StepInfo:
    """Report on a step of the `steps`-step map from log_w (batch,) and three regression losses."""
    log_z = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    matching, state_loss, volume_loss = regressed.tolist()
    return StepInfo(
        loss_energy=float(log_z - typical(log_w)),
        loss_flow=matching,
        loss_state=state_loss,
        loss_volume=volume_loss,
        ess=batch_ess(log_w) if steps == 1 else math.nan,
        infinite=int((~torch.isfinite(log_w)).sum()),
        evaluations=spent,
        chains_jumped=float(jumped.double().mean()),
    )


def _buffer_losses(
    state: TrainState,
    settings: BufferTraining,
    chart: Chart,
    drawn: Configurations,
    learners: Learners,
) -> tuple[Tensor, Tensor, Tensor]:
    """Means of flow matching, state and volume consistency over this learner's drawn chains.

    Zero where none of them has a weight.
    """
    if settings.flow_weight == settings.state_weight == settings.volume_weight == 0:
        return (torch.zeros(()),) * 3
    flow, generator, share = state.flow, state.generator, learners.share
    n = len(drawn.s) * learners.world
    z = chart.nearest(share(chart.sample_base(n, generator)).float(), drawn.s)
    t = share(torch.rand(n, generator=generator))
    chains = state.buffer.chains
    # the force tells the velocity only where z knows nothing of its partner
    trust = losses.force_trust(chains.s, chains.force, flow.n_linear) * (not chart.symmetric)
    matching = losses.flow_matching(flow, z, drawn.s, drawn.force, t, trust).mean()

    # dyadic pairs (t, d): d in {1, 1/2, ..., 1/64}, t a multiple of d
    levels = round(-math.log2(losses.MIN_STEP))
    d = 0.5 ** share(torch.randint(levels, (n,), generator=generator)).float()
    t = d * torch.floor(share(torch.rand(n, generator=generator)) / d)
    s = losses.path_point(z, drawn.s, t, flow.n_linear)
    if settings.volume_loss == "logdet":
        state_loss, volume_loss = losses.consistency_logdet(flow, state.teacher, s, t, d)
    else:
        tangent = share(torch.randn(n, flow.dim, generator=generator))
        state_loss, volume_loss = losses.consistency_tangent(flow, state.teacher, s, t, d, tangent)
    return matching, state_loss.mean(), volume_loss.mean()
