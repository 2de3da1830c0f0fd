"""Checkpoints: complete or absent, and only for the run they belong to."""

import errno

import pytest
import torch

from onestep_md.errors import CheckpointError
from onestep_md.training import checkpoint
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from onestep_md.training.identity import difference, read_identity

ME = {"target": "me"}
STATE = {"flow": {"w": torch.arange(3.0)}, "step": 7}


def test_round_trip_and_only_the_newest_two_stay(tmp_path):
    for step in (1, 2, 30):
        save_checkpoint(tmp_path, step, {**STATE, "step": step}, ME)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step_00000002.pt", "step_00000030.pt"]
    state = load_checkpoint(latest_checkpoint(tmp_path), ME)
    assert state["step"] == 30 and torch.equal(state["flow"]["w"], STATE["flow"]["w"])


def test_another_target_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, 1, STATE, {"target": "alanine", "width": 8})
    with pytest.raises(
        CheckpointError,
        match="another target or architecture.\n  target: alanine there, thymidine here",
    ):
        load_checkpoint(path, {"target": "thymidine", "width": 8})


def test_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, STATE, ME)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(CheckpointError, match="step_00000001.pt, is intact") as caught:
        save_checkpoint(tmp_path, 2, STATE, ME)
    assert caught.value.exit_code == 5
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001.pt"]


def test_damaged_file_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, STATE, ME)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        load_checkpoint(path, ME)


def test_the_text_of_older_checkpoints_is_read():
    text = "system 0a1b at 300.0 K, 55 + 5 coordinates, flow {'layers': 8, 'bins': None}"
    facts = {"target": "system 0a1b at 300.0 K", "n_linear": 55, "n_circular": 5, "layers": 8}
    assert read_identity(text) == facts
    assert read_identity(f"{text}; {text}") == {"molecules": [facts, facts]}
    assert difference(read_identity(text), facts) == ""
    assert difference(facts, facts | {"layers": 4}) == "layers: 8 there, 4 here"
    assert difference(facts, facts | {"bins": 32}) == "bins: not set there, 32 here"


def test_a_checkpoint_of_the_format_before_is_continued(tmp_path):
    text = "alanine, 1 + 0 coordinates, flow {'width': 8}"
    content = {"format": 3, "identity": text, "step": 1, "state": STATE}
    torch.save(content, tmp_path / "old.pt")
    facts = {"target": "alanine", "n_linear": 1, "n_circular": 0, "width": 8}
    assert load_checkpoint(tmp_path / "old.pt", facts)["step"] == 7
    torch.save(content | {"format": 2}, tmp_path / "older.pt")
    with pytest.raises(CheckpointError, match="format 2"):
        load_checkpoint(tmp_path / "older.pt", facts)
