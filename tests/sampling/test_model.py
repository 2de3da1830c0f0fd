"""What is decided when chart and flow are fitted to an exploration."""

import functools
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from onestep_md.config import load_config
from onestep_md.errors import TargetError
from onestep_md.kinds import load_target
from onestep_md.sampling.model import _training_frames, build_model, exploration_key
from onestep_md.stages import open_pool

SYSTEMS = Path(__file__).parents[2] / "systems"


@pytest.mark.parametrize(
    ("system", "overrides", "digest"),
    [
        (
            "alanine",
            ["exploration.duration=1000"],
            "87fdfb53a544620b6417c839f1bc0f9fd1404a6ea90edd72f3e13385bf16c5e7",
        ),
        ("alanine-quick", [], "a189d62ebc68d704960c75f2ae56a009e991e929a0b394e542b06ee19d3a9e5d"),
        ("gmm9", [], "c2e434da2c0b41129f29fdfd84ddc3f39bb3834f619a3fe23a1a44c77a42ad8e"),
    ],
)
def test_explorations_of_older_runs_keep_their_key(system, overrides, digest):
    target = Mock()
    target.fingerprint.identity = "T"
    config = load_config(SYSTEMS / f"{system}.yaml", overrides)
    assert exploration_key(config, target) == digest


@functools.cache
def model(system: str, *options: str):
    config = load_config(SYSTEMS / f"{system}.yaml", ["exploration.particles=8000", *options])
    target = load_target(config)
    evaluators = open_pool(config, [target], local=True, address=None)
    return build_model(config, target, target.explore(config, evaluators, Mock()))


@pytest.mark.parametrize(
    ("system", "low", "high"),
    # the base holds gmm9, three modes on either axis; not 40 modes in the plane, nor a bent ridge
    [("gmm9", 0.0, 0.05), ("gmm40_fab", 1.0, 1.0), ("python-density", 1.0, 1.0)],
)
def test_the_learning_rate_follows_what_the_base_leaves(system, low, high):
    assert low <= model(system).state.peak_rate / 1e-3 <= high


def test_splines_are_for_modes_that_the_chart_leaves():
    def per_line(*arguments):
        return model(*arguments).state.flow.layers[0].per_line

    assert per_line("gmm9") == 2 and per_line("gmm40_fab") > 2
    assert per_line("gmm9", "flow.bins=4") > 2


def test_bonds_of_fixed_length_cannot_be_made_of_a_gaussian():
    options = ["target.constraints=hbonds"]
    with pytest.raises(TargetError, match="12 bonds of fixed length"):
        load_target(load_config(SYSTEMS / "alanine-gaussian.yaml", options))


def test_no_island_of_an_annealing_is_on_both_sides():
    island = np.repeat(np.arange(5), [300, 100, 350, 150, 100])  # 80 % would cut through one
    training = _training_frames(island, True)
    assert training.sum() == 750 and not set(island[training]) & set(island[~training])
    alone = _training_frames(np.zeros(10), True)
    assert alone.tolist() == [True] * 8 + [False] * 2


def test_walkers_of_dynamics_are_cut_in_time():
    walker = np.tile(np.arange(4), 25)
    assert _training_frames(walker, False).sum() == 80


def test_a_small_mode_that_annealing_finds_is_in_the_base(tmp_path):
    """Double well with 1.9 % in one mode; log Z of the base alone against quadrature."""
    (tmp_path / "user_wells.py").write_text(
        "def log_density(x):\n    return -((x[:, 0] ** 2 - 4.0) ** 2) + x[:, 0]\n"
    )
    file = tmp_path / "wells.yaml"
    file.write_text('target: {kind: python, function: "user_wells:log_density", dim: 1}\n')
    config = load_config(file, ["exploration.particles=10000"], seed=3)
    target = load_target(config)
    evaluators = open_pool(config, [target], local=True, address=None)
    chart = build_model(config, target, target.explore(config, evaluators, Mock())).chart
    s = chart.sample_base(20_000, torch.Generator().manual_seed(1))
    x, log_det = chart.to_x(s)
    w = torch.exp(target.source.density.log_prob(x) + log_det - chart.log_base(s))
    assert abs(w.mean().log().item() - 1.2092) < 4 * w.std() / w.mean() / len(w) ** 0.5 < 0.01
    assert w.sum() ** 2 / w.square().sum() > 0.95 * len(w)
