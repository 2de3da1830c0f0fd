"""Exploration by the user's frames: their ensemble is tested, and brought to the target's."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import onestep_md
from onestep_md.analysis.frames import read_frame_weights, read_frames
from onestep_md.config import load_config
from onestep_md.errors import ConfigError, TargetError
from onestep_md.estimators.weights import resample
from onestep_md.exploration.from_trajectory import explore_frames, measure_temperature
from onestep_md.kinds import load_target

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "systems" / "models" / "alanine-cartesian"
N = 3000


@pytest.fixture(scope="module")
def drawn():
    """Samples of the flow with their weights, and the sampler they are from."""
    with onestep_md.load(MODEL) as sampler:
        yield sampler, sampler.sample(2 * N, seed=5)


@pytest.fixture(scope="module")
def frames(drawn):
    """Frames of equal weight at 300 K."""
    _, samples = drawn
    chosen = resample(samples.log_w, N, np.random.default_rng(0))
    return samples.x[np.random.default_rng(1).permutation(chosen)]


def explore(sampler, x, log_weights=None, kelvin=300.0, target=None):
    said = []
    molecule = target or sampler.target.molecule
    evaluators = SimpleNamespace(evaluate=molecule_energies(molecule), evaluations=0)
    display = SimpleNamespace(say=said.append)
    log_weights = np.zeros(len(x)) if log_weights is None else log_weights
    walkers = np.zeros(len(x), dtype=int)
    found = explore_frames(molecule, x, walkers, log_weights, kelvin, evaluators, 0, display)
    return found, "\n".join(said)


def molecule_energies(molecule):
    from onestep_md.targets.evaluator import PotentialEvaluator

    return PotentialEvaluator(molecule, "Reference").evaluate


def temperature_of(found, molecule):
    n, evaluators = len(found.u), SimpleNamespace(evaluate=molecule_energies(molecule))
    walkers, log_weights = np.zeros(n, dtype=int), np.zeros(n)
    kelvin = molecule.temperature
    return measure_temperature(
        found.frames, found.grad_u, walkers, log_weights, kelvin, evaluators
    )


def at(kelvin):
    config = load_config(MODEL / "config.yaml")
    changes = {"pdb": str(MODEL / "input.pdb"), "system": str(MODEL / "system.xml")}
    config = config.changed(
        "target", **changes, forcefield=None, constraints="none", temperature=kelvin
    )
    return load_target(config).molecule


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "trr", "nc", "h5"])
def test_every_format_gives_back_its_frames(tmp_path, drawn, frames, suffix):
    sampler, _ = drawn
    text = sampler.target.molecule.pdb_text
    path = tmp_path / f"frames.{suffix}"
    sampler.target.trajectory(frames[:40]).save(str(path))
    x, walkers = read_frames([path, path], text)
    assert x.shape == (80, 22, 3) and (walkers == np.repeat([0, 1], 40)).all()
    worst = 1.1e-3 if suffix == "xtc" else 1e-6
    apart = x[:40] - x[:40].mean(axis=1, keepdims=True)
    apart -= frames[:40] - frames[:40].mean(axis=1, keepdims=True)
    assert np.abs(apart).max() < worst


def test_frames_of_the_ensemble_are_taken_as_they_are(drawn, frames):
    sampler, _ = drawn
    found, said = explore(sampler, frames)
    assert np.array_equal(found.frames, frames)
    u, _ = molecule_energies(sampler.target.molecule)(frames)
    assert np.allclose(found.u, u)
    assert "temperature of the frames by their forces" in said
    measured = temperature_of(found, sampler.target.molecule)
    assert abs(measured.value - 300.0) < 4.0 * measured.error < 20.0


def test_frames_of_another_temperature_are_refused_or_reweighted(drawn, frames):
    sampler, _ = drawn
    warm = at(345.0)
    with pytest.raises(TargetError, match="exploration.temperature"):
        explore(sampler, frames, kelvin=345.0, target=warm)
    found, said = explore(sampler, frames, kelvin=300.0, target=at(310.0))
    assert "weighted frames are worth" in said and len(found.u) < N
    measured = temperature_of(found, at(310.0))
    assert abs(measured.value - 310.0) < 5.0 * measured.error


def test_frames_with_weights_are_brought_to_the_target(drawn):
    sampler, samples = drawn
    found, _ = explore(sampler, samples.x, samples.log_w)
    mean = samples.weights[np.isfinite(samples.u)] @ samples.u[np.isfinite(samples.u)]
    assert abs(found.u.mean() - mean) < 0.6
    with pytest.raises(TargetError, match="are worth 150"):
        explore(sampler, samples.x[:150], samples.log_w[:150])
    with pytest.raises(TargetError, match="are worth 0"):  # no frame has a weight
        explore(sampler, samples.x[:300], np.full(300, -np.inf))


def test_frames_of_another_force_field_or_isomer_are_refused(drawn, frames):
    sampler, _ = drawn
    with pytest.raises(TargetError, match="an inverted stereocentre"):
        explore(sampler, frames * np.array([1.0, 1.0, -1.0]))
    with pytest.raises(TargetError, match="force field"):
        explore(sampler, frames * 1.01)  # bonds longer by a hundredth


def test_files_that_do_not_fit_are_refused(tmp_path, drawn, frames):
    sampler, _ = drawn
    text = sampler.target.molecule.pdb_text
    trajectory = sampler.target.trajectory(frames[:5])
    with pytest.raises(TargetError, match="does not exist"):
        read_frames([tmp_path / "none.dcd"], text)
    with pytest.raises(TargetError, match="by its name"):
        read_frames([tmp_path / "frames.pdb"], text)
    few = tmp_path / "few.dcd"
    trajectory.atom_slice(range(21)).save(str(few))
    with pytest.raises(TargetError, match="without solvent"):
        read_frames([few], text)
    other = tmp_path / "other.h5"
    trajectory.topology.atom(3).name = "X"
    trajectory.save(str(other))
    with pytest.raises(TargetError, match="another order"):
        read_frames([other], text)
    torn = frames[:5].copy()
    torn[2, 10:] += 3.0
    broken = tmp_path / "broken.dcd"
    sampler.target.trajectory(torn).save(str(broken))
    with pytest.raises(TargetError, match="whole across the periodic box"):
        read_frames([broken], text)
    (tmp_path / "text.dcd").write_text("no trajectory")
    with pytest.raises(TargetError, match="cannot be read"):
        read_frames([tmp_path / "text.dcd"], text)
    np.save(tmp_path / "w.npy", np.ones(4))
    with pytest.raises(TargetError, match="must hold 5 numbers"):
        read_frame_weights(tmp_path / "w.npy", 5)
    with pytest.raises(TargetError, match="cannot be read"):
        read_frame_weights(tmp_path / "none.npy", 5)


def test_a_density_has_no_trajectory():
    with pytest.raises(ConfigError, match="needs a molecule"):
        load_config(
            ROOT / "systems" / "gmm9.yaml",
            ["exploration.method=trajectory", "exploration.files=[a.dcd]"],
        )


def test_a_run_learns_from_a_trajectory(tmp_path, drawn, frames):
    sampler, _ = drawn
    sampler.target.trajectory(frames).save(str(tmp_path / "mine.dcd"))
    text = (ROOT / "systems" / "alanine.yaml").read_text()
    (tmp_path / "alanine.pdb").write_text((ROOT / "systems" / "alanine.pdb").read_text())
    (tmp_path / "run.yaml").write_text(
        f"{text}\nexploration: {{method: trajectory, files: [mine.dcd]}}\n"
    )
    tiny = ["train.steps=4", "train.batch=64", "sample.n=500", "sample.n_one_step=1000",
            "sample.steps=[0, 1]", "flow.layers=2", "flow.width=16"]  # fmt: skip
    onestep_md.train(tmp_path / "run.yaml", tmp_path / "run", tiny)
    results = (tmp_path / "run" / "results.txt").read_text()
    assert "trajectory" in results
    page = (tmp_path / "run" / "report.html").read_text()
    assert "held-out samples of the trajectory" in page
