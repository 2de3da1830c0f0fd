"""The section on conformers of the report, and what a browser makes of it."""

import re
import shutil
import subprocess
from dataclasses import replace
from html import escape

import numpy as np
import pytest
from synthetic_run import edit_results, write_run_folder

from onestep_md.analysis.conformer_text import name_angle
from onestep_md.analysis.records.conformers import Conformer, InputGeometry
from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.report.page import write_report
from onestep_md.analysis.sdf import sdf_record
from onestep_md.estimators.estimate import Estimate

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def _conformer(name: str, region, energy: Estimate, angle: float) -> dict:
    flow = replace(region.one_step, name=name, reference="1")
    return Conformer(
        angles=(angle,),
        flow=flow,
        explored=replace(region.explored, name=name, reference="1"),
        energy=energy,
        entropy=Estimate(-1.25, 0.31),
        frame=3,
        u=-25.0,
    ).model_dump()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run folder with two conformers and their geometries."""
    tmp_path = tmp_path_factory.mktemp("run")
    folder = write_run_folder(tmp_path, n=3000, torsions=("C1-C2-C3-C4", "C2-C3-C4-O5"))
    assert "<h2>Conformers" not in write_report(folder).read_text()
    first, second = read_results(folder).regions[:2]
    given = InputGeometry(
        conformer="2",
        u=-21.8,
        strain=Estimate(-3.21, 0.12),
        thermal=30.0,
        free_energy=Estimate(1.1, 0.05),
    )
    conformers = {
        "wells": [{"torsion": "C1-C2-C3-C4", "wells": 3, "symmetry": 1}],
        "single": ["C2-C3-C4-O5"],
        "rows": [
            _conformer("1", first, Estimate(0.0, 0.0), -178.4),
            _conformer("2", second, Estimate(4.56, 0.22), 64.6),
        ],
        "count": 5,
        "others": {"value": 0.0321, "error": 0.0012},
        "entropy": {"value": 0.75, "error": 0.02},
        "input": given.model_dump(),
    }
    edit_results(folder, lambda r: r.update(conformers=conformers))
    records = [
        sdf_record(
            f"{k}", ("C", "O"), np.array([[0, 0, 0], [0.12, 0, 0]]), {(0, 1): 3}, (-1, 1), {}
        )
        for k in (1, 2)
    ]
    (folder / "conformers.sdf").write_text("".join(records))
    return folder


def test_conformers_have_a_section_with_their_geometries(folder):
    html = write_report(folder).read_text()
    section = html[html.index("<h2>Conformers") : html.index("Where the samples are")]
    for words in (
        "<th>conformer</th><th>C1-C2-C3-C4</th></tr>",
        "<tr><td>1</td><td>t −178</td></tr>",
        "<tr><td>2</td><td>g+ 65</td></tr>",
        "g: gauche, 30 to 90",
        "4.6 ± 0.2",
        "−1.2 ± 0.3",
        "Torsions with several wells: C1-C2-C3-C4 (3); with one: C2-C3-C4-O5.",
        "5 conformers have any weight; those that are not in the table hold 3.21 ± 0.12 %",
        "0.75 ± 0.02 k",
        "mean of conformer 2: −3.21 ± 0.12 kT",
        "would have −30.0 kT",
        "and the input is 26.79 ± 0.12 kT above it",
        "$3Dmol",
    ):
        assert words in section, words
    # regions that the user names come first; the geometries are data, and nothing is fetched
    assert html.index("Free energies of conformations") < html.index("<h2>Conformers")
    assert escape((folder / "conformers.sdf").read_text()) in section
    assert not re.search(r'<(script|img|link)[^>]*(src|href)="(?!data:)', html)


def test_forms_have_a_column_where_there_are_several(folder, tmp_path):
    html = write_report(folder).read_text()
    assert "<th>forms</th>" not in html and "and forms too" not in html
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    edit_results(copy, lambda r: r["conformers"]["rows"][1].update(forms=12))
    html = write_report(copy).read_text()
    assert "<th>forms</th>" in html and "vibrations and forms too" in html
    assert "<tr><td>1</td><td>1</td>" in html and "<tr><td>2</td><td>12</td>" in html
    edit_results(copy, lambda r: r["conformers"].update(symmetries=None))
    assert "too many symmetries to search" in write_report(copy).read_text()


def test_angles_are_named_by_their_wells():
    names = [name_angle(angle) for angle in (-179.6, 64.6, -64.6, 120.0, -91.0, 0.3, -29.0)]
    assert names == ["t -180", "g+ 65", "g- -65", "a+ 120", "a- -91", "c 0", "c -29"]
    assert name_angle(-179.6, 2) == "-180"


def _open_in_browser(page, profile, *options) -> str:
    """The page after its scripts, as a browser has it."""
    command = [BROWSER, "--headless", "--no-sandbox", f"--user-data-dir={profile}", *options]
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_without_webgl_shows_a_sentence_and_no_empty_box(folder, tmp_path):
    page = write_report(folder)
    dom = _open_in_browser(page, tmp_path, "--disable-gpu", "--disable-software-rasterizer")
    assert '<p id="flat" class="note">This browser draws nothing in space' in dom
    assert 'id="geometry"' not in dom and "Drag to turn" not in dom


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_with_webgl_shows_the_geometries(folder, tmp_path):
    page = write_report(folder)
    angle = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
    dom = _open_in_browser(page, tmp_path, *angle)
    assert '<p id="flat" class="note" hidden' in dom
    assert '<div id="space">' in dom and "<canvas" in dom
    buttons = re.findall(r"<button([^>]*)>(\d)</button>", dom)
    assert [number for _, number in buttons] == ["1", "2"]
    assert ["chosen" in attributes for attributes, _ in buttons] == [True, False]
