"""Run-folder trajectories: round trip through mdtraj, resampling, refusal of broken folders."""

import warnings

import mdtraj
import numpy as np
import pytest
from scipy.io import netcdf_file
from synthetic_run import ALANINE

from onestep_md.analysis import trajectories
from onestep_md.analysis.trajectories import load_run, write_trajectory
from onestep_md.errors import RunFolderError

N = 500


@pytest.fixture
def samples():
    generator = np.random.default_rng(3)
    x = generator.normal(scale=0.3, size=(N, 22, 3)) + 5.0
    u, log_q = generator.normal(size=N), generator.normal(size=N)
    log_w = -u - log_q
    log_w[7], u[7] = -np.inf, np.inf
    return x, log_w, u, log_q


@pytest.fixture
def folder(tmp_path, samples):
    write_trajectory(tmp_path, ALANINE, *samples, np.random.default_rng(0))
    return tmp_path


def test_round_trip(folder, samples):
    x, log_w, u, log_q = samples
    run = load_run(folder)
    centred = x - x.mean(axis=1, keepdims=True)
    assert np.abs(run.trajectory.xyz - centred).max() < 1e-6  # nm
    w = np.exp(log_w - log_w[np.isfinite(log_w)].max())
    np.testing.assert_allclose(run.weights, w / w.sum(), rtol=1e-12)
    assert run.weights.dtype == np.float64 and abs(run.weights.sum() - 1) < 1e-12
    assert run.weights[7] == 0
    np.testing.assert_array_equal(run.log_w, log_w)
    np.testing.assert_array_equal(run.u, u)
    np.testing.assert_array_equal(run.log_q, log_q)
    assert [atom.name for atom in run.trajectory.topology.atoms][:3] == ["CH3", "H1", "H2"]


def test_resampled_frames_follow_the_weights(folder):
    run = load_run(folder)
    resampled = mdtraj.load_dcd(str(folder / "resampled.dcd"), top=str(folder / "topology.pdb"))
    assert len(resampled) == N
    original = {frame.tobytes(): index for index, frame in enumerate(run.trajectory.xyz)}
    counts = np.bincount([original[f.tobytes()] for f in resampled.xyz], minlength=N)
    assert np.all(np.abs(counts - N * run.weights) < 1)  # floor or ceil


def test_nothing_temporary_stays(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"topology.pdb", "samples.dcd", "resampled.dcd", "samples.npz", "weights.npy"}


def test_an_ensemble_is_one_file_with_its_weights_inside(folder, tmp_path):
    tables = pytest.importorskip("tables")
    run = load_run(folder)
    run.save(tmp_path / "all.h5")
    frames = mdtraj.load(str(tmp_path / "all.h5"))
    np.testing.assert_allclose(frames.xyz, run.trajectory.xyz)
    with tables.open_file(str(tmp_path / "all.h5")) as file:
        np.testing.assert_array_equal(file.root.weights[:], run.weights)
        np.testing.assert_array_equal(file.root.u[:], run.u)
    run.save(tmp_path / "all.nc")
    assert mdtraj.load(str(tmp_path / "all.nc"), top=frames.topology).n_frames == N
    with pytest.warns(UserWarning, match=r"0.001 nm.*0.8 kT.*never reweight"):
        run.save(tmp_path / "all.xtc")
    with pytest.raises(RunFolderError, match="cannot write"):
        run.save(tmp_path / "all.docx")


@pytest.mark.filterwarnings("ignore:.*netCDF4' Python package")
@pytest.mark.parametrize("suffix", ["nc", "ncdf"])
def test_netcdf_in_ambers_convention_has_the_weights_inside(folder, tmp_path, suffix):
    run, path = load_run(folder), tmp_path / f"all.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.save(path)
    frames = mdtraj.load(str(path), top=run.trajectory.topology)
    np.testing.assert_allclose(frames.xyz, run.trajectory.xyz, atol=1e-6)
    with netcdf_file(str(path), mmap=False) as file:
        assert file.Conventions == b"AMBER"
        for name, unit in (("weights", b"1"), ("u", b"kT"), ("log_q", b"1")):
            variable = file.variables[name]
            assert variable.dimensions == ("frame",) and variable.units == unit
            np.testing.assert_array_equal(variable[:], getattr(run, name))


@pytest.mark.filterwarnings("ignore")
def test_mdanalysis_reads_the_netcdf_file(folder, tmp_path):
    mda = pytest.importorskip("MDAnalysis")
    run = load_run(folder)
    run.save(tmp_path / "all.nc")
    universe = mda.Universe(str(folder / "topology.pdb"), str(tmp_path / "all.nc"))
    x = np.array([frame.positions.copy() for frame in universe.trajectory])
    np.testing.assert_allclose(x / 10.0, run.trajectory.xyz, atol=1e-6)


def test_a_failed_write_keeps_the_old_file(folder, samples, monkeypatch):
    before = (folder / "samples.dcd").read_bytes()

    def fails(path, x):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trajectories, "_write_dcd", fails)
    with pytest.raises(OSError, match="No space"):
        write_trajectory(folder, ALANINE, *samples, np.random.default_rng(0))
    assert (folder / "samples.dcd").read_bytes() == before
    assert not list(folder.glob(".*writing*"))


def test_weightless_samples_are_kept_without_weights(tmp_path, samples):
    x, log_w, u, log_q = samples
    none = np.full(N, -np.inf)
    write_trajectory(tmp_path, ALANINE, x, none, u, log_q, np.random.default_rng(0))
    assert np.isnan(np.load(tmp_path / "weights.npy")).all()
    assert (tmp_path / "samples.dcd").exists() and not (tmp_path / "resampled.dcd").exists()


def test_unfinished_and_foreign_folders_are_told_apart(folder, tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        load_run(tmp_path / "nowhere")
    (folder / "weights.npy").unlink()
    with pytest.raises(RunFolderError, match=r"weights.npy missing.*not a run folder"):
        load_run(folder)
    (folder / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(RunFolderError, match=r"not finished.*--resume"):
        load_run(folder)


def test_mixed_files_are_refused(folder):
    np.save(folder / "weights.npy", np.ones(3) / 3)
    with pytest.raises(RunFolderError, match="500 frames, weights.npy 3"):
        load_run(folder)
