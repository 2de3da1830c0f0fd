"""A budget in minutes: what is chosen by it, what is kept, and what is refused."""

import json
import time
from pathlib import Path

import pytest
from commands import TINY, assert_same_state, run_command

from onestep_md import budget
from onestep_md.budget import Budget
from onestep_md.config import load_config
from onestep_md.errors import ConfigError
from onestep_md.kinds import load_target
from onestep_md.stages import open_pool

SYSTEMS = Path(__file__).parents[1] / "systems"
DENSITY = SYSTEMS / "gmm9.yaml"
TIMED = (option for option in TINY if not option.startswith("train.steps"))
SETTINGS = [part for option in TIMED for part in ("--set", option)]


def take(monkeypatch, seconds: float) -> None:
    """Let everything that is timed take so long."""
    monkeypatch.setattr(budget, "_seconds", lambda action, most=0: seconds)


def test_training_takes_what_is_left_and_is_the_run_of_its_own_configuration(
    monkeypatch, tmp_path
):
    folder, again = tmp_path / "run", tmp_path / "again"
    take(monkeypatch, 1.0)
    began = time.monotonic()
    text = run_command("run", DENSITY, "--out", folder, "--local", "--minutes", 3, *SETTINGS)
    spent = time.monotonic() - began
    stored = json.loads((folder / "budget.json").read_text())
    steps = stored["chosen"]["train"]["steps"]
    # 30 s are for the report, three for drawing 400 samples at half the price of steps with 64
    left = 180 - 30 - 3
    assert (left - spent) / budget._SLOWER - 2 < steps <= left / budget._SLOWER
    assert "budget: 3 minutes; training has what the exploration leaves" in text
    assert f"budget: 3 minutes, so train.steps: {steps}" in text
    assert f"training: {steps} steps" in text
    assert load_config(folder / "config.yaml").train.steps == steps

    run_command("run", folder / "config.yaml", "--out", again, "--local")
    assert_same_state(folder, again)

    command = ("run", DENSITY, "--out", folder, "--local", "--resume", *SETTINGS)
    for option in ((), ("--minutes", 3)):  # as it stands in the script of a queue
        resumed = run_command(*command, *option)
        assert "budget: 3 minutes" in resumed and "training:" not in resumed  # nothing is left
    assert "was begun with --minutes 3" in run_command(*command, "--minutes", 4, expect=2)
    (folder / "budget.json").unlink()
    assert "was begun with no --minutes" in run_command(*command, "--minutes", 4, expect=2)


def test_a_quarter_is_for_dynamics(monkeypatch):
    config = load_config(SYSTEMS / "alanine-quick.yaml", ["exploration.method=dynamics"])
    target = load_target(config)
    # rounds of 0.2 ps: 1 ps a second, after a slow start
    slow = {10: 2.0}
    monkeypatch.setattr(
        budget, "_seconds", lambda action, most: 0.2 * action.args[0] * slow.get(action.args[0], 1)
    )
    pool = open_pool(config, [target], local=True, address=None)
    chosen = Budget(10.0, time.monotonic()).plan_exploration(config, target, pool)
    assert 140 < chosen.apply(config).dynamics.duration <= 150
    with pytest.raises(ConfigError, match=r"7\d ps .* the least is 120 ps. Give --minutes [89]"):
        Budget(5.0, time.monotonic()).plan_exploration(config, target, pool)
    annealed = load_config(SYSTEMS / "alanine-quick.yaml")
    assert not Budget(5.0, 0.0).plan_exploration(annealed, target, pool).chosen


@pytest.mark.parametrize("minutes", [0, -3, "nan", "inf"])
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_what_is_no_number_of_minutes_is_refused(tmp_path, minutes, check):
    text = run_command("run", DENSITY, "--out", tmp_path / "run", "--local", *check, "--minutes",
                       minutes, expect=2)  # fmt: skip
    assert "give a number of minutes" in text


@pytest.mark.parametrize(
    ("file", "option", "reason"),
    [
        ("gmm9.yaml", "train.method=osds", "a run with train.method: osds"),
        ("gmm9.yaml", "cluster.learners=2", "a run with cluster.learners: 2"),
        ("residues.yaml", "seed=1", "a run with several targets"),
    ],
)
def test_time_that_cannot_be_divided_is_refused(tmp_path, file, option, reason):
    folder = tmp_path / "run"
    text = run_command("run", SYSTEMS / file, "--out", folder, "--minutes", 5, "--local", "--set",
                       option, expect=2)  # fmt: skip
    assert reason in text
    assert not folder.exists()
