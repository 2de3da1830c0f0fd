"""The report of made-up runs on densities: good, bad, nothing known, 1 to 60 dimensions."""

import json
import re

import pytest
from synthetic_density import write_density_folder
from synthetic_run import write_run_folder
from typer.testing import CliRunner

from onestep_md.analysis.figures.evidence import pretraining_figure
from onestep_md.analysis.records.folder import read_record, read_results
from onestep_md.analysis.report.page import write_report
from onestep_md.errors import RunFolderError
from onestep_md.report import app

STEPS = (0, 1, 4)


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return write_density_folder(tmp_path_factory.mktemp("bad"), n=2000, steps=STEPS, trouble=True)


def test_good_run_has_its_numbers_and_no_links(good_density):
    path = write_report(good_density)
    html = path.read_text()
    assert path == good_density / "report.html"
    assert "weights and log Z can be used" in html and 'class="warning"' not in html
    row = read_results(good_density).headline
    for words in (
        "nine modes", "2 dimensions", "log Z known, 2.5", "5b1f0c3a9d27e451", "2.87 million",
        f"{100 * row.ess:.3g} %", "All 9 modes are found", "agrees with the known 2.5",
        f"{row.log_z.value:.3f} ±", "exact samples of the target",
    ):  # fmt: skip
        assert words in html, words
    figures = {p.name for p in (good_density / "figures").iterdir()}
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


def test_the_command_line_finds_the_right_page(good_density, tmp_path):
    molecule = write_run_folder(tmp_path / "molecule", n=500)
    words = {"density": "unnormalised density", "molecule": "Ace-Ala-Nme"}
    for folder, kind in ((good_density, "density"), (molecule, "molecule")):
        assert CliRunner().invoke(app, [str(folder)]).output == f"{folder}/report.html\n"
        html = (folder / "report.html").read_text()
        assert [name for name, text in words.items() if text in html] == [kind]
    with pytest.raises(RunFolderError, match=r"results.json missing"):
        read_record(tmp_path)
