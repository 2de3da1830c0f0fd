r"""The training loop: one function, read from top to bottom.

Each step does two things at once. Flow samples of a K-step map, K drawn from {1, 2, 4, 8}, are on
their way through the evaluators, while the learner regresses the small steps on the buffer (flow
matching) and makes big steps agree with two half steps of the teacher (state and volume
consistency). Then the energies arrive: their path gradient sharpens the K-step map itself, and
the weighted samples enter the buffer. The order of arithmetic does not depend on timing, so the
same seed gives the same run on any number of evaluators.
"""

import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from onestep_md.checkpoint import save_checkpoint
from onestep_md.config import Train
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import Interrupted, PoolError
from onestep_md.flow import losses
from onestep_md.flow.step import StepFlow
from onestep_md.train_paths import path_step
from onestep_md.train_state import StepInfo, TrainState, batch_ess, update_teacher

STEP_COUNTS = (1, 2, 4, 8)
_STEP_SHARES = torch.tensor([0.55, 0.25, 0.15, 0.05])  # of the batches; a K-step batch costs K
_LOG_EVERY = 10  # steps between lines of metrics.jsonl
_WARMUP = 50  # steps of linearly rising learning rate
_FINAL_RATE = 0.01  # of the initial learning rate, at the end of the cosine
_GRADIENT_NORM = 1.0
_REFRESH = 0.5  # of the effective samples of a batch enter the buffer


def train(
    state: TrainState,
    settings: Train,
    chart: Chart,
    evaluators: Evaluators,
    folder: Path,
    identity: str,
    show: Callable[[float, str], None],
    pretrained: StepFlow | None = None,
) -> None:
    """Run `settings.steps` steps in all, writing metrics and checkpoints into `folder`.

    `pretrained` is the sampler to distil, for the method cdds.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was written first.
        PoolError: all evaluators are lost; a checkpoint was written first.
    """
    stop = _StopRequest()
    monitor = _Monitor(state, evaluators, folder / "metrics.jsonl", settings.steps)
    checkpoints, saved_at = folder / "checkpoints", time.monotonic()
    with stop:
        while state.step < settings.steps:
            _set_learning_rate(state, settings)
            draws = state.generator.get_state()
            try:
                if settings.method == "buffer":
                    info = train_step(state, settings, chart, evaluators)
                else:
                    info = path_step(state, settings, chart, evaluators, pretrained)
            except PoolError:
                # of what a checkpoint holds, the broken step has changed the generator alone
                state.generator.set_state(draws)
                save_checkpoint(checkpoints, state.step, state.dump(), identity)
                raise
            show(state.step / settings.steps, monitor.record(info))
            if stop.requested or time.monotonic() - saved_at > settings.checkpoint_interval:
                save_checkpoint(checkpoints, state.step, state.dump(), identity)
                saved_at = time.monotonic()
            if stop.requested:
                raise Interrupted(
                    f"stopped at step {state.step} of {settings.steps}; everything is saved in "
                    f"{folder}.\n  Continue with --resume."
                )
    save_checkpoint(checkpoints, state.step, state.dump(), identity)


def train_step(
    state: TrainState, settings: Train, chart: Chart, evaluators: Evaluators
) -> StepInfo:
    """One optimizer step: energies in flight, consistency meanwhile, then their path gradient."""
    flow, generator = state.flow, state.generator
    state.optimizer.zero_grad()

    # ---- flow samples leave for the evaluators
    steps = STEP_COUNTS[int(torch.multinomial(_STEP_SHARES, 1, generator=generator))]
    z = chart.sample_base(settings.batch, generator)
    s, log_det, score = flow.forward_with_score(z.float(), steps)
    wide = s.detach().double()
    with torch.no_grad():
        x, log_det_chart = chart.to_x(wide)
    ticket = evaluators.submit(x.numpy())

    # ---- meanwhile: small steps on the buffer, big steps against two half steps
    likelihood, matching, state_loss, volume_loss = _buffer_losses(state, settings, chart, steps)
    regression = (
        settings.likelihood_weight * likelihood
        + settings.flow_weight * matching
        + settings.state_weight * state_loss
        + settings.volume_weight * volume_loss
    )
    regression.backward()

    # ---- the energies are back: path gradient of the K-step map
    u, grad_u = (torch.tensor(array) for array in evaluators.collect(ticket))
    force = chart.pull_back(wide, grad_u)
    log_w = -u + log_det_chart + log_det.detach().double() - chart.log_base(z)
    # towards the target with its rare wells emphasised; the weights that are reported undo it
    log_w_train = log_w + chart.log_emphasis(wide)
    losses.energy(s, score, force, log_w_train).backward()
    torch.nn.utils.clip_grad_norm_(flow.parameters(), _GRADIENT_NORM)
    state.optimizer.step()
    update_teacher(state)

    # ---- weighted samples enter the buffer
    ess = batch_ess(log_w)
    fresh = int(_REFRESH * batch_ess(log_w_train) * settings.batch)
    state.buffer.refresh(wide, force, log_w_train, fresh, generator)
    state.step += 1
    state.evaluations += len(u)
    log_z = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    return StepInfo(
        loss_energy=float(log_z - log_w.median()),
        loss_flow=float(matching.detach()),
        loss_state=float(state_loss.detach()),
        loss_volume=float(volume_loss.detach()),
        ess=ess if steps == 1 else math.nan,
        infinite=int((~torch.isfinite(log_w)).sum()),
        evaluations=len(u),
    )


