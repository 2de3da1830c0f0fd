"""Trainings of the GPU benchmark: their end in time, and the frames that they start from."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from onestep_md.benchmark import gpu_training
from onestep_md.benchmark.gpu_training import Training, explore_system, train_system
from onestep_md.config import load_config
from onestep_md.errors import RunFolderError
from onestep_md.exploration.explored import Exploration
from onestep_md.kinds import load_target
from onestep_md.run_folder import load_run_config
from onestep_md.sampling.model import exploration_key
from onestep_md.sampling.sampler import load_sampler
from onestep_md.training.checkpoint import latest_checkpoint

SYSTEMS = Path(__file__).parents[2] / "systems"
BRIEF = (
    "flow.layers=2",
    "flow.width=8",
    "sample.n=20",
    "sample.auxiliaries=1",
    "exploration.moves=1",
    "exploration.particles=400",
)


@pytest.mark.parametrize(
    "training",
    [
        Training("gmm9", 1.0, (*BRIEF, "train.batch=32", "train.regression_batch=32")),
        Training("dw4", 1.0, (*BRIEF, "train.batch=32", "train.regression_batch=32")),
    ],
    ids=lambda training: training.system,
)
def test_a_training_ends_in_time_with_a_model(training, tmp_path):
    rows = []
    explore = (training, SYSTEMS, tmp_path, "cpu", 1, True, rows.append)
    explore_system(*explore, time.time() + 4.0)
    started = time.time()
    train_system(training, tmp_path, True, rows.append, started + 4.0)
    assert time.time() - started < 60.0
    assert [row.part for row in rows] == ["explored", "training", "training", "training"]
    assert not any(row.verdict != "ok" for row in rows)
    folder = tmp_path / training.system
    config = load_run_config(folder)
    sampler = load_sampler(config, load_target(config), folder)
    z = sampler.chart.sample_base(5, torch.Generator().manual_seed(0))
    assert not torch.equal(sampler.flow(z, 1)[0], z)
    # the configuration tells what was done, so that `run --resume` goes on to the results
    saved = latest_checkpoint(folder / "checkpoints")
    state = torch.load(saved, weights_only=True)["state"]
    assert (state["pretrained"], max(1, state["step"])) == (
        config.train.pretraining, config.train.steps,
    )  # fmt: skip
    assert (folder / "evidence_1.json").exists()


def test_particles_are_counted_by_the_time_of_energies_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(gpu_training.time, "perf_counter", lambda: clock[0])

    def wait(seconds, result):
        clock[0] += seconds
        return result

    target = SimpleNamespace(
        rough_samples=lambda n, seed: wait(100.0, np.zeros((n, 2)))  # builds a chart
    )
    pool = SimpleNamespace(evaluate=lambda x: wait(0.001 * len(x), None))
    config = load_config(SYSTEMS / "gmm9.yaml", ["exploration.moves=4"])
    # a density costs 150 energies for a particle and a move
    assert gpu_training._count_affordable(config, target, pool, 0.001 * 150 * 4 * 300) == 300
    assert gpu_training._count_affordable(config, target, pool, 0.0) == 200


def test_frames_are_taken_from_a_finished_model(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_training, "_AT_ONCE", 50)
    monkeypatch.setattr(gpu_training, "_DRAWN", 100)
    monkeypatch.setattr(gpu_training, "_FEWEST", 20)
    brief = ("exploration.method=annealing",)
    training = Training("alanine-gaussian", 1.0, brief, frames_of="models/alanine-cartesian")
    rows = []
    explore_system(training, SYSTEMS, tmp_path, "cpu", 1, True, rows.append, time.time() + 60.0)
    config = load_run_config(tmp_path / "alanine-gaussian")
    key = exploration_key(config, load_target(config))
    found = Exploration.load(tmp_path / "alanine-gaussian" / "exploration.npz", key)
    assert 20 <= len(found.u) <= 100 and found.frames.shape[1:] == (22, 3)
    folder = SYSTEMS / training.frames_of
    theirs = load_run_config(folder)
    held_out = load_sampler(theirs, load_target(theirs), folder).held_out
    # energies of about their mean, some 5 kT wide
    assert abs(found.u.mean() - held_out.u.mean()) < 5.0
    wrong = Training("trialanine", 1.0, frames_of="models/alanine-cartesian")
    with pytest.raises(RunFolderError, match="its frames are wanted for"):
        explore_system(wrong, SYSTEMS, tmp_path, "cpu", 1, True, rows.append, time.time() + 60.0)
