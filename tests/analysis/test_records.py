"""Run folders as records: what is written is read again, of every format, and what is refused."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_density import write_density_folder
from synthetic_run import edit_results, write_run_folder

from onestep_md.analysis.records.density import write_density_arrays
from onestep_md.analysis.records.folder import read_record, read_results, write_results
from onestep_md.analysis.records.molecule import MoleculeRecord, write_molecule_arrays
from onestep_md.analysis.report.page import write_report
from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import Estimate

OLD = Path(__file__).parent / "old"  # results of format 1


def folder_of(kind, tmp_path, trouble=False):
    if kind == "density":
        return write_density_folder(tmp_path / "run", n=500, steps=(0, 1), trouble=trouble)
    return write_run_folder(tmp_path / "run", n=500, trouble=trouble, method="annealing")


@pytest.mark.parametrize("trouble", [False, True])
@pytest.mark.parametrize("kind", ["density", "molecule"])
def test_what_is_written_is_read_again(tmp_path, kind, trouble):
    record = read_record(folder_of(kind, tmp_path, trouble))
    new = tmp_path / "new"
    shutil.copytree(tmp_path / "run", new)
    for name in ("results.json", "steps.npz"):
        (new / name).unlink()
    histograms = {"distance_edges": np.arange(3.0)}
    write_results(new, record.results)
    if isinstance(record, MoleculeRecord):
        explored = record.explored_torsions, record.explored_u
        write_molecule_arrays(new, record.steps, *explored, histograms)
    else:
        write_density_arrays(new, record.steps, record.target_x, histograms)
    again = read_record(new)
    # repr, since nan is not equal to itself
    assert repr(again.results) == repr(record.results)
    assert again.histograms.keys() == histograms.keys()
    for k, samples in record.steps.items():
        for name, array in vars(samples).items():
            np.testing.assert_array_equal(getattr(again.steps[k], name), array)


@pytest.mark.parametrize(("system", "kind"), [("alanine", "molecule"), ("dw4", "density"),
                                              ("gmm9", "density")])  # fmt: skip
def test_results_of_older_runs_are_read(tmp_path, system, kind):
    old = json.loads((OLD / system / "results.json").read_text())
    results = read_results(OLD / system)
    assert "format" not in old and results.kind == kind
    for row, theirs in zip(results.evidence, old["evidence"], strict=True):
        assert (row.steps, row.ess, row.above) == tuple(
            theirs[k] for k in ("steps", "ess", "above")
        )
        for name in ("log_z", "elbo", "eubo", "bar"):
            text, reason = (theirs[name][key] for key in ("text", "reason"))
            found = getattr(row, name)
            assert (found.format(""), found.reason) == (text, reason)
        assert row.warnings() == theirs["warnings"]  # those of then, from what was measured
    assert list(results.warnings) == old["warnings"]
    assert results.evaluations == sum(old["evaluations"].values())
    assert results.seconds == pytest.approx(sum(old["seconds"].values()))
    write_results(tmp_path, results)
    assert repr(read_results(tmp_path)) == repr(results)


def test_free_energies_and_distances_of_older_runs_are_read():
    results = read_results(OLD / "alanine")
    old = json.loads((OLD / "alanine" / "free_energy.json").read_text())
    assert results.kT == old["kT_kJ_per_mol"] and len(results.regions) == len(old["regions"])
    for region, theirs in zip(results.regions, old["regions"], strict=True):
        assert region.one_step.delta_f.value == theirs["delta_f"]
        assert region.one_step.few == theirs["few_samples"]
        assert region.one_step.heavy_tail == theirs["heavy_tail"]
        assert region.explored.probability.error == theirs["dynamics_d_probability"]
    assert list(results.distances) == ["raw", "reweighted", "annealing"]
    assert results.isomers.outside[1]
    assert list(read_results(OLD / "dw4").particles) == ["raw", "reweighted", "annealing"]


def test_the_first_runs_lack_what_was_measured_later(tmp_path):
    shutil.copytree(OLD / "alanine", tmp_path, dirs_exist_ok=True)
    later = ("ess_error", "ess_sets", "heaviest", "harmless", "forward_ess", "above", "held_out",
             "above_limit", "unusable", "log_det_error", "auxiliaries", "ess_joint")  # fmt: skip

    def shorten(results):
        for name in ("distances", "isomers", "explored_by"):
            results.pop(name)
        assert "conformers" not in results
        for row in results["evidence"]:
            for name in later:
                row.pop(name)

    edit_results(tmp_path, shorten)
    results = read_results(tmp_path)
    row = results.evidence[1]
    assert math.isnan(row.forward_ess.value) and not row.ess_differs and row.auxiliaries == 1
    assert results.explored_by == "dynamics" and results.isomers is None
    assert results.distances == {} and results.conformers is None


def test_what_is_no_run_of_this_version_is_refused(tmp_path):
    shutil.copytree(OLD / "gmm9", tmp_path, dirs_exist_ok=True)
    for changes in ({"kind": "crystal"}, {"format": 2, "kind": "crystal"}):
        edit_results(tmp_path, lambda r, changes=changes: r.update(changes))
        with pytest.raises(RunFolderError, match="expected contents"):
            read_results(tmp_path)
    edit_results(tmp_path, lambda r: r.update(format=3))
    with pytest.raises(RunFolderError, match=r"format 3.*up to 2.*newer"):
        read_results(tmp_path)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e-300])
def test_numbers_that_json_lacks_are_kept(good_density, tmp_path, number):
    results = read_results(good_density)
    first = replace(results.evidence[0], khat=number, bar=Estimate(number, 0.1, "why"))
    changed = results.model_copy(update={"evidence": (first, *results.evidence[1:])})
    write_results(tmp_path, changed)
    row = read_results(tmp_path).evidence[0]
    assert repr((row.khat, row.bar)) == repr((number, Estimate(number, 0.1, "why")))


def test_damaged_molecule_folders_are_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    folder = write_run_folder(tmp_path / "run", n=3000)
    edit_results(folder, lambda r: r["evidence"][0].pop("khat"))
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
