"""The drawing of a molecule in the report, and what stands there without RDKit."""

import re
import sys

import numpy as np
import pytest
from synthetic_run import ALANINE, edit_results, write_run_folder

from onestep_md.analysis.report.page import write_report
from onestep_md.analysis.sdf import sdf_record
from onestep_md.analysis.topology import read_topology
from onestep_md.coordinates.bond_orders import find_bond_orders

PHI, PSI = [4, 6, 8, 10], [6, 8, 10, 16]


@pytest.fixture
def folder(tmp_path):
    """Run folder that keeps the structure of alanine dipeptide."""
    folder = write_run_folder(tmp_path, n=500)
    topology = read_topology(ALANINE)
    elements = [atom.element.symbol for atom in topology.atoms]
    bonds = [(a.index, b.index) for a, b in topology.bonds]
    rows = [line for line in ALANINE.splitlines() if line[:6] in ("ATOM  ", "HETATM")]
    x = [[0.1 * float(line[k : k + 8]) for k in (30, 38, 46)] for line in rows]
    record = sdf_record("a", elements, np.array(x), *find_bond_orders(elements, bonds), {})
    (folder / "input.sdf").write_text(record)
    edit_results(folder, lambda r: r.update(torsion_atoms=[PHI, PSI]))
    return folder


def test_torsions_are_marked_by_their_names(folder):
    pytest.importorskip("rdkit")
    html = write_report(folder).read_text()
    svg = html[html.index("<svg") : html.index("</svg>")]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"φ", "ψ"} <= set(texts)
    # ten heavy atoms by their names, and no hydrogens
    assert sorted(set(texts) - {"φ", "ψ"}) == ["C", "CA (S)", "CB", "CH3", "N", "O"]
    assert len(texts) == 12
    places = {
        text: (float(x), float(y))
        for x, y, text in re.findall(r'<text x="([^"]*)" y="([^"]*)"[^>]*>([^<]*)', svg)
    }
    # beside bonds that share CA
    for name in "φψ":
        x, y = (a - b for a, b in zip(places[name], places["CA (S)"], strict=True))
        assert x**2 + y**2 < 90.0**2
    kept = (folder / "figures" / "structure.svg").read_text()
    assert kept.startswith("<svg") and kept in html


def test_names_are_text_and_no_markup(folder):
    pytest.importorskip("rdkit")
    evil = "<i>&"
    edit_results(folder, lambda r: r.update(torsions=[evil, "psi"]))
    html = write_report(folder).read_text()
    assert "&lt;i&gt;&amp;</text>" in html and evil not in html


def test_a_molecule_that_rdkit_refuses_is_not_drawn(folder):
    pytest.importorskip("rdkit")
    path = folder / "input.sdf"
    path.write_text(path.read_text().replace(" C   0", " Xx  0"))
    html = write_report(folder).read_text()
    assert "<svg" not in html and "<h2>The molecule" not in html


def test_without_rdkit_the_report_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    html = write_report(folder).read_text()
    assert "RDKit is not installed" in html and "pip install rdkit" in html
    assert "<svg" not in html and not (folder / "figures" / "structure.svg").exists()


def test_older_runs_have_no_drawing(tmp_path):
    html = write_report(write_run_folder(tmp_path, n=500)).read_text()
    assert "<svg" not in html and "RDKit" not in html
