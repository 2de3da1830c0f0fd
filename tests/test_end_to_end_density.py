"""Runs on densities from YAML to report: every method, a user's own function, bad input.

In this process, which has imported what takes most of the time of so small a run;
`test_end_to_end` starts the command itself.
"""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, run_command

from onestep_md.analysis.records.folder import read_results
from onestep_md.command_line import main

SYSTEMS = Path(__file__).parents[1] / "systems"


def settings(*extra: str) -> list[str]:
    return [part for option in (*TINY, *extra) for part in ("--set", option)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "gmm9"
    run_command("run", SYSTEMS / "gmm9.yaml", "--out", folder, "--local", *settings())
    return folder


def test_run_folder_is_complete_and_consistent(finished):
    with np.load(finished / "samples.npz") as arrays:
        x, u, log_q, log_w = (arrays[name] for name in ("x", "u", "log_q", "log_w"))
    assert x.shape == (400, 2)
    np.testing.assert_allclose(log_w, -u - log_q, rtol=0, atol=1e-9)
    assert abs(np.load(finished / "weights.npy").sum() - 1.0) < 1e-12
    results = read_results(finished)
    assert results.known_log_z.value == 0.0 and results.modes == 9
    for row in results.evidence:
        assert row.elbo.value < 3 * row.elbo.error  # log Z is 0
        assert row.eubo.value > -3 * row.eubo.error
        assert row.negative_determinants == 0 and row.round_trip < 1e-9
    for name in ("report.html", "results.txt", "config.yaml", "log.txt"):
        assert (finished / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("system", "option", "code", "reason"),
    [
        ("funnel.yaml", "seed=1", 3, "was made with another target"),
        ("gmm9.yaml", "exploration.moves=3", 3, "other exploration settings"),
        ("gmm9.yaml", "flow.width=32", 5, "another target or architecture"),
    ],
)
def test_resuming_something_else_is_refused_and_changes_nothing(
    finished, system, option, code, reason
):
    def contents():
        files = (path for path in finished.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files if path.name != "log.txt"}

    before = contents()
    arguments = ["--out", finished, "--local", "--resume", *settings(option)]
    assert reason in run_command("run", SYSTEMS / system, *arguments, expect=code)
    assert contents() == before


def test_particles_have_their_own_numbers(tmp_path):
    folder = tmp_path / "dw4"
    small = settings("flow.layers=2", "train.pretraining=20")
    run_command("run", SYSTEMS / "dw4.yaml", "--out", folder, "--local", *small)
    results = read_results(folder)
    for row in results.evidence:
        assert row.negative_determinants == 0 and row.round_trip < 1e-9
        assert row.log_det_error < 1e-9
        assert row.auxiliaries == (8 if row.steps else 1)
        assert np.isnan(row.ess_joint.value) == (row.steps == 0)
    for row in results.evidence:  # these maps are hardly trained
        if np.isnan(row.elbo.value) or np.isnan(row.eubo.value):
            assert any("no estimate" in text for text in row.warnings())
        else:
            assert row.elbo.value < row.eubo.value
    # the virial is made of the gradients that came with the energies of the samples
    drawn = sum(row.n for row in results.evidence)
    assert results.cost["sampling"].evaluations == drawn
    assert "draws of the auxiliary coordinates" in (folder / "results.txt").read_text()
    rows = results.particles
    assert list(rows) == ["raw", "reweighted", "annealing"]
    assert 0 < rows["annealing"].w2 < rows["raw"].w2
    assert rows["annealing"].energy_w2 < rows["raw"].energy_w2
    assert abs(rows["annealing"].mean_energy + 22.5) < 2.0
    assert "aligned W2" in (folder / "results.txt").read_text()
    html = (folder / "report.html").read_text()
    assert "A weight is made of 8 draws of the auxiliary coordinates" in html
    assert "Particles" in html and (folder / "figures" / "particles.png").stat().st_size > 0
    run_command("sample", folder, "--n", 100, "--steps", 2, "--out", tmp_path / "more", "--local")
    with np.load(tmp_path / "more" / "samples.npz") as arrays:
        assert arrays["x"].shape == (100, 6)


def test_sample_draws_more(finished, tmp_path):
    said = run_command(
        "sample", finished, "--n", 300, "--steps", 2, "--out", tmp_path / "more", "--local"
    )
    assert "300 samples" in said
    with np.load(tmp_path / "more" / "samples.npz") as arrays:
        assert arrays["x"].shape == (300, 2)


def test_sample_repeats_itself_and_not_the_run(finished, tmp_path):
    def drawn(name: str, seed: int) -> np.ndarray:
        options = ("--n", 400, "--seed", seed, "--out", tmp_path / name, "--local")
        run_command("sample", finished, *options)
        with np.load(tmp_path / name / "samples.npz") as arrays:
            return arrays["x"]

    with np.load(finished / "samples.npz") as arrays:
        own = arrays["x"]
    same = drawn("a", 1)  # the seed of the run
    assert not np.isin(same[:, 0], own[:, 0]).any()
    np.testing.assert_array_equal(same, drawn("b", 1))
    assert not np.isin(same[:, 0], drawn("c", 2)[:, 0]).any()


@pytest.mark.parametrize("method", ["osds", "scds"])
def test_methods_that_follow_paths(method, tmp_path):
    folder = tmp_path / method
    chosen = settings(f"train.method={method}", "train.steps=10")
    run_command("run", SYSTEMS / "gmm9.yaml", "--out", folder, "--local", *chosen)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    results = read_results(folder)
    assert results.cost["training"].evaluations == 10 * 64
    assert all(np.isfinite(row["loss_state"]) for row in rows)


def test_a_finished_run_can_be_the_teacher(finished, tmp_path):
    chosen = settings("train.method=cdds", f"train.teacher={finished}")
    run_command("run", SYSTEMS / "gmm9.yaml", "--out", tmp_path / "cdds", "--local", *chosen)
    results = read_results(tmp_path / "cdds")
    assert results.cost["training"].evaluations == 0  # distillation needs no energies


def test_a_teacher_of_another_target_is_refused(finished, tmp_path):
    chosen = settings("train.method=cdds", f"train.teacher={finished}")
    said = run_command(
        "run", SYSTEMS / "mw54.yaml", "--out", tmp_path / "no", "--local", *chosen, expect=3
    )
    assert "Distil a run of the same target" in said


def test_a_multi_step_teacher_is_distilled_at_its_own_times(tmp_path):
    """A sampler like PIS, which learns only small steps, into one step."""
    small = ("train.grid=brownian", "train.state_weight=0", "train.volume_weight=0")
    teacher = settings("train.method=osds", *small)
    run_command("run", SYSTEMS / "gmm9.yaml", "--out", tmp_path / "pis", "--local", *teacher)
    student = settings("train.method=cdds", f"train.teacher={tmp_path / 'pis'}")
    start = ("run", SYSTEMS / "gmm9.yaml", "--out", tmp_path / "cdds", "--local", *student)
    assert "at the times of train.grid: brownian" in run_command(*start, expect=3)
    run_command(*start, "--set", "train.grid=brownian", "--resume")
    results = read_results(tmp_path / "cdds")
    assert results.cost["training"].evaluations == 0


def test_a_users_function_runs_and_its_run_folder_is_complete(tmp_path):
    for name in ("banana.py", "python-density.yaml"):
        (tmp_path / name).write_text((SYSTEMS / name).read_text())
    folder = tmp_path / "run"
    run_command("run", tmp_path / "python-density.yaml", "--out", folder, "--local", *settings())
    (tmp_path / "banana.py").unlink()  # the run folder has its own copy
    more = ("sample", folder, "--n", 200, "--out", tmp_path / "more", "--local")
    assert "to use it is to run its banana.py" in run_command(*more, expect=6)
    assert "200 samples" in run_command(*more, "--trust")


def test_check_prints_the_density_and_the_plan():
    said = run_command("run", SYSTEMS / "funnel.yaml", "--check", "--local")
    assert "funnel, 10 dimensions" in said and "energy of the origin" in said


def test_a_density_that_has_no_integral_is_refused(tmp_path):
    (tmp_path / "flat.py").write_text("def log_density(x):\n    return 0.0 * x.sum(-1)\n")
    (tmp_path / "flat.yaml").write_text(
        'target: {kind: python, function: "flat:log_density", dim: 2}\n'
    )
    said = run_command(
        "run", tmp_path / "flat.yaml", "--out", tmp_path / "no", "--local", *settings(), expect=3
    )
    assert "integral" in said


def test_a_full_disk_is_one_message_with_an_exit_code(monkeypatch, capsys):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "results.json")

    with pytest.raises(SystemExit) as stopped:
        main(full)
    assert stopped.value.code == 6
    assert "results.json" in capsys.readouterr().err
