"""Refined samples from the command and in a run: files, table, report, interruption."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, run_command

import onestep_md
from onestep_md.analysis.records.refined import read_refined
from onestep_md.analysis.records.results import Stored
from onestep_md.errors import Interrupted, RunFolderError
from onestep_md.progress import Display
from onestep_md.results import refined as module
from onestep_md.sampler import load, train

SYSTEMS = Path(__file__).parents[1] / "systems"


def sample(*arguments: object, expect: int = 0) -> str:
    return run_command("sample", *arguments, "--local", expect=expect)


@pytest.fixture(scope="module")
def density(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "gmm9"
    train(SYSTEMS / "gmm9.yaml", folder, [*TINY, "sample.refine=600"]).close()
    return folder


def test_a_run_refines_at_its_end_and_its_report_shows_it(density):
    refined = read_refined(density / "refined")
    assert isinstance(refined, Stored) and refined.particles == 600 and not refined.regions
    assert abs(refined.log_z.value) < 4.0 * refined.log_z.error
    assert refined.evaluations >= 600 * 5 and refined.seconds > 0.0
    assert 100 < refined.independent <= min(600, refined.founders)
    # the run's own one-step samples stand beside them
    (own,) = (
        row for row in json.loads((density / "results.json").read_text())["evidence"]
        if row["steps"] == 1
    )  # fmt: skip
    assert refined.one_step.log_z.value == own["log_z"]["value"]
    assert "Refined samples" in (density / "report.html").read_text()
    with np.load(density / "refined" / "samples.npz") as arrays:
        assert arrays["x"].shape == (600, 2) and (arrays["log_w"] == 0.0).all()
    weights = np.load(density / "refined" / "weights.npy")
    np.testing.assert_allclose(weights, 1.0 / 600.0)
    assert not list((density / "refined").glob("pass-*"))


def test_a_molecule_has_refined_regions_and_a_trajectory(tmp_path, capsys):
    with load(SYSTEMS / "models" / "alanine-cartesian") as sampler:
        samples, evidence = sampler._measure(100, 1, 0)
        regions = module.weighted_regions(sampler.config, sampler.target, samples, 0)
        refined = module.refine_samples(
            sampler.config,
            sampler.target,
            sampler.parts,
            sampler._evaluators,
            module.OneStep(evidence, regions),
            module.Refining(64, 1, 0),
            tmp_path,
            Display(),
        )
    said = capsys.readouterr().out
    for words in ("energies with gradients", "independent samples", "C7eq", "equal time"):
        assert words in said
    assert read_refined(tmp_path).model_dump_json() == refined.model_dump_json()
    ensemble = onestep_md.load_run(tmp_path)
    assert len(ensemble.trajectory) == 64
    np.testing.assert_allclose(ensemble.weights, 1.0 / 64.0)
    # populations of the regions are those of the frames
    inside = sampler.target.region_membership(sampler.config, ensemble.trajectory.xyz)
    populations = [region.refined.probability.value for region in refined.regions]
    np.testing.assert_allclose(inside.mean(0), populations)
    assert [region.one_step.name for region in refined.regions] == list(sampler.config.regions)


def test_the_command_puts_one_step_samples_first(density, tmp_path):
    out = tmp_path / "out"
    options = ("--refine", "--particles", 512, "--moves", 1, "--n", 300, "--out", out)
    said = sample(density, *options)
    assert said.index("ESS") < said.index("refined samples")
    refined = read_refined(out)
    assert refined.one_step.n == 300 and refined.moves == 1 and refined.particles == 512
    assert "is not empty" in sample(density, *options, expect=6)


def test_an_interrupted_refining_is_resumed(density, tmp_path, monkeypatch):
    def stop(*arguments):
        real(*arguments[:-1], saved=arguments[-1])
        raise Interrupted("stopped")

    options = ("--refine", "--particles", 512, "--moves", 2, "--n", 200, "--out")
    sample(density, *options, tmp_path / "whole")
    real = module.bridge
    monkeypatch.setattr(module, "bridge", stop)
    sample(density, *options, tmp_path / "parts", expect=75)
    monkeypatch.undo()
    assert len(list((tmp_path / "parts").glob("pass-*"))) == 1
    said = sample(density, *options, tmp_path / "parts", expect=6)
    assert "continue it with --resume" in said
    other = sample(density, *options, tmp_path / "parts", "--resume", "--seed", 5, expect=6)
    assert "holds no refining of these settings" in other
    said = sample(density, *options, tmp_path / "parts", "--resume")
    assert "its time is not known" in said
    whole, parts = (read_refined(tmp_path / name) for name in ("whole", "parts"))
    assert whole.log_z == parts.log_z and np.isnan(parts.seconds)
    with np.load(tmp_path / "whole" / "samples.npz") as a, \
            np.load(tmp_path / "parts" / "samples.npz") as b:  # fmt: skip
        np.testing.assert_array_equal(a["x"], b["x"])
    assert not list((tmp_path / "parts").glob("pass-*"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("--refine", "--steps", 2), "leave out --steps"), (("--resume",), "give both, or neither")],
)
def test_options_that_do_not_fit_are_told(density, options, reason):
    assert reason in sample(density, *options, expect=2)


def test_a_damaged_file_is_told(density, tmp_path):
    stored = json.loads((density / "refined" / "refined.json").read_text())
    (tmp_path / "refined.json").write_text(json.dumps(stored | {"particles": "many"}))
    with pytest.raises(RunFolderError, match="refined.json, particles"):
        read_refined(tmp_path)


def test_trouble_is_a_warning(density):
    refined = read_refined(density / "refined")
    assert refined.warnings == ()
    few = refined.model_copy(update={"founders": 3.0})
    assert "its particles descend from 3 of the start" in few.warnings[0]
    off = refined.one_step.log_z.value + 1.0
    other = refined.model_copy(update={"log_z": type(refined.log_z)(off, 0.01)})
    assert "disagree" in other.warnings[0]
