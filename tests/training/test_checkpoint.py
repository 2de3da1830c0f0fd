"""Checkpoints: complete or absent, and only for the run they belong to."""

import errno

import pytest
import torch

from onestep_md.errors import CheckpointError
from onestep_md.training import checkpoint
from onestep_md.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

STATE = {"flow": {"w": torch.arange(3.0)}, "step": 7}


def test_round_trip_and_only_the_newest_two_stay(tmp_path):
    for step in (1, 2, 30):
        save_checkpoint(tmp_path, step, {**STATE, "step": step}, "me")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step_00000002.pt", "step_00000030.pt"]
    state = load_checkpoint(latest_checkpoint(tmp_path), "me")
    assert state["step"] == 30 and torch.equal(state["flow"]["w"], STATE["flow"]["w"])


def test_another_target_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, 1, STATE, "alanine")
    with pytest.raises(CheckpointError, match="another target or architecture"):
        load_checkpoint(path, "thymidine")


def test_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, STATE, "me")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(CheckpointError, match="step_00000001.pt, is intact") as caught:
        save_checkpoint(tmp_path, 2, STATE, "me")
    assert caught.value.exit_code == 5
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001.pt"]


def test_damaged_file_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, STATE, "me")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        load_checkpoint(path, "me")
