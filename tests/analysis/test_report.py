"""The report of made-up runs: good, bad, several residues, no peptide."""

import re

import numpy as np
import pytest
from matplotlib.text import Text
from synthetic_run import edit_results, write_run_folder

from onestep_md.analysis.figures import conformations, evidence
from onestep_md.analysis.numbers import DASH
from onestep_md.analysis.records.folder import read_record, read_results
from onestep_md.analysis.records.refined import Refined, RefinedRegion, write_refined
from onestep_md.analysis.records.samples import write_histograms
from onestep_md.analysis.report.page import write_report
from onestep_md.analysis.report.verdict import judge
from onestep_md.estimators.estimate import Estimate


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("good"), n=3000)


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("bad"), n=3000, trouble=True)


def test_good_run(good):
    path = write_report(good)
    html = path.read_text()
    assert path == good / "report.html"
    assert "can be used" in html and 'class="warning"' not in html
    for words in ("Ace-Ala-Nme", "C6H12N2O2", "Ramachandran", "1.62 ± 0.06", "3f1b6a0c9d27"):
        assert words in html
    figures = {p.name for p in (good / "figures").iterdir()}
    assert figures == {
        f"{name}.png"
        for name in ("ramachandran", "torsions", "energies", "steps", "weights", "training")
    }
    # self-contained: pictures are embedded, nothing is fetched
    assert len(re.findall(r'src="data:image/png;base64,', html)) == 6
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import', html)


