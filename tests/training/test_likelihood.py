"""Training on the likelihood of explored samples before the energies come in."""

import json
import math
import os
import signal

import numpy as np
import pytest
import torch

from onestep_md.config import BufferTraining
from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.errors import Interrupted
from onestep_md.exploration.explored import Exploration
from onestep_md.flow import losses
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.sampling.model import Model
from onestep_md.targets.particles import LennardJones
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint
from onestep_md.training.likelihood import METRICS, pretrain
from onestep_md.training.state import start_state
from onestep_md.training.task import Keeper

PARTICLES, SPACE = 3, 2


def fresh(settings: BufferTraining) -> Model:
    """Three particles in the plane at distances of about one: far from the base."""
    generator = torch.Generator().manual_seed(0)
    basis = LennardJones(PARTICLES).basis
    angle = 2.0 * math.pi * torch.rand(400, 1, generator=generator, dtype=torch.float64)
    angle = angle + 2.0 * math.pi / 3.0 * torch.arange(PARTICLES)
    ring = torch.stack([angle.cos(), angle.sin()], -1)
    ring = ring + 0.2 * torch.randn(ring.shape, generator=generator, dtype=torch.float64)
    x = (basis.T @ ring).flatten(1)
    exploration = Exploration(
        frames=x.numpy(),
        u=np.zeros(400),
        grad_u=np.zeros_like(x.numpy()),
        replica=np.zeros(400, dtype=int),
        temperatures=np.ones(1),
        exchange_acceptance=np.zeros(0),
        evaluations=0,
        restarts=0,
    )
    torch.manual_seed(0)
    chart = CartesianChart.fit(x, basis, SPACE)
    flow = EquivariantFlow(basis, SPACE, layers=2, width=16, network="egnn")
    s, log_det = chart.from_x(x[:50])
    state = start_state(
        flow, Buffer(Configurations(s, log_det, s)), settings.learning_rate, seed=1
    )
    return Model(chart, state, exploration, np.arange(400) < 320, {"target": "test"})


@pytest.fixture
def settings():
    return BufferTraining(
        pretraining=60,
        batch=64,
        buffer=64,
        likelihood_weight=1.0,
        regression_batch=64,
        steps=10,
        learning_rate=5e-3,
        step_shares=(2.0, 1.0, 1.0, 1.0),
        flow_weight=0.01,
        state_weight=0.1,
        volume_weight=0.02,
    )


def likelihood(model: Model) -> float:
    s, _ = model.chart.from_x(torch.from_numpy(model.exploration.frames[~model.training]))
    with torch.no_grad():
        z, log_det = model.state.flow.inverse(s.float(), 1)
    return float(losses.negative_log_likelihood(z, log_det, model.chart.n_linear).mean())


def pretrain_model(model: Model, settings, folder, show) -> None:
    tasks = [model.task("only", None, folder)]
    keeper = Keeper(tasks, folder, model.identity, settings.checkpoint_interval)
    pretrain(tasks, settings, keeper, show)


def metrics(folder):
    return [json.loads(line) for line in (folder / METRICS).open()]


def test_held_out_likelihood_rises_and_the_teacher_follows(settings, tmp_path):
    model, said = fresh(settings), []
    before = likelihood(model)
    pretrain_model(model, settings, tmp_path, lambda fraction, line: said.append(line))
    assert likelihood(model) < before - 0.3
    assert said[0].startswith("pretraining 10/60")
    for ours, theirs in zip(
        model.state.flow.parameters(), model.state.teacher.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert model.state.step == 0
    rows = metrics(tmp_path)
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert rows[0]["loss"] - 0.3 > rows[-1]["loss"] > 0
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_same_seed_gives_the_same_flow(settings, tmp_path):
    one, other = fresh(settings), fresh(settings)
    for model in (one, other):
        pretrain_model(model, settings, tmp_path, lambda *_: None)
    for ours, theirs in zip(
        one.state.flow.parameters(), other.state.flow.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("steps", "done"), [(0, 0), (60, 1)])
def test_nothing_happens_where_none_is_wanted_or_training_has_begun(
    settings, steps, done, tmp_path
):
    settings = settings.model_copy(update={"pretraining": steps})
    model, untouched = fresh(settings), fresh(settings)
    model.state.step = done
    pretrain_model(model, settings, tmp_path, lambda *_: None)
    for ours, theirs in zip(
        model.state.flow.parameters(), untouched.state.flow.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert torch.equal(model.state.generator.get_state(), untouched.state.generator.get_state())


@pytest.mark.parametrize("last", [30, 60])  # 60: all steps are taken, the teacher is not yet
def test_stopped_and_resumed_it_ends_where_it_would_have_ended(settings, tmp_path, last):
    whole, stopped, resumed = (fresh(settings) for _ in range(3))
    (tmp_path / "whole").mkdir()
    pretrain_model(whole, settings, tmp_path / "whole", lambda *_: None)

    def stop(fraction, line):
        if line.startswith(f"pretraining {last}/"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=f"stopped at step {last} of 60 of pretraining"):
        pretrain_model(stopped, settings, tmp_path, stop)
    saved = latest_checkpoint(tmp_path / "checkpoints")
    resumed.state.restore(load_checkpoint(saved, resumed.identity))
    pretrain_model(resumed, settings, tmp_path, lambda *_: None)
    for ours, theirs in zip(
        resumed.state.teacher.parameters(), whole.state.flow.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert resumed.state.pretrained == 60
    rows, expected = metrics(tmp_path), metrics(tmp_path / "whole")
    assert [(row["step"], row["loss"]) for row in rows] == [
        (row["step"], row["loss"]) for row in expected
    ]


def test_auxiliaries_are_drawn_again(settings):
    chart = fresh(settings).chart
    s = chart.sample_base(50, torch.Generator().manual_seed(0))
    again = chart.redraw(s, torch.Generator().manual_seed(5))
    free = (PARTICLES - 1) * SPACE
    assert torch.equal(again[:, :free], s[:, :free])
    assert (again[:, free:] != s[:, free:]).all()
    assert abs(again[:, free:].std() - 1.0) < 0.2
