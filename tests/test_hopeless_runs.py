"""Runs whose weights say nothing: each ends with its files, its report and a sentence on why.

A run that has ended is resumed with samples, or weights of held-out frames, that are made up.
"""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run_command

from onestep_md.analysis.records.folder import read_results
from onestep_md.benchmark.densities import collect, write_table
from onestep_md.benchmark.particles import evidence_lines, molecule_lines
from onestep_md.benchmark.reference import summary
from onestep_md.results import evidence as results

SYSTEMS = Path(__file__).parents[1] / "systems"
FILES = {"gmm9": SYSTEMS / "gmm9.yaml", "alanine-quick": SYSTEMS / "alanine-quick.yaml"}
SMALL = [
    "flow.layers=2", "flow.width=16", "train.steps=12", "train.batch=64",
    "train.regression_batch=32", "train.buffer=500", "sample.n=400", "sample.n_one_step=500",
    "sample.steps=[0, 1]",
]  # fmt: skip
EXPLORED = {
    "gmm9": ["exploration.particles=600", "exploration.moves=2"],
    "alanine-quick": [
        "exploration.method=dynamics", "exploration.duration=12", "exploration.equilibration=2",
    ],
}  # fmt: skip


def run(name: str, folder: Path, *more: str) -> str:
    settings = [part for option in SMALL + EXPLORED[name] for part in ("--set", option)]
    return run_command("run", FILES[name], "--out", folder, "--local", *more, *settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp("run") / name for name in FILES}
    for name, folder in folders.items():
        run(name, folder)
    return folders


def no_weight(log_w):
    return np.full_like(log_w, -np.inf)


def one_weight(log_w):
    return np.where(np.arange(len(log_w)) == 3, 0.0, -np.inf)


def scattered(log_w):
    return 6e9 * np.random.default_rng(0).standard_normal(len(log_w))


def some_nan(log_w):
    return np.where(np.arange(len(log_w)) % 9 == 0, np.nan, log_w)


def all_nan(log_w):
    return np.full_like(log_w, np.nan)


def unreachable(log_w):
    return np.where(np.arange(len(log_w)) % 9 == 0, np.inf, log_w)


def unchanged(log_w):
    return log_w


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize(
    ("of_samples", "of_frames", "sentences"),
    [
        (no_weight, unchanged, ("no estimate of log Z: none of the", "no estimate of BAR: none")),
        (one_weight, unchanged, ("no estimate of log Z: the", "worth 1.0 by their weights")),
        (scattered, unchanged, ("no estimate of ELBO: ", "contradict each other")),
        (unchanged, some_nan, ("have a weight that is not a number",)),
        (unchanged, all_nan, ("have a weight that is not a number",)),
        (unchanged, unreachable, ("EUBO is inf: the flow has no density at", "forward ESS is 0")),
    ],
)
def test_it_ends_and_says_why(
    finished, tmp_path, monkeypatch, name, of_samples, of_frames, sentences
):
    folder = tmp_path / name
    shutil.copytree(finished[name], folder)
    draw, weigh = results.draw_samples, results.log_weights_at

    def drawn(*arguments):
        samples = draw(*arguments)
        log_w = of_samples(samples.log_w)
        u = np.where(np.isfinite(log_w), samples.u, np.inf)
        return replace(samples, log_w=log_w, log_w_joint=log_w, u=u)

    monkeypatch.setattr(results, "draw_samples", drawn)
    monkeypatch.setattr(results, "log_weights_at", lambda *args: of_frames(weigh(*args)))
    said = run(name, folder, "--resume")
    for sentence in sentences:
        assert sentence in said
    found = read_results(folder)
    assert any(sentences[0] in text for text in found.warnings)
    html = (folder / "report.html").read_text()
    html = html[html.index("</style>") : html.index("<details>")]
    html = re.sub(r'src="[^"]*"', "", html)
    assert not re.search(r"\bnan\b|\de\+?0?9\b", html)
    assert "Nothing on this page sees" in html or "exact samples of the target" in html
    if of_samples is not unchanged:
        assert "Do not rely" in html or "Something is wrong" in html
        assert "no estimate" in html
    if of_samples is no_weight:
        assert np.isnan(np.load(folder / "weights.npy")).all()
    lines = evidence_lines(name, found)
    if name == "gmm9":
        lines += write_table(collect("gmm9", "buffer", [folder]), tmp_path / "table")
    else:
        lines += molecule_lines(name, found) + summary(folder, SYSTEMS / "reference/alanine.json")
    text = "\n".join(lines)
    assert "nan %" not in text and not re.search(r"\de\+?09", text)
