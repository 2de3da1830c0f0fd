"""Run folders as records: which kind they are, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from synthetic_density import write_density_folder
from synthetic_run import edit_json, write_run_folder

from onestep_md.analysis.records.folder import read_record
from onestep_md.analysis.report.page import write_report
from onestep_md.errors import RunFolderError


@pytest.mark.parametrize("kind", ["density", "molecule"])
def test_runs_say_their_kind_and_older_ones_are_told_by_their_target(good_density, tmp_path, kind):
    folder = good_density if kind == "density" else write_run_folder(tmp_path / "molecule", n=500)
    results = json.loads((folder / "results.json").read_text())
    assert "kind" not in results and read_record(folder).kind == kind
    new = tmp_path / "new"
    shutil.copytree(folder, new)
    (new / "results.json").write_text(json.dumps(results | {"kind": kind}))
    assert read_record(new).kind == kind
    (new / "results.json").write_text(json.dumps(results | {"kind": "crystal"}))
    with pytest.raises(RunFolderError, match="crystal"):
        read_record(new)


def test_damaged_molecule_folders_are_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    folder = write_run_folder(tmp_path / "run", n=3000)
    edit_json(folder, "results.json", lambda r: r["evidence"][0].pop("khat"))
    with pytest.raises(RunFolderError, match="khat"):
        write_report(folder)
    (folder / "results.json").unlink()
    with pytest.raises(RunFolderError, match=r"results.json missing.*--resume"):
        write_report(folder)


def test_damaged_density_folders_are_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    folder = write_density_folder(tmp_path / "run", n=500, steps=(1,))
    with np.load(folder / "steps.npz") as arrays:
        arrays = dict(arrays)
    np.savez(folder / "steps.npz", **{**arrays, "k1_x": arrays["k1_x"][:9]})
    with pytest.raises(RunFolderError, match="9 samples but 500 weights"):
        write_report(folder)
    np.savez(folder / "steps.npz", **{**arrays, "target_x": arrays["target_x"][:, :1]})
    with pytest.raises(RunFolderError, match="target_x has shape"):
        write_report(folder)
    (folder / "steps.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(RunFolderError, match="expected contents"):
        write_report(folder)
    (folder / "steps.npz").unlink()
    with pytest.raises(RunFolderError, match=r"steps.npz missing.*--resume"):
        write_report(folder)
