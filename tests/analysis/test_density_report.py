"""The report of made-up runs on densities: good, bad, nothing known, 1 to 60 dimensions."""

import dataclasses
import json
import math
import re
import shutil

import numpy as np
import pytest
from synthetic_density import LOG_Z, write_density_folder
from synthetic_run import write_run_folder
from typer.testing import CliRunner

from onestep_md.analysis.figures.densities import (
    chosen_coordinates,
    ensembles,
    limits,
    log_density,
    marginal,
)
from onestep_md.analysis.figures.evidence import pretraining_figure, training_figure
from onestep_md.analysis.records.folder import read_record
from onestep_md.analysis.report.page import write_report
from onestep_md.analysis.report.verdict import judge
from onestep_md.errors import RunFolderError
from onestep_md.report import app

STEPS = (0, 1, 4)
NO_ESTIMATE = {"value": None, "error": None, "reason": "why", "text": "no estimate"}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_density_folder(tmp_path_factory.mktemp("good"), steps=STEPS)


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return write_density_folder(tmp_path_factory.mktemp("bad"), n=2000, steps=STEPS, trouble=True)


@pytest.fixture
def edited(good, tmp_path):
    """A function that copies the good run with `change(results)` applied, and reads it."""

    def make(change):
        for name in ("steps.npz", "config.yaml", "environment.json", "metrics.jsonl"):
            (tmp_path / name).write_bytes((good / name).read_bytes())
        results = json.loads((good / "results.json").read_text())
        change(results)
        (tmp_path / "results.json").write_text(json.dumps(results))
        return read_record(tmp_path)

    return make


def test_good_run_has_its_numbers_and_no_links(good):
    path = write_report(good)
    html = path.read_text()
    assert path == good / "report.html"
    assert "weights and log Z can be used" in html and 'class="warning"' not in html
    row = read_record(good).headline
    for words in (
        "nine modes", "2 dimensions", "log Z known, 2.5", "5b1f0c3a9d27e451", "2.87 million",
        f"{100 * row.ess.value:.3g} %", "All 9 modes are found", "agrees with the known 2.5",
        f"{row.log_z.value:.3f} ±", "exact samples of the target",
    ):  # fmt: skip
        assert words in html, words
    figures = {p.name for p in (good / "figures").iterdir()}
    assert figures == {
        f"{name}.png" for name in ("samples", "marginals", "steps", "weights", "training")
    }
    # self-contained: pictures are embedded, nothing is fetched
    assert len(re.findall(r'src="data:image/png;base64,', html)) == 5
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|https?://', html)


def test_bad_run_says_so_loudly(bad):
    html = write_report(bad).read_text()
    top = html[: html.index("<h2>Evidence")]
    assert "Something is wrong: ELBO ≤ log Z ≤ EUBO does not hold" in top
    assert 'class="verdict bad"' in top and "in doubt" in top
    for words in ("above the known log Z (2.5)", "Only 5 of 9 modes", "DISAGREES", "k-hat 0.90"):
        assert words in top, words
    evidence = html[html.index("<h2>Evidence") : html.index("<h2>Where")]
    assert 'class="bad">0.90' in evidence and 'class="bad">5' in evidence


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"khat": 0.83, "harmless": False}, "bad", "k-hat 0.83 is above"),
        ({"khat": None, "harmless": False}, "bad", "could not be computed"),
        ({"log_det_error": 1e-3}, "bad", "weights and log Z are wrong"),
        ({"negative_determinants": 40}, "bad", "40 of 1,000 checked samples are folded"),
        ({"ess": 0.005}, "bad", "worth 50 independent"),
        ({"checked": 0}, "care", "not checked for folds"),
        ({"eubo": None}, "care", "nothing bounds log Z from above"),
        ({"eubo": {"value": None, "error": None}}, "care", "nothing bounds log Z from above"),
        (
            {"eubo": {"value": None, "error": None, "text": "inf"}},
            "care",
            "EUBO is infinite: nothing bounds",
        ),
        (
            {"eubo": NO_ESTIMATE},
            "care",
            "EUBO cannot be told: nothing bounds",
        ),
        (
            {
                "log_z": NO_ESTIMATE,
                "ess": 1e-4,
            },
            "bad",
            "There is no estimate of log Z",
        ),
        ({"forward_ess": {"value": 1e-9, "error": 1e-9}}, "bad", "is 1e-07 % instead of"),
        ({}, "good", "the forward ESS use exact samples of the target"),
        ({"infinite": 3, "elbo": {"value": None, "error": None}}, "good", "−∞ ≤"),
        ({"eubo": {"value": 2.4, "error": 0.01}}, "bad", "log Z (2.501 ± 0.003) lies above EUBO"),
        ({"elbo": {"value": 2.7, "error": 0.01}}, "bad", "ELBO (2.700 ± 0.010) lies above log Z"),
        ({"log_z": {"value": 2.53, "error": 0.005}}, "bad", "DISAGREES with the known 2.5"),
        ({"bar": {"value": 2.6, "error": 0.01}}, "bad", "BAR DISAGREE"),
        ({"warnings": ["K = 1: something"]}, "care", "ELBO ≤ log Z ≤ EUBO holds"),
    ],
)
def test_each_failed_test_reaches_the_verdict(edited, changes, level, words):
    verdict = judge(edited(lambda r: r["evidence"][1].update(changes)))
    assert verdict.level == level
    assert words in " ".join(verdict.sentences)


