"""The training loop when its evaluators are lost."""

import functools
from pathlib import Path

import pytest
import torch

from onestep_md.buffer import Buffer, Configurations
from onestep_md.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.config import Train
from onestep_md.coordinates.flat import FlatChart
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.errors import PoolError
from onestep_md.flow.step import StepFlow
from onestep_md.targets.densities import GaussianMixture
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.train import train
from onestep_md.train_state import start_state

DIM = 2


def shifted():
    return GaussianMixture("shifted", torch.ones(1, DIM, dtype=torch.float64), 0.6)


class Mortal(SerialEvaluators):
    """Lost for good after some batches."""

    def __init__(self, batches):
        super().__init__(functools.partial(DensityEvaluator, shifted), "torch")
        self.batches, self.published = batches, []

    def collect(self, ticket):
        self.batches -= 1
        if self.batches < 0:
            raise PoolError("none of the 2 evaluators has answered")
        return super().collect(ticket)

    def publish(self, values):
        self.published.append(values)


@pytest.mark.parametrize("method", ["buffer", "osds"])
def test_lost_evaluators_leave_a_checkpoint_that_resumes_bit_for_bit(tmp_path: Path, method):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, DIM, generator=generator, dtype=torch.float64)
    chart = FlatChart((x - x.mean(0)) / x.std(0))
    settings = Train(
        method=method, steps=12, batch=32, regression_batch=16, likelihood_weight=1,
        step_shares=(2, 1, 1, 1), learning_rate=1e-3, flow_weight=0.01, state_weight=0.1,
        volume_weight=0.02,
    )  # fmt: skip

    def start():
        torch.manual_seed(0)
        flow = StepFlow(DIM, 0, layers=2, width=16, orders=1, bins=0, seed=0)
        explored = Configurations(x[:50], -0.5 * x[:50].square().sum(-1), -x[:50])
        return start_state(flow, Buffer(explored), settings.learning_rate, seed=1)

    def go_on(state, folder, batches):
        folder.mkdir(exist_ok=True)
        evaluators = Mortal(batches)
        train(state, settings, chart, evaluators, folder, "same", lambda *_: None)
        return evaluators

    expected = start()
    (values,) = go_on(expected, tmp_path / "whole", batches=99).published  # after ten steps
    assert {"ess", "loss_energy", "loss_flow"} < values.keys()
    with pytest.raises(PoolError, match="none of the 2"):
        go_on(start(), tmp_path / "broken", batches=7)
    resumed = start()
    saved = latest_checkpoint(tmp_path / "broken" / "checkpoints")
    resumed.restore(load_checkpoint(saved, "same"))
    assert resumed.step == 7
    go_on(resumed, tmp_path / "broken", batches=99)
    for ours, theirs in zip(resumed.flow.parameters(), expected.flow.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(resumed.buffer.chains.s, expected.buffer.chains.s)