def test_refined_samples_have_a_section(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    assert "Refined samples" not in write_report(folder).read_text()
    results = read_results(folder)
    pairs = [(region.one_step, region.explored) for region in results.regions]
    (folder / "refined").mkdir()
    refined = Refined(
        one_step=results.headline,
        log_z=Estimate(-32.01, 0.02),
        particles=2000,
        moves=4,
        seed=1,
        founders=1234.0,
        inefficiency=1.5,
        temperatures=3,
        acceptance=0.6,
        evaluations=26000,
        seconds=30.0,
        regions=tuple(RefinedRegion(one_step=one, refined=two) for one, two in pairs),
    )
    write_refined(folder / "refined", refined)
    html = write_report(folder).read_text()
    for words in ("Refined samples", "−32.01 ± 0.02", "1,234", "26,000 energies", "30 s"):
        assert words in html
    seconds = results.headline.seconds_per_1000
    worth = results.headline.ess * 30_000.0 / seconds
    assert f"{worth:,.0f}" in html


def test_distances_of_newer_runs_are_shown(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    assert "T-W2" not in write_report(folder).read_text()
    row = {"torsion_w2": 0.1234, "energy_w2": "NaN", "coupled": 2000}
    edit_results(folder, lambda r: r.update(distances={"raw": row, "dynamics": row}))
    edges, bars = np.linspace(0.2, 1.0, 81), np.stack([np.ones(80), np.full(80, 0.1)])
    kept = {f"distance_{kind}": bars for kind in ("raw", "reweighted", "explored")}
    write_histograms(folder, {"distance_edges": edges} | kept)
    html = write_report(folder).read_text()
    assert (folder / "figures" / "distances.png").exists()
    assert "more than three bonds apart" in html
    dash = f'<span class="none">{DASH}</span>'
    assert f"<td>raw one-step</td><td>0.123</td><td>{dash}</td>" in html
    assert "2,000 samples to as many held-out ones of the dynamics" in html


def test_bad_run_says_so_beside_the_numbers(bad):
    html = write_report(bad).read_text()
    assert "Do not rely" in html and "Weights unreliable" in html
    spoiled = html[html.index("Free energies of conf") : html.index("Where the samples are")]
    assert 'class="warning"' in spoiled and "C7ax: reweighted and dynamics differ" in spoiled
    assert "2.87 ± ?" in spoiled  # an unknown error is shown as unknown
    evidence = html[html.index("<h2>Evidence") : html.index("<h2>Training")]
    assert 'class="warning"' in evidence and 'class="bad">0.91' in evidence


def _region(folder, **changes):
    edit_results(folder, lambda r: r["regions"][-1]["flow"]["1"].update(changes))


def test_a_region_that_hangs_on_few_samples_is_marked(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    _region(folder, n_samples_inside=71, effective=4.4, khat=0.88)
    html, verdict = write_report(folder).read_text(), judge(read_results(folder))
    assert verdict.level == "care"
    assert "Fewer than 30 effective samples are in C7ax" in " ".join(verdict.sentences)
    assert "C7ax hangs on 4.4 effective samples, of 71 inside" in " ".join(
        verdict.free_energy_warnings
    )
    assert '<td class="bad">4.4<small>too few</small></td>' in html
    _region(folder, effective=44.0)
    verdict = judge(read_results(folder))
    assert verdict.level == "care" and "Fewer than 30" not in " ".join(verdict.sentences)
    assert "k-hat 0.88 of the samples inside" in " ".join(verdict.free_energy_warnings)


def test_a_forward_ess_far_below_that_of_the_flow_is_bad(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    verdict = judge(read_results(folder))
    assert verdict.sentences[-1].startswith("Nothing on this page sees what neither")
    blind = {"forward_ess": {"value": 1e-22, "error": 1e-22}, "above": 38, "held_out": 2000}
    edit_results(folder, lambda r: r["evidence"][1].update(blind))
    html, verdict = write_report(folder).read_text(), judge(read_results(folder))
    assert verdict.level == "bad"
    assert "is 1e-20 % instead of" in " ".join(verdict.sentences)
    assert "where 38 of 2,000 of them are" in html and '<td class="bad">1e-20</td>' in html
    near = {"forward_ess": {"value": 0.62, "error": 0.1}}
    edit_results(folder, lambda r: r["evidence"][1].update(near))
    verdict = judge(read_results(folder))
    assert verdict.level == "good" and any("the ESS is 62" in s for s in verdict.sentences)


def test_harmless_tails_and_short_errors_are_shown(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    light = {"khat": 2.31, "harmless": True, "heaviest": 2e-4, "ess_sets": [0.61, 0.424]}
    edit_results(folder, lambda r: r["evidence"][1].update(light))
    html, verdict = write_report(folder).read_text(), judge(read_results(folder))
    assert verdict.level == "good" and 'class="bad">2.31' not in html
    assert "the heaviest sample holds 0.02 % of their sum" in " ".join(verdict.sentences)
    assert "42.4 to 61 %" in html and re.search(r"\d\*</td>", html)
    assert "k-hat above 0.25" in html


def test_what_is_no_estimate_is_written_so(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    none = {"value": "NaN", "error": "NaN", "reason": "why"}
    beyond = none | {"value": "Infinity"}
    changes = {"bar": none, "elbo": none, "eubo": beyond}
    edit_results(folder, lambda r: r["evidence"][1].update(changes))
    html = write_report(folder).read_text()
    assert html.count("<td>no estimate</td>") == 2 and "<td>∞</td>" in html


def test_low_exchange_and_run_warnings_are_shown(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    notes = ["a <b> note of `code`"]
    edit_results(folder, lambda r: r.update(acceptance=[0.4, 0.02], run_warnings=notes))
    html = write_report(folder).read_text()
    assert "accepts only 2 %" in html and "a &lt;b&gt; note" in html
    assert "note of <code>code</code>" in html


def test_what_others_wrote_is_text_and_no_markup(tmp_path):
    folder = write_run_folder(tmp_path, n=500)
    evil = "<script>alert(1)</script>"
    (folder / "config.yaml").write_text(f"target:\n  pdb: '<i>.pdb'\nnote: {evil}\n")
    edit_results(folder, lambda r: r["fingerprint"].update(forcefield=[evil]))
    edit_results(folder, lambda r: r["isomers"].update(held=[f"`{evil}`"]))
    edit_results(folder, lambda r: r["regions"][1]["flow"]["1"].update(name=evil))
    html = write_report(folder).read_text()
    assert "<script" not in html and "<i>" not in html and html.count("&lt;script&gt;") >= 4
    assert "<h1>&lt;i&gt;</h1>" in html


def _words(html):
    """What the page says, without pictures, the configuration and the markup."""
    html = re.sub(r'src="data:[^"]*"|<style>.*?</style>', "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", html[: html.index("<details>")]).split())


def _texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_runs_of_dynamics_are_called_so(tmp_path):
    folder = write_run_folder(tmp_path, n=3000, method="dynamics")
    words = _words(write_report(folder).read_text())
    assert "anneal" not in words.lower()
    for text in (
        "dynamics (exploration)",
        "BAR against the dynamics",
        "held-out dynamics frames",
        "for the dynamics in 20 contiguous blocks",
        "block bootstrap over the correlated frames",
        "Replica exchange accepted, coldest pair first: 41 %, 43 %",
    ):
        assert text in words
    results = read_results(folder)
    assert results.explored_by == "dynamics" and not results.annealed


@pytest.mark.parametrize("trouble", [False, True])
def test_annealed_runs_mention_no_dynamics(tmp_path, trouble):
    folder = write_run_folder(tmp_path, n=3000, trouble=trouble, method="annealing")
    if trouble:
        acceptance = [0.5, 0.03, 0.6]
        edit_results(folder, lambda r: r.update(acceptance=acceptance))
    words = _words(write_report(folder).read_text())
    rest = words.replace("without dynamics", "")
    for word in ("dynamics", "replica", "exchange", "frames", "coldest", "trajector"):
        assert word not in rest.lower(), word
    for text in (
        "annealing (exploration)",
        "BAR against the annealing",
        "held-out samples of the annealing",
        "block bootstrap on the right, over samples of the annealing that share ancestors",
        "for the annealing in 20 contiguous blocks",
        "should lie on the annealing",
    ):
        assert text in words
    for text in (
        ("annealing with more particles tells", "reweighted and annealing differ by",
         "MALA accepts only 3 % at one step of the annealing", "in 3 steps of b")
        if trouble
        else ("those of the annealing agree within", "Annealing in 7 steps of b",
              "59 % on average, 51 % at the least, 59 % at b = 1")
    ):  # fmt: skip
        assert text in words, text


def test_figures_of_annealed_runs_mention_no_dynamics(tmp_path):
    run = read_record(write_run_folder(tmp_path, n=3000, method="annealing"))
    steps = evidence.steps_figure(run)
    assert "BAR with annealing" in _texts(steps)
    for draw in (
        conformations.surface_figure,
        conformations.profile_figure,
        conformations.energy_figure,
    ):
        texts = _texts(draw(run))
        assert any(text.startswith("annealing") for text in texts)
        assert not any("dynamics" in text for text in texts)


def test_one_row_per_residue_and_no_regions(tmp_path):
    folder = write_run_folder(tmp_path, n=3000, pairs=2)
    edit_results(folder, lambda r: r.update(regions=[]))
    html = write_report(folder).read_text()
    assert "Ramachandran" in html and "Free energies of conformations" not in html


def test_molecule_without_torsions(tmp_path):
    folder = write_run_folder(tmp_path, n=3000, pairs=2, torsions=())
    distances = {"raw": {"torsion_w2": "NaN", "energy_w2": 0.1, "coupled": 2000}}
    edit_results(folder, lambda r: r.update(distances=distances, regions=[], isomers=None))
    text = write_report(folder).read_text()
    assert "orsion" not in text and "T-W2" not in text and "E-W2" in text
    assert not (folder / "figures" / "torsions.png").exists()


@pytest.mark.parametrize("torsions", [("chi", "gamma", "delta"), ("chi",)])
def test_molecule_without_backbone(tmp_path, torsions):
    folder = write_run_folder(tmp_path, n=3000, pairs=2, torsions=torsions)
    if len(torsions) == 1:
        edit_results(folder, lambda r: r.update(regions=[]))
    html = write_report(folder).read_text()
    assert "Ramachandran" not in html
    assert (folder / "figures" / "surface.png").exists() == (len(torsions) > 1)
    assert (folder / "figures" / "torsions.png").exists()


def test_missing_optional_files(tmp_path):
    folder = write_run_folder(tmp_path, n=3000)
    for name in ("metrics.jsonl", "environment.json", "config.yaml"):
        (folder / name).unlink()
    html = write_report(folder).read_text()
    assert "<h2>Training" not in html and folder.name in html
