"""The GPU benchmark: its numbers, failures of its parts, and its end in time."""

import dataclasses
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from onestep_md.benchmark import gpu_numbers
from onestep_md.benchmark.gpu import Plan, gpu_tests, judge, measure_gpu
from onestep_md.benchmark.gpu_models import FreeEvaluators, build_rough_model
from onestep_md.benchmark.gpu_numbers import KINDS, Kind, compare_kind, difference
from onestep_md.benchmark.gpu_speed import Steps
from onestep_md.benchmark.jobs import Job, Row
from onestep_md.config import load_config
from onestep_md.distributed.learners import Alone
from onestep_md.errors import OneStepError, RunFolderError
from onestep_md.kinds import load_target
from onestep_md.training.train import train_step

SYSTEMS = Path(__file__).parents[2] / "systems"
FLAT = Kind("flat", "gmm9", ("flow.bins=0",))


def test_two_devices_are_refused(elsewhere):
    layer = torch.nn.Linear(3, 2).to(elsewhere)
    x = torch.randn(4, 3)
    assert layer(x.to(elsewhere)).device.type == "meta"
    assert torch.isfinite(layer(x.to(elsewhere)).to("cpu")).all()
    with pytest.raises(RuntimeError, match="two devices"):
        layer(x)


# --- numbers --------------------------------------------------------------------------------


# the others take the better part of a minute each, and have the same parts
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[6], *KINDS[7:]], ids=lambda k: k.name)
def test_flows_compute_elsewhere_what_they_do_here(kind, elsewhere):
    fewer = dataclasses.replace(kind, overrides=(*kind.overrides, "flow.layers=2"))
    row = compare_kind(fewer, SYSTEMS, elsewhere, 6)
    assert row.verdict == "ok", row.text
    assert set(row.values) >= {"samples", "weights", "scores", "gradients"}
    assert row.values["float32"] < 1e-3


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_flows_compute_on_a_gpu_what_they_do_here(kind):
    row = compare_kind(kind, SYSTEMS, torch.device("cuda"), 20)
    assert row.verdict == "ok", row.text