def test_missed_modes_and_run_warnings(edited):
    verdict = judge(edited(lambda r: r["modes_found"].update({"1": 7})))
    assert verdict.level == "bad" and "Only 7 of 9 modes" in verdict.sentences[-2]
    verdict = judge(edited(lambda r: r.update(warnings=["a note"])))
    assert verdict.level == "care" and verdict.run_warnings == ("a note",)


def test_an_exact_flow_is_not_suspected_for_its_rounding(edited):
    def exact(results):
        for row in results["evidence"]:
            noise = {"value": LOG_Z + 4e-16, "error": 1e-17}
            row |= {name: noise for name in ("log_z", "elbo", "bar")}
            row["eubo"] = {"value": LOG_Z, "error": 0.0}
            row["khat"] = -5.0

    assert judge(edited(exact)).level == "good"


def test_nothing_known_and_sixty_dimensions(tmp_path):
    folder = write_density_folder(tmp_path, n=1500, dim=60, steps=(1,), known=False)
    html = write_report(folder).read_text()
    assert "60 dimensions" in html and "log Z not known" in html
    assert "true value is not known" in html and "held-out samples of the annealing" in html
    assert "modes" not in html.replace("nine modes", "")
    assert "6 of the 60 coordinates" in html
    assert not re.search(r"\bnan\b", re.sub(r'src="[^"]*"', "", html))


def test_one_dimension_without_training_curves(tmp_path):
    folder = write_density_folder(tmp_path, n=1500, dim=1, steps=(0, 1))
    for name in ("metrics.jsonl", "environment.json", "config.yaml"):
        (folder / name).unlink()
    html = write_report(folder).read_text()
    assert "1 dimension " in html and "All 3 modes" in html and "<h2>Training" not in html
    assert not (folder / "figures" / "samples.png").exists()
    assert (folder / "figures" / "marginals.png").exists()


def test_the_curve_of_pretraining_is_shown_where_there_was_some(tmp_path):
    folder = write_density_folder(tmp_path, n=1500, steps=(1,))
    write_report(folder)
    assert not (folder / "figures" / "pretraining.png").exists()
    steps = range(10, 501, 10)
    rows = [{"step": k, "seconds": 0.1 * k, "loss": 18 + 900 / k} for k in steps]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pretraining.jsonl").write_text(text)
    assert "before the energies come in" in write_report(folder).read_text()
    assert (folder / "figures" / "pretraining.png").exists()
    (axis,) = pretraining_figure(read_record(folder)).axes
    low, high = axis.get_ylim()
    assert low < rows[-1]["loss"] and rows[4]["loss"] < high < rows[0]["loss"]


@pytest.mark.parametrize(("last", "scale"), [(1.8, "linear"), (0.01, "log")])
def test_losses_of_less_than_a_decade_have_a_linear_axis(edited, last, scale):
    run = edited(lambda results: None)
    loss = np.geomspace(2.0, last, len(run.metrics["step"]))
    names = ("loss_energy", "loss_flow", "loss_state", "loss_volume")
    metrics = run.metrics | {name: loss for name in names}
    losses = training_figure(dataclasses.replace(run, metrics=metrics)).axes[0]
    assert losses.get_yscale() == scale
    assert losses.get_ylim()[0] < last and losses.get_ylim()[1] > 2.0


