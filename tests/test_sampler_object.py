"""The object: it draws, weighs and judges as the commands do, and is made from a dict."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import onestep_md
from onestep_md.errors import ConfigError, RunFolderError, TargetError
from onestep_md.sample import app

MODELS = Path(__file__).parents[1] / "systems" / "models"
TINY = {
    "target": {"kind": "density", "name": "gmm9"},
    "exploration": {"particles": 400, "moves": 1},
    "flow": {"layers": 2, "width": 8},
    "train": {"steps": 2, "batch": 32, "regression_batch": 16, "buffer": 64},
    "sample": {"n": 100, "steps": [0, 1]},
}


@pytest.fixture(scope="module")
def molecule():
    with onestep_md.load(MODELS / "alanine-cartesian") as sampler:
        yield sampler


def test_densities_and_weights_of_samples_are_those_of_the_draw(molecule):
    samples = molecule.sample(100, seed=1)
    assert samples.x.shape == (100, 22, 3)
    np.testing.assert_allclose(samples.weights.sum(), 1.0)
    np.testing.assert_allclose(molecule.log_prob(samples.x), samples.log_q, atol=1e-9)
    np.testing.assert_allclose(molecule.log_weights(samples.x), samples.log_w, atol=1e-9)
    # a molecule may be anywhere, in any orientation
    turned = samples.x @ np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 3.0
    np.testing.assert_allclose(molecule.log_prob(turned), samples.log_q, atol=1e-8)


def test_the_same_seed_gives_the_same_samples_and_another_others(molecule):
    one, same, other = (molecule.sample(10, seed=seed).x for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any(axis=(1, 2)).all()


def test_a_trajectory_has_the_atoms_of_the_molecule(molecule):
    samples = molecule.sample(5)
    trajectory = molecule.trajectory(samples)
    assert [atom.element.symbol for atom in trajectory.top.atoms] == list(molecule.target.elements)
    np.testing.assert_allclose(trajectory.xyz, samples.x, atol=1e-6)


def test_the_command_writes_what_the_object_draws(molecule, tmp_path):
    folder = tmp_path / "more"
    options = ["--n", "100", "--seed", "5", "--out", str(folder), "--local"]
    done = CliRunner().invoke(app, [str(MODELS / "alanine-cartesian"), *options])
    assert done.exit_code == 0, done.output
    stored = json.loads((folder / "evidence.json").read_text())
    expected = molecule.evidence(100, seed=5)
    assert stored["evidence"]["log_z"]["value"] == pytest.approx(expected.log_z.value, abs=1e-12)
    assert stored["format"] == 2 and stored["warnings"] == expected.warnings()
    with pytest.raises(RunFolderError, match="not empty"):
        molecule.write(folder, 100)


def test_a_density_has_no_trajectory():
    with onestep_md.load(MODELS / "lj13_f1") as sampler:
        samples = sampler.sample(100)
        assert samples.x.shape == (100, 36)
        with pytest.raises(TargetError, match="only a molecule"):
            sampler.trajectory(samples)


def test_a_dict_trains_a_sampler(tmp_path):
    sampler = onestep_md.train(TINY, tmp_path / "run", ["seed=3"])
    assert sampler.config.seed == 3 and (tmp_path / "run" / "report.html").exists()
    x = sampler.sample(20).x
    np.testing.assert_allclose(sampler.log_prob(x, steps=1), sampler.log_prob(x), atol=0)
    with pytest.raises(RunFolderError, match="already holds a run"):
        onestep_md.train(TINY, tmp_path / "run")


def test_mistakes_in_a_dict_are_told(tmp_path):
    with pytest.raises(ConfigError, match="widht"):
        onestep_md.train(TINY | {"flow": {"widht": 8}}, tmp_path / "run")


def test_what_is_public_is_listed():
    assert {"load", "train", "load_run", "BoltzmannSampler"} <= set(dir(onestep_md))
    for name in onestep_md.__all__:
        assert callable(getattr(onestep_md, name))
