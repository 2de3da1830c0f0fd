"""A run that starts from another one: its exploration, chart and weights; what does not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import onestep_md
from onestep_md import pipeline
from onestep_md.analysis.records.folder import read_results
from onestep_md.config import load_configs
from onestep_md.errors import Interrupted, RunFolderError, TargetError
from onestep_md.exploration.explored import Exploration
from onestep_md.progress import Display
from onestep_md.run_folder import load_run_config
from onestep_md.sampling import start as module
from onestep_md.sampling.model import exploration_key
from onestep_md.stages import read_start

SYSTEMS = Path(__file__).parents[1] / "systems"
WELLS = """
import torch

def log_density(x):
    places = torch.tensor([[2.0, 0.0], [-2.0, 1.0]], dtype=x.dtype) + {shift}
    squares = ((x[:, None] - places) ** 2).sum(-1)
    return torch.logsumexp(-0.5 * squares / 0.3**2, -1) + 1.5
"""
LOG_Z = np.log(2.0 * 2.0 * np.pi * 0.3**2) + 1.5


def settings(tmp_path, shift):
    """A run on two wells, with a function of its own."""
    (tmp_path / f"wells_{shift}.py").write_text(WELLS.format(shift=shift / 10.0))
    return {
        "target": {
            "kind": "python",
            "function": f"wells_{shift}:log_density",
            "dim": 2,
            "trust": True,
        },
        "exploration": {"particles": 600, "moves": 2},
        "flow": {"layers": 2, "width": 16, "bins": 0},
        "train": {"steps": 12, "batch": 64, "regression_batch": 32, "buffer": 500},
        "sample": {"n": 1000, "steps": [0, 1]},
    }


def from_run(folder, values):
    """The same run from the flow of another one."""
    start = {"method": "run", "from": str(folder), "particles": 600, "moves": 2}
    return values | {"exploration": start}


def written(place, values):
    """A file of a run, beside the functions."""
    path = place / "run.yaml"
    path.write_text(json.dumps(values))  # which is YAML
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(place):
    onestep_md.train(written(place, settings(place, 0)), place / "first").close()
    return place / "first"


@pytest.fixture(scope="module")
def second(place, first):
    values = from_run(first, settings(place, 8))
    onestep_md.train(written(place, values), place / "second", ["train.steps=2"]).close()
    return place / "second"


def prepared(place, values):
    """Configuration, target and start of a run that has not begun."""
    (config,) = load_configs(written(place, values)).values()
    target = onestep_md.kinds.load_target(config)
    return config, target, read_start(config, target, None)


def test_the_bridge_is_the_exploration_and_the_chart_is_the_old_one(place, first, second):
    config, target, start = prepared(place, from_run(first, settings(place, 8)))
    explored = Exploration.load(second / "exploration.npz", exploration_key(config, target))
    assert explored.frames.shape == (600, 2) and len(np.unique(explored.replica)) > 1
    # the wells are at the new places, and half of the particles in each
    right = explored.frames[:, 0] > 0.8
    np.testing.assert_allclose(explored.frames[right].mean(0), [2.8, 0.8], atol=0.1)
    np.testing.assert_allclose(explored.frames[~right].mean(0), [-1.2, 1.8], atol=0.1)
    assert right.mean() == pytest.approx(0.5, abs=0.2)
    wells = np.where(right[:, None], [2.8, 0.8], [-1.2, 1.8])
    np.testing.assert_allclose(explored.grad_u, (explored.frames - wells) / 0.3**2, atol=0.1)
    old, new = (torch.load(folder / "model.pt")["chart"] for folder in (first, second))
    assert all(torch.equal(torch.as_tensor(old[k]), torch.as_tensor(new[k])) for k in ("mix",))
    assert torch.equal(old["density"], new["density"])


def test_the_flow_starts_from_the_old_weights(place, first):
    values = from_run(first, settings(place, 0))
    config, target, start = prepared(place, values)
    (pool,) = (onestep_md.stages.open_pool(config, [target], True, None),)
    explored = module.explore_from(start, config, target, pool, place, Display())
    model = onestep_md.sampling.model.build_model(config, target, explored, start)
    trained = torch.load(first / "model.pt")["flow"]
    for name, weights in model.state.flow.weights().items():
        assert torch.equal(weights, trained[name].to(weights.dtype))
    # a flow that fits already is trained gently
    assert model.state.peak_rate < config.train.learning_rate
    assert not list(place.glob("pass-*"))


def test_a_run_that_started_from_another_is_a_run_like_any(place, first, second, tmp_path):
    results = read_results(second)
    row = results.headline
    assert abs(row.bar.value - LOG_Z) < 5.0 * row.bar.error + 0.05
    assert results.cost["exploration"].evaluations > 600 * 3
    # it needs the other one no more
    moved = tmp_path / "second"
    shutil.copytree(second, moved)
    with onestep_md.load(moved, trust=True) as sampler:
        assert len(sampler.sample(20).x) == 20
    values = from_run(place / "gone", settings(place, 8))
    (config,) = load_configs(written(place, values), ["train.steps=4"]).values()
    target = onestep_md.kinds.load_target(config)
    assert read_start(config, target, second).chart is not None
    values = from_run(first, settings(place, 8))
    pipeline.run(load_configs(written(place, values), ["train.steps=4"]), moved, True, True, None)
    assert "reusing exploration.npz" in (moved / "log.txt").read_text()


def test_an_interrupted_bridge_goes_on(place, first, tmp_path, monkeypatch):
    values, real = from_run(first, settings(place, 8)), module.bridge
    configs = load_configs(written(place, values), ["train.steps=1"])

    def stop(*arguments):
        def progress(fraction, message):
            if message.startswith("2 temperatures"):
                raise Interrupted(message)

        return real(*arguments[:-2], progress, arguments[-1])

    monkeypatch.setattr(module, "bridge", stop)
    with pytest.raises(Interrupted):
        pipeline.run(configs, tmp_path / "run", False, True, None)
    assert len(list((tmp_path / "run").glob("pass-*"))) == 1
    monkeypatch.undo()
    pipeline.run(configs, tmp_path / "run", True, True, None)
    assert not list((tmp_path / "run").glob("pass-*"))
    (config,) = configs.values()
    key = exploration_key(config, onestep_md.kinds.load_target(config))
    parts, whole = (
        Exploration.load(folder / "exploration.npz", key)
        for folder in (tmp_path / "run", place / "second")
    )
    np.testing.assert_array_equal(parts.frames, whole.frames)


def test_what_does_not_fit_is_told(place, first):
    values = settings(place, 8)
    other = values | {"flow": values["flow"] | {"layers": 3}}
    with pytest.raises(TargetError, match="layers: 2 there, 3 here"):
        prepared(place, from_run(first, other))
    (place / "line.py").write_text("def log_density(x):\n    return -0.5 * (x**2).sum(-1)\n")
    line = values["target"] | {"function": "line:log_density", "dim": 3}
    with pytest.raises(TargetError, match="no density of 2 coordinates"):
        prepared(place, from_run(first, values | {"target": line}))
    with pytest.raises(RunFolderError, match="holds no run"):
        prepared(place, from_run(place / "nothing", values))
    unsure = values | {"target": {"kind": "density", "name": "gmm9"}}
    with pytest.raises(RunFolderError, match="exploration.from, set target.trust: true"):
        prepared(place, from_run(first, unsure))


def test_a_molecule_goes_on_at_another_temperature(tmp_path):
    model = SYSTEMS / "models" / "alanine-cartesian"
    config = load_run_config(model).changed("target", temperature=320.0)
    start = {"method": "run", "from": str(model), "particles": 128, "moves": 1}
    config = config.changed("exploration", **start)
    config = config.changed("train", steps=1, pretraining=0, batch=16, buffer=64)
    config = config.changed("sample", n=50, n_one_step=50, steps=(0, 1))
    pipeline.run({"alanine": config}, tmp_path / "run", False, True, None)
    results = read_results(tmp_path / "run")
    assert results.temperature == 320.0 and results.explored_by == "bridge"
    assert results.regions and results.cost["exploration"].evaluations >= 3 * 128
    # a step from the old weights leaves most of what the flow can
    assert results.headline.ess > 0.2
    assert "the flow of another run" in (tmp_path / "run" / "report.html").read_text()
