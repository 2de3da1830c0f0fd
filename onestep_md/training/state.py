"""The state of training: flow, teacher, optimizer, buffer, counters; and one step's report."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from onestep_md.flow.base import Flow
from onestep_md.training.buffer import Buffer
from onestep_md.training.optimizer import Optimizer

_TEACHER_DECAY = 0.998


@dataclass
class TrainState:
    """Everything the next step depends on; this is what a checkpoint holds."""

    flow: Flow
    teacher: Flow  # exponential moving average of the flow; also what is sampled in the end
    optimizer: Optimizer
    buffer: Buffer
    generator: torch.Generator
    peak_rate: float  # of the learning rates
    pretrained: int = 0  # steps of pretraining
    step: int = 0
    walled: int = 0  # steps without the energy's gradient: too many samples outside the support
    evaluations: int = 0
    seconds: float = 0.0

    def to(self, device: torch.device) -> None:
        """Move the networks; the chains stay where charts and energies are."""
        self.flow.to(device)
        self.teacher.to(device)

    def dump(self) -> dict:
        """Collect tensors and primitives for a checkpoint."""
        return {
            "flow": self.flow.weights(),
            "teacher": self.teacher.weights(),
            "optimizer": self.optimizer.state_dict(),
            "buffer": self.buffer.state(),
            "generator": self.generator.get_state(),
            "pretrained": self.pretrained,
            "step": self.step,
            "walled": self.walled,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
        }

    def restore(self, saved: dict) -> None:
        """Continue from `dump()`."""
        self.flow.load_weights(saved["flow"])
        self.teacher.load_weights(saved["teacher"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.buffer = Buffer.from_state(saved["buffer"])
        self.generator.set_state(saved["generator"])
        self.pretrained, self.step = saved["pretrained"], saved["step"]
        self.walled = saved.get("walled", 0)  # runs from before it was counted
        self.evaluations, self.seconds = saved["evaluations"], saved["seconds"]

    @torch.no_grad()
    def descend(self, gradients: Sequence[list[Tensor]], evaluations: int) -> None:
        """Step along the sum of gradients; the teacher follows.

        Args:
            gradients: of the losses, clipped each by itself: where few samples have a weight, the
                energy's is ten times as long as that of the likelihood and nearly all noise
                (atenolol: the cosine of two batches is 0.04 and 0.29). Under a common norm it
                leaves nothing of the other; some runs diverged.
            evaluations: energies that they cost.
        """
        for parameter, *parts in zip(self.flow.parameters(), *gradients, strict=True):
            parameter.grad = sum(parts[1:], parts[0])
        self.optimizer.step()
        self.optimizer.zero_grad()
        # a young average forgets faster, so that it does not remember the identity
        decay = min(_TEACHER_DECAY, (1 + self.step) / (10 + self.step))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.teacher.parameters()), list(self.flow.parameters()), self.step)
        self.step += 1
        self.evaluations += evaluations


@dataclass(frozen=True)
class StepInfo:
    """Report of one step, for the log."""

    loss_energy: float  # log mean w - median log w > -inf of the batch, kT; zero if exact
    loss_flow: float
    loss_state: float
    loss_volume: float
    ess: float  # Kish ESS of this batch if it was made in one step, else nan
    infinite: int  # samples with u = +inf in the batch
    evaluations: int
    chains_jumped: float  # share of the buffer's drawn chains that took a flow sample's place


def start_state(flow: Flow, buffer: Buffer, peak_rate: float, seed: int) -> TrainState:
    """Make a fresh state; the untrained flow is the identity, so training starts at the base."""
    teacher = copy.deepcopy(flow).requires_grad_(False)
    optimizer = Optimizer(flow, peak_rate, flow.muon)
    generator = torch.Generator().manual_seed(seed)
    return TrainState(flow, teacher, optimizer, buffer, generator, peak_rate)


def batch_ess(log_w: Tensor) -> float:
    """Kish ESS of one batch, as a fraction.

    Unlike that of `estimators.weights` it is nan where no sample has a weight: averages of the
    log leave such batches out.
    """
    w = torch.softmax(log_w, 0)
    return float(1.0 / (w.square().sum() * len(w)))


def log_weight_spread(log_w: Tensor) -> float:
    """Log mean w less the median of the finite log w, in kT; nan if none is finite."""
    log_z = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    return float(log_z - log_w[log_w.isfinite()].median())
