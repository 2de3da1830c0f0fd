"""The command line from YAML to report, in this process and on Ray; interruption, resume."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import assert_same_state

import onestep_md
from onestep_md.analysis.records.folder import read_results

ROOT = Path(__file__).parents[1]
QUICK = ROOT / "systems" / "alanine-quick.yaml"
TINY = [
    "exploration.method=dynamics",
    "exploration.duration=12",
    "exploration.equilibration=2",
    "train.steps=24",
    "train.batch=64",
    "train.regression_batch=32",
    "train.buffer=500",
    "sample.n=400",
    "sample.n_one_step=400",
    "sample.steps=[0, 1, 2]",
]


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"onestep_md.{module}", *map(str, arguments)]


def settings(*extra: str) -> list[str]:
    return [part for option in (*TINY, *extra) for part in ("--set", option)]


FEW = ("sample.n_one_step=100", "sample.steps=[1]")  # where only the trained state is looked at


def run(*arguments: object, expect: int = 0) -> str:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "quick"
    run("run", QUICK, "--out", folder, "--local", *settings())
    return folder


def test_run_folder_is_complete_and_consistent(finished):
    ensemble = onestep_md.load_run(finished)
    assert ensemble.trajectory.n_frames == 400
    assert abs(ensemble.weights.sum() - 1) < 1e-12
    w = np.exp(ensemble.log_w - ensemble.log_w.max())
    np.testing.assert_allclose(ensemble.weights, w / w.sum(), rtol=1e-9)
    finite = np.isfinite(ensemble.u)
    np.testing.assert_allclose(
        ensemble.log_w[finite], (-ensemble.u - ensemble.log_q)[finite], rtol=0, atol=1e-8
    )
    for name in ("report.html", "resampled.dcd", "results.txt", "config.yaml", "log.txt"):
        assert (finished / name).stat().st_size > 0, name
    results = read_results(finished)
    assert [row.steps for row in results.evidence] == [0, 1, 2]
    assert list(results.distances) == ["raw", "reweighted", results.explored_by]
    assert 0.0 < results.distances["reweighted"].torsion_w2 < 3.0
    assert (finished / "figures" / "distances.png").stat().st_size > 0
    # 64 samples in every step, and moves of 32 chains in those of the one-step map
    moved = results.cost["training"].evaluations - 24 * 64
    assert moved % 32 == 0 and 0 < moved < 24 * 32
    assert results.cost["sampling"].evaluations == 3 * 400
    for row in results.evidence:
        assert row.negative_determinants == 0
        assert row.round_trip < 1e-9


def test_stored_frames_have_the_stored_energies(finished):
    """Recompute u from the DCD: positions, order, units and kT all have to be right."""
    from onestep_md.config import load_config
    from onestep_md.targets.evaluator import PotentialEvaluator
    from onestep_md.targets.molecule import load_molecule

    config = load_config(QUICK)
    evaluator = PotentialEvaluator(load_molecule(config.target, config.folder), "Reference")
    ensemble = onestep_md.load_run(finished)
    heavy = np.argsort(ensemble.weights)[-50:]
    u, _ = evaluator.evaluate(ensemble.trajectory.xyz[heavy].astype(float))
    np.testing.assert_allclose(u, ensemble.u[heavy], rtol=0, atol=0.01)


def test_more_samples_and_report_from_a_finished_run(finished, tmp_path):
    text = run("sample", finished, "--n", 300, "--steps", 2, "--local", "--out", tmp_path / "more")
    assert "300 samples" in text
    assert len(np.load(tmp_path / "more" / "weights.npy")) == 300
    assert "report.html" in run("report", finished)


def test_occupied_folder_is_refused(finished):
    text = run("run", QUICK, "--out", finished, "--local", *settings(), expect=6)
    assert "--resume" in text


def test_ray_gives_the_same_run(finished, tmp_path):
    folder = tmp_path / "ray"
    run("run", QUICK, "--out", folder, *settings("cluster.evaluators=2", *FEW))
    assert_same_state(finished, folder)


def test_interrupted_run_resumes_to_the_same_state(finished, tmp_path):
    """SIGTERM in the middle of training: exit 75, and --resume ends where the other run ended."""
    folder = tmp_path / "stopped"
    arguments = ("run", QUICK, "--out", folder, "--local", *settings(*FEW))
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 200
    while not (folder / "metrics.jsonl").exists():  # ten steps done
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 75, output
    assert "--resume" in output
    run(*arguments, "--resume")
    assert_same_state(finished, folder)