def trained(kind, device):
    """Losses of two steps and of one after a checkpoint, and the parameters in the end."""
    small = ["flow.layers=2", "flow.width=8", "train.batch=16", "train.regression_batch=16"]
    config = load_config(SYSTEMS / f"{kind.system}.yaml", [*small, *kind.overrides])
    model = build_rough_model(config, load_target(config), 200)
    state, infos = model.state, []
    state.to(device)
    for step in range(3):
        if step == 2:
            state.restore(state.dump())
        infos.append(
            train_step(state, config.train, model.chart, FreeEvaluators(), Alone()).loss_flow
        )
    return infos, [parameter.detach().cpu() for parameter in state.flow.parameters()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_steps_of_training_on_a_gpu_are_those_of_the_cpu(kind):
    losses, parameters = trained(kind, "cuda")
    expected, here = trained(kind, "cpu")
    assert losses == pytest.approx(expected, rel=1e-2, abs=1e-4)
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
    assert max(float((a - b).abs().max()) for a, b in zip(parameters, here, strict=True)) < 1e-3


def test_steps_of_training_elsewhere_are_those_of_the_cpu(elsewhere):
    losses, parameters = trained(FLAT, elsewhere)
    expected, here = trained(FLAT, "cpu")
    assert losses == pytest.approx(expected, rel=1e-4)
    for a, b in zip(parameters, here, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_another_network_on_the_device_is_found(monkeypatch):
    """The comparison of the CPU with itself is exact, but not blind."""
    row = compare_kind(FLAT, SYSTEMS, torch.device("cpu"), 10)
    assert row.verdict == "ok" and max(row.values[n] for n in ("weights", "gradients")) == 0.0
    original, calls = gpu_numbers.place, []

    def broken(flow, device):
        copy = original(flow, device)
        calls.append(copy)
        if len(calls) == 2:
            with torch.no_grad():
                next(copy.parameters()).mul_(1.0 + 1e-6)
        return copy

    monkeypatch.setattr(gpu_numbers, "place", broken)
    row = compare_kind(FLAT, SYSTEMS, torch.device("cpu"), 10)
    assert row.verdict == "wrong"
    with pytest.raises(OneStepError, match="differ from those on the CPU: flat"):
        judge([row], "a large GPU", Path("here"))


def test_differences_of_numbers_that_are_none():
    inf, nan = np.inf, np.nan
    assert difference(np.array([inf, 1.0]), np.array([inf, 1.0])) == 0.0
    assert difference(np.array([1e12 + 1.0]), np.array([1e12])) == pytest.approx(1e-12)
    assert difference(np.array([0.5]), np.array([0.25])) == 0.25
    for found, expected in ((nan, 1.0), (1.0, nan), (nan, nan), (inf, 1.0), (1.0, -inf)):
        assert difference(np.array([found]), np.array([expected])) == inf


# --- parts that fail, and time that is up ---------------------------------------------------


WORK = """
import os, time
from onestep_md.benchmark.jobs import Row
def work(how, send, deadline):
    print("a word")
    send(Row("part", "first", "found"))
    if how == "raises":
        raise MemoryError("out of memory")
    if how == "dies":
        os._exit(9)
    if how == "hangs":
        time.sleep(600)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [("ends", None), ("raises", "MemoryError: out of"), ("dies", "with 9"), ("hangs", "cut")],
)
def test_what_a_job_found_stays_whatever_its_end(how, said, tmp_path, monkeypatch):
    (tmp_path / "some_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import some_work

    work = functools.partial(some_work.work, how)
    job = Job("part", "name", work, time.time() + 120.0, tmp_path / "log")
    rows = []
    for row in job.rows():
        rows.append(row)
        if how == "hangs":
            job.deadline = time.time()
    assert rows[0] == Row("part", "first", "found")
    assert [row.verdict for row in rows[1:]] == (["failed"] if said else [])
    assert not said or said in rows[1].text
    assert "a word" in (tmp_path / "log").read_text() or how in ("dies", "hangs")


def test_the_whole_on_a_cpu(tmp_path):
    plan = Plan((FLAT,), 10, (Steps("gmm9", (1,), ("flow.bins=0",)),), (), None, ())
    measure_gpu(30.0, tmp_path / "out", SYSTEMS, True, plan, time.time())
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [(row["part"], row["verdict"]) for row in table["rows"]] == [
        ("numbers", "ok"), ("speed", "ok"),
    ]  # fmt: skip
    assert table["rows"][1]["values"]["cpu"] > 0.0
    text = (tmp_path / "out" / "table.txt").read_text()
    assert "no GPU is seen" in text and "samples/s on cpu" in text
    with pytest.raises(RunFolderError, match="is not empty"):
        measure_gpu(30.0, tmp_path / "out", SYSTEMS, True, plan, time.time())


def test_a_command_without_time_ends_with_a_table(tmp_path):
    command = [sys.executable, "-m", "onestep_md.benchmark", "gpu", "--local"]
    command += ["--minutes", "0.05", "--out", str(tmp_path / "out"), "--systems", str(SYSTEMS)]
    done = subprocess.run(command, cwd=SYSTEMS.parent, capture_output=True, text=True, timeout=120)
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    found = any(row["verdict"] == "ok" for row in rows)
    assert done.returncode == (0 if found else 1), done.stderr
    assert {"numbers", "tests", "explored"} <= {row["part"] for row in rows}


def test_nothing_but_failures_is_an_error(tmp_path):
    with pytest.raises(OneStepError, match="nothing ran"):
        judge([Row("speed", "", "cut", "failed")], "the CPU", tmp_path)
    judge([Row("speed", "", "cut", "failed"), Row("numbers", "", "fine")], "the CPU", tmp_path)


def test_tests_that_fail_are_told(tmp_path):
    assert gpu_tests(tmp_path, 60.0).verdict == "failed"
    (tmp_path / "test_some.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_one():\n    assert False\n"
        "def test_other():\n    assert False\n"
    )
    row = gpu_tests(tmp_path, 60.0)
    assert row.verdict == "failed" and "1 failed" in row.text and "test_one" in row.text