def test_points_without_a_place_are_left_out(tmp_path):
    folder = write_density_folder(tmp_path, n=1500, steps=(1,))
    with np.load(folder / "steps.npz") as arrays:
        arrays = dict(arrays)
    arrays["k1_x"][:5], arrays["k1_log_w"][:5] = np.nan, -np.inf
    np.savez(folder / "steps.npz", **arrays)
    run = read_record(folder)
    raw, reweighted, _ = ensembles(run)
    assert len(raw.x) == 1495 and raw.weights.sum() == pytest.approx(1495 / 1500)
    assert reweighted.weights.sum() == pytest.approx(1.0)
    assert np.isfinite(limits(run, 0)).all()


def test_damaged_folders_are_refused(tmp_path):
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


def test_the_command_line_finds_the_right_page(good, tmp_path):
    molecule = write_run_folder(tmp_path / "molecule", n=500)
    words = {"density": "unnormalised density", "molecule": "Ace-Ala-Nme"}
    for folder, kind in ((good, "density"), (molecule, "molecule")):
        assert CliRunner().invoke(app, [str(folder)]).output == f"{folder}/report.html\n"
        html = (folder / "report.html").read_text()
        assert [name for name, text in words.items() if text in html] == [kind]
    with pytest.raises(RunFolderError, match=r"results.json missing"):
        read_record(tmp_path)


@pytest.mark.parametrize("kind", ["density", "molecule"])
def test_runs_say_what_they_are_and_older_ones_are_told_by_their_target(good, tmp_path, kind):
    folder = good if kind == "density" else write_run_folder(tmp_path / "molecule", n=500)
    results = json.loads((folder / "results.json").read_text())
    assert "kind" not in results and read_record(folder).kind == kind
    new = tmp_path / "new"
    shutil.copytree(folder, new)
    (new / "results.json").write_text(json.dumps(results | {"kind": kind}))
    assert read_record(new).kind == kind
    (new / "results.json").write_text(json.dumps(results | {"kind": "crystal"}))
    with pytest.raises(RunFolderError, match="crystal"):
        read_record(new)


def test_the_pair_is_the_dependent_one_else_the_least_gaussian():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(5000, 8))
    assert len(chosen_coordinates(x)) == 6
    assert chosen_coordinates(x[:, :1]) == [0]
    wells = x.copy()
    wells[:, [3, 6]] += 2.0 * generator.choice((-1.0, 1.0), (5000, 2))
    assert chosen_coordinates(wells)[:2] == [3, 6]
    banana = x.copy()
    banana[:, 5] += banana[:, 2] ** 2  # uncorrelated, but far from independent
    assert chosen_coordinates(banana)[:2] == [2, 5]


def test_marginal_and_its_error_against_a_bootstrap():
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=4000), generator.exponential(size=4000)
    edges = np.linspace(-2.0, 2.0, 9)
    height, error = marginal(x, w / w.sum(), edges)
    replicas = []
    for _ in range(300):
        drawn = w * generator.poisson(1.0, len(w))
        replicas.append(np.histogram(x, edges, weights=drawn / drawn.sum())[0] / 0.5)
    np.testing.assert_allclose(error, np.std(replicas, axis=0), rtol=0.2)
    middles = 0.5 * (edges[1:] + edges[:-1])
    normal = np.exp(-0.5 * middles**2) / math.sqrt(2 * math.pi)
    assert (np.abs(height - normal) < 4 * error + 0.01).all()


def test_joint_density_is_blank_where_no_sample_is():
    x = np.array([[0.0, 0.0], [0.1, 0.0], [3.0, 3.0]])
    edges = [np.linspace(-4, 4, 41)] * 2
    surface = log_density(x, np.array([0.4, 0.6, 0.0]), edges)
    assert np.isnan(surface[35, 35])  # a sample of zero weight
    assert np.nanmax(surface) == surface[20, 20] and np.isfinite(surface).sum() < 20
