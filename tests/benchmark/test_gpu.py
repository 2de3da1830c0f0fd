"""The GPU benchmark: what it finds, what it does about failures, and that it ends in time.

There may be no GPU here. `elsewhere` is a device that is none: its tensors say that they are on
the meta device, compute on the CPU, and refuse tensors of the CPU as those of a GPU do.
"""

import dataclasses
import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from onestep_md.benchmark import gpu_numbers, gpu_training
from onestep_md.benchmark.gpu import Plan, gpu_tests, judge, measure_gpu
from onestep_md.benchmark.gpu_models import FreeEvaluators, build_rough_model
from onestep_md.benchmark.gpu_numbers import KINDS, Kind, compare_kind, difference
from onestep_md.benchmark.gpu_speed import Steps
from onestep_md.benchmark.gpu_training import Training, explore_system, train_system
from onestep_md.benchmark.jobs import Job, Row
from onestep_md.config import load_config
from onestep_md.distributed.learners import Alone
from onestep_md.errors import OneStepError, RunFolderError
from onestep_md.exploration.explored import Exploration
from onestep_md.kinds import load_target
from onestep_md.run_folder import load_run_config
from onestep_md.sampling.model import exploration_key
from onestep_md.sampling.sampler import load_sampler
from onestep_md.training.checkpoint import latest_checkpoint
from onestep_md.training.train import train_step

SYSTEMS = Path(__file__).parents[2] / "systems"
FLAT = Kind("flat", "gmm9", ("flow.bins=0",))
LEFT_ALONE = ("aten::_to_copy", "aten::copy_")  # what brings tensors from one device to another


# --- a device that is none ------------------------------------------------------------------


class Elsewhere(torch.Tensor):
    @staticmethod
    def __new__(cls, data):
        made = torch.Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), dtype=data.dtype, device="meta"
        )
        made.held = data
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    name, wanted = func._schema.name, kwargs.get("device")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    if not there and wanted is None:
        with _disable_current_modes():
            return func(*args, **kwargs)
    here = any(tensor.ndim and not isinstance(tensor, Elsewhere) for tensor in tensors)
    if there and here and name not in LEFT_ALONE and name != "aten::index":
        raise RuntimeError(f"{name}: tensors on two devices")
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args_held, kwargs_held = tree_map(
        lambda leaf: leaf.held if isinstance(leaf, Elsewhere) else leaf, (args, kwargs)
    )
    with _disable_current_modes():
        out = func(*args_held, **kwargs_held)
    stays = there if wanted is None else torch.device(wanted).type == "meta"
    if not stays:
        return out
    if name.endswith("_"):
        return args[0]
    return tree_map(lambda leaf: Elsewhere(leaf) if type(leaf) is torch.Tensor else leaf, out)


class Computed(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class Moved(TorchFunctionMode):
    """Tensors made of numbers there are made here and moved."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None) if func in (torch.as_tensor, torch.tensor) else None
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


@pytest.fixture
def elsewhere():
    # parameters stay the same objects, as on their way to a GPU, for the optimizer's sake
    torch.__future__.set_swap_module_params_on_conversion(True)
    with Moved(), Computed():
        yield torch.device("meta")
    torch.__future__.set_swap_module_params_on_conversion(False)


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


# --- training -------------------------------------------------------------------------------


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
