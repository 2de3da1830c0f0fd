"""The ablation of losses: which variants there are, what their tables hold, what is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from onestep_md.benchmark import losses
from onestep_md.benchmark.learner import measure_learner
from onestep_md.benchmark.losses import ALL, VARIANTS, measure_gap, measure_losses
from onestep_md.config import load_config
from onestep_md.coordinates.flat import FlatChart
from onestep_md.errors import ConfigError
from onestep_md.flow.step import StepFlow
from onestep_md.sampling.draw import TargetSamples
from onestep_md.sampling.sampler import Sampler

SYSTEMS = Path(__file__).parents[2] / "systems"
BRIEF = (
    "train.steps=3",
    "train.batch=32",
    "train.regression_batch=16",
    "flow.layers=2",
    "flow.width=8",
    "exploration.particles=512",
)


def test_no_two_variants_train_alike():
    config = load_config(SYSTEMS / "gmm9.yaml")
    assert config.changed("train", **ALL) == config  # the defaults of densities
    trained = [str(config.changed("train", **(ALL | own)).train) for own in VARIANTS.values()]
    assert len(set(trained)) == len(VARIANTS)


def test_trainings_of_a_seed_share_an_exploration_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "STEPS", (1, 2))
    asked = SYSTEMS / "gmm9.yaml", tmp_path, ["all", "without energy"], 2, 500, BRIEF
    lines = measure_losses(*asked)
    assert "\n".join(lines) + "\n" == (tmp_path / "gmm9.md").read_text()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith(("| all", "| without"))]
    assert len(rows) == 3 * 2  # tables of ESS, EUBO and the gap
    for row in rows:
        assert len(row) == 4  # the name, two K, the seconds
        assert all(len(cell.split(",")) == 2 for cell in row[1:])  # seeds
    ess, gap = (np.array([row[1].split(",") for row in rows[i : i + 2]], float) for i in (0, 4))
    assert ((ess > 0) & (ess <= 100) & (gap >= 0)).all()
    first, second = tmp_path / "gmm9-1", tmp_path / "gmm9-2"
    assert first.joinpath("exploration.npz").exists()
    assert not (first / "all" / "exploration.npz").exists()
    models = [
        torch.load(folder / "model.pt", weights_only=False)["flow"]
        for folder in (first / "all", first / "without-energy", second / "all")
    ]
    name = next(iter(models[0]))
    assert not any(torch.equal(models[0][name], other[name]) for other in models[1:])

    kept = first / "all" / "losses.json"
    changed = json.loads(kept.read_text())
    changed[0]["ess"] = 0.5
    kept.write_text(json.dumps(changed))
    assert any(line.startswith("| all | 50.0, ") for line in measure_losses(*asked))


def test_methods_without_a_buffer_are_refused_before_anything_is_explored(tmp_path):
    asked = SYSTEMS / "gmm9.yaml", tmp_path, ["all"], 1, 500, ("train.method=osds",)
    with pytest.raises(ConfigError, match="osds has no buffer"):
        measure_losses(*asked)
    assert not any(tmp_path.iterdir())
    file = tmp_path / "paths.yaml"
    file.write_text("target: {kind: density, name: gmm9}\ntrain: {method: osds}\n")
    with pytest.raises(ConfigError, match="osds has no buffer"):
        measure_learner([file])


@pytest.mark.parametrize("scale", [0.0, 0.2])
def test_maps_of_which_one_step_is_two_half_steps_have_no_gap(scale):
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    torch.manual_seed(0)
    flow = StepFlow(3, 0, layers=2, width=8, orders=1, bins=0, seed=0).double()
    for parameter in flow.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    nothing = TargetSamples(np.zeros((0, 3)), np.zeros(0), np.zeros(0, int))
    gap = measure_gap(Sampler(FlatChart.fit(x), flow, nothing), 1)
    assert gap < 1e-12 if scale == 0.0 else 0.01 < gap < 10.0