def _buffer_losses(
    state: TrainState, settings: Train, chart: Chart, steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch means of likelihood, flow matching, state consistency and volume consistency."""
    flow, generator, n = state.flow, state.generator, settings.regression_batch
    s1, force = state.buffer.draw(n, generator)
    likelihood = losses.negative_log_likelihood(flow, s1, steps).mean()
    z = chart.sample_base(n, generator).float()
    t = torch.rand(n, generator=generator)
    known = slice(4096)  # in the half of the buffer that stays
    trust = losses.force_trust(state.buffer.s[known], state.buffer.force[known], flow.n_linear)
    matching = losses.flow_matching(flow, z, s1, force, t, trust).mean()

    # dyadic pairs (t, d): d in {1, 1/2, ..., 1/64}, t a multiple of d
    levels = round(-math.log2(losses.MIN_STEP))
    d = 0.5 ** torch.randint(levels, (n,), generator=generator).float()
    t = d * torch.floor(torch.rand(n, generator=generator) / d)
    s = losses.path_point(z, s1, t, flow.n_linear)
    if settings.volume_loss == "logdet":
        state_loss, volume_loss = losses.consistency_logdet(flow, state.teacher, s, t, d)
    else:
        tangent = torch.randn(n, flow.dim, generator=generator)
        state_loss, volume_loss = losses.consistency_tangent(flow, state.teacher, s, t, d, tangent)
    return likelihood, matching, state_loss.mean(), volume_loss.mean()


def _set_learning_rate(state: TrainState, settings: Train) -> None:
    done = state.step / settings.steps
    cosine = _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * done))
    rate = settings.learning_rate * min(1.0, (state.step + 1) / _WARMUP) * cosine
    for group in state.optimizer.param_groups:
        group["lr"] = rate


class _Monitor:
    """Keeps time, appends StepInfo averages to metrics.jsonl and makes the one status line."""

    def __init__(self, state: TrainState, evaluators: Evaluators, path: Path, total: int):
        self.state, self.evaluators, self.path, self.total = state, evaluators, path, total
        self.recent: list[StepInfo] = []
        self.ess, self.line = math.nan, ""
        self.tick = time.monotonic()
        self._mark()
        if path.exists():  # steps after the checkpoint are done again
            rows = [row for row in path.open() if json.loads(row)["step"] <= state.step]
            path.write_text("".join(rows))

    def _mark(self) -> None:
        self.started, self.waited = self.state.seconds, self.evaluators.wait_seconds

    def record(self, info: StepInfo) -> str:
        """Take one step's info; returns the status line."""
        now = time.monotonic()
        self.state.seconds += now - self.tick
        self.tick = now
        self.recent.append(info)
        if not math.isnan(info.ess):
            self.ess = info.ess if math.isnan(self.ess) else 0.9 * self.ess + 0.1 * info.ess
        if self.state.step % _LOG_EVERY == 0:
            self._write()
        return self.line

    def _write(self) -> None:
        elapsed = self.state.seconds - self.started
        row = {
            name: sum(getattr(info, name) for info in self.recent) / len(self.recent)
            for name in ("loss_energy", "loss_flow", "loss_state", "loss_volume", "infinite")
        }
        self.evaluators.publish(row | {"ess": self.ess})
        rate = sum(info.evaluations for info in self.recent) / elapsed
        row |= {
            "step": self.state.step,
            "seconds": round(self.state.seconds, 3),
            "ess": None if math.isnan(self.ess) else self.ess,
            "evaluations": self.state.evaluations,
            "evaluations_per_s": rate,
            "learner_idle": (self.evaluators.wait_seconds - self.waited) / elapsed,
            "learning_rate": self.state.optimizer.param_groups[0]["lr"],
            "buffer_fresh": self.state.buffer.fresh,
        }
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self.line = (
            f"step {self.state.step}/{self.total}  loss {row['loss_energy']:.2f} kT  "
            f"flow {row['loss_flow']:.3f}  state {row['loss_state']:.4f}  "
            f"volume {row['loss_volume']:.4f}  one-step ESS {100 * self.ess:.0f} %  "
            f"{rate / 1000:.1f}k evals/s"
        )
        self.recent = []
        self._mark()


class _StopRequest:
    """Turns SIGTERM and Ctrl-C into a flag for the duration of a `with` block."""

    def __init__(self):
        self.requested = False

    def _handle(self, signum, frame) -> None:
        self.requested = True

    def __enter__(self) -> None:
        self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *exc) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
