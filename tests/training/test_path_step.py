"""The path methods learn: from the energy, and from a pretrained sampler."""

import copy
import functools
import math

import pytest
import torch

from onestep_md.config import Config, PathTraining
from onestep_md.coordinates.flat import FlatChart
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.flow.step import StepFlow
from onestep_md.targets.densities import GaussianMixture
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.path_step import path_step
from onestep_md.training.state import start_state

DIM = 2


def shifted() -> GaussianMixture:
    """N((1, 1), 0.6^2 I): the base, N(0, I), must move and shrink."""
    return GaussianMixture("shifted", torch.ones(1, DIM, dtype=torch.float64), 0.6)


@pytest.fixture
def setting():
    """Chart whose base is N(0, I), evaluators, and a fresh state maker."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, DIM, generator=generator, dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0)
    chart = FlatChart.fit(x)
    evaluators = SerialEvaluators(functools.partial(DensityEvaluator, shifted), "torch")

    start = Configurations(x[:10], torch.zeros(10), x[:10])

    def fresh(settings):
        torch.manual_seed(0)
        flow = StepFlow(DIM, 0, layers=2, width=32, orders=1, bins=0, seed=0)
        return start_state(flow, Buffer(start), settings.learning_rate, seed=1)

    return chart, evaluators, fresh


def settings(method: str, **changes) -> PathTraining:
    values = {
        "method": method, "batch": 128, "regression_batch": 64, "learning_rate": 3e-3,
        "state_weight": 0.1,
    }  # fmt: skip
    target = {"kind": "density", "name": "gmm9"}
    return Config.model_validate({"target": target, "train": values | changes}).train


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("osds", {}),
        ("osds", {"volume_loss": "tangent"}),
        ("osds", {"grid": "brownian", "state_weight": 0, "volume_weight": 0}),  # a teacher
        ("scds", {}),
    ],
)
def test_path_weights_become_equal_and_no_gradient_is_asked_for(setting, method, changes):
    chart, evaluators, fresh = setting
    chosen = settings(method, **changes)
    state = fresh(chosen)
    infos = [path_step(state, chosen, chart, evaluators, None) for _ in range(70)]
    before = sum(info.ess for info in infos[:10]) / 10
    after = sum(info.ess for info in infos[-10:]) / 10
    assert before < 0.25 and after > 1.5 * before
    assert state.evaluations == evaluators.evaluations == 70 * 128
    assert all(math.isfinite(info.loss_state) for info in infos)


@pytest.mark.parametrize("grid", ["angle", "brownian"])
def test_distillation_approaches_its_teacher_without_energies(setting, grid):
    chart, evaluators, fresh = setting
    chosen = settings("cdds", grid=grid, teacher="another run")
    teacher = copy.deepcopy(fresh(chosen).flow)
    with torch.no_grad():  # a sampler that shifts and stretches
        generator = torch.Generator().manual_seed(2)
        for parameter in teacher.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    state = fresh(chosen)
    infos = [path_step(state, chosen, chart, evaluators, teacher) for _ in range(80)]
    assert infos[-1].loss_flow < 0.2 * infos[0].loss_flow
    assert evaluators.evaluations == 0 and state.evaluations == 0
    z = chart.sample_base(200, torch.Generator().manual_seed(3)).float()
    far = (teacher(z, 32)[0] - z).square().mean()
    near = (teacher(z, 32)[0] - state.flow(z, 32)[0]).square().mean()
    assert near < 0.3 * far
