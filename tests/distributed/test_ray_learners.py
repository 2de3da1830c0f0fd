"""Runs with two learners on Ray end where one learner ends, stopped or killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from onestep_md.errors import PoolError
from onestep_md.training.checkpoint import latest_checkpoint

pytest.importorskip("ray.train", reason="needs ray[train]", exc_type=ImportError)
from onestep_md.benchmark.local_cluster import LocalCluster  # noqa: E402
from onestep_md.distributed.ray_learners import divide  # noqa: E402

ROOT = Path(__file__).parents[2]
STEPS = 80
TINY = [
    "exploration.particles=200",
    "exploration.moves=1",
    "flow.layers=2",
    "flow.width=16",
    f"train.steps={STEPS}",
    "train.batch=64",
    "train.regression_batch=32",
    "train.buffer=500",
    "train.checkpoint_interval=0.3",
    "sample.n=100",
    "sample.steps=[0, 1]",
]
TARGET = """
import time

def log_density(x):
    time.sleep(0.03)  # long enough to be interrupted
    return -0.5 * (x - 1.0).square().sum(-1) - 0.1 * x.pow(4).sum(-1)
"""


def start(folder: Path, *extra: str) -> subprocess.Popen:
    (folder.parent / "slow.py").write_text(TARGET)
    yaml = folder.parent / "slow.yaml"
    yaml.write_text('target: {kind: python, function: "slow:log_density", dim: 2}\n')
    options = [part for option in TINY for part in ("--set", option)]
    command = [sys.executable, "-m", "onestep_md.run", yaml, "--out", folder, *options, *extra]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, **pipes)


def finish(process: subprocess.Popen, code: int) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while True:
        rows = metrics.read_text().splitlines() if metrics.exists() else []
        if rows and json.loads(rows[-1])["step"] >= step:
            return
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def train_workers(ancestor: int) -> list[int]:
    """Process ids of the learners that descend from a process."""
    found = []
    for process in psutil.Process(ancestor).children(recursive=True):
        try:
            if any("RayTrainWorker" in word for word in process.cmdline()):
                found.append(process.pid)
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
    return found


def weights_of(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    state = torch.load(latest_checkpoint(folder / "checkpoints"), weights_only=True)["state"]
    assert state["step"] == STEPS
    return torch.cat([p.flatten() for p in state["flow"].values()]), state["buffer"]["s"]


@pytest.mark.cluster
@pytest.mark.slow
def test_two_learners_end_where_one_ends_though_stopped_and_killed(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(one, "--local"), 0)
    together = ("--set", "cluster.learners=2", "--set", "cluster.evaluators=2")

    process = start(two, *together)
    wait_for_step(process, two, 20)
    process.send_signal(signal.SIGTERM)
    assert "--resume" in finish(process, 75)
    stopped_at = int(latest_checkpoint(two / "checkpoints").stem.removeprefix("step_"))
    assert 20 <= stopped_at < STEPS

    process = start(two, *together, "--resume")
    wait_for_step(process, two, 40)
    workers = train_workers(process.pid)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    finish(process, 0)

    steps = [json.loads(row)["step"] for row in (two / "metrics.jsonl").open()]
    assert steps == list(range(10, STEPS + 1, 10))
    assert not (two / "ray-train").exists()
    for ours, theirs in zip(weights_of(two), weights_of(one), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_node_of_a_learner_is_lost(tmp_path, lost):
    """The other node has room for both learners and their evaluators."""
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(one, "--local"), 0)
    counts = ("learners=2", "learner_threads=1", "evaluators=2")
    together = [part for count in counts for part in ("--set", f"cluster.{count}")]
    with LocalCluster(0, impatient=True) as cluster:
        nodes = [cluster.add_node(cpus=4) for _ in range(2)]
        process = start(two, *together, "--address", cluster.address)
        wait_for_step(process, two, 40)
        cluster.remove_node(nodes[lost])
        finish(process, 0)
    for ours, theirs in zip(weights_of(two), weights_of(one), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_learners_are_placed_before_evaluators():
    assert divide([16], 2, None, None) == (4, [4, 4])
    assert divide([4, 4, 4], 2, None, None) == (2, [4, 4])
    assert divide([1, 1, 1, 1], 2, None, None) == (1, [1, 1])
    assert divide([8], 2, 3, 5) == (3, [3, 2])
    with pytest.raises(PoolError, match="no room for 3 learners"):
        divide([2, 2], 3, 2, None)
    with pytest.raises(PoolError, match="leave 1 of Ray's 3 CPUs"):
        divide([3], 2, None, None)
