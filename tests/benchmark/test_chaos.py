"""What the chaos benchmark calls equal, and which processes it kills."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

pytest.importorskip("ray")
from onestep_md.benchmark.chaos import Trial, evaluator_processes, same_training
from onestep_md.training.checkpoint import save_checkpoint


def run_folder(path, weight=1.0, finished=True):
    state = {name: {"w": torch.tensor([weight])} for name in ("flow", "teacher")}
    save_checkpoint(path / "checkpoints", 1, state | {"buffer": {"s": torch.ones(3)}}, "same")
    if finished:
        (path / "report.html").touch()
    return path


def test_equal_is_finished_and_bit_for_bit(tmp_path):
    reference = run_folder(tmp_path / "reference")
    assert same_training(run_folder(tmp_path / "a"), reference)
    assert not same_training(run_folder(tmp_path / "b", weight=1.0 + 2e-7), reference)
    assert not same_training(run_folder(tmp_path / "c", finished=False), reference)


def test_only_our_own_evaluators_are_found():
    command = ["bash", "-c", "exec -a ray::EvaluatorActor.evaluate sleep 60"]
    code = f"import subprocess; subprocess.Popen({command!r}, start_new_session=True).wait()"
    parent = subprocess.Popen([sys.executable, "-c", code])  # found as a grandchild
    deadline = time.monotonic() + 20.0
    while not evaluator_processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    (found,) = evaluator_processes()
    os.kill(found, signal.SIGKILL)
    parent.wait(timeout=20.0)
    assert evaluator_processes() == []


def test_rows_say_what_failed():
    row = Trial("driver killed", 20, 19, 20, 30.0).row(undisturbed=20.0)
    assert row == "| driver killed | 20/20 | 19/20 | 30 s | 1.50 |  |"
