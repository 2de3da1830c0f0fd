"""The documentation keeps its word: links lead somewhere, commands parse, Python blocks run."""

import doctest
import importlib
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.main
from typer.testing import CliRunner

from onestep_md.__main__ import app
from onestep_md.analysis.trajectories import write_trajectory

ROOT = Path(__file__).parents[1]
FOLDERS = ("cluster", "onestep_md", "systems")
PAGES = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODEL = ROOT / "systems" / "models" / "alanine-cartesian"
PROGRAM = typer.main.get_command(app)


def anchors(page):
    """Names that a page's headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def blocks(page, language):
    """The text of a page's code blocks in a language."""
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands():
    """The arguments of every command of this package in a block."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.replace("python -m onestep_md.", "onestep-md ")
                if line.startswith("onestep-md "):
                    yield shlex.split(line, comments=True)[1:]


COMMANDS = list(commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_there_are_commands():
    assert {arguments[0] for arguments in COMMANDS} == set(PROGRAM.commands)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_are_as_they_are_printed(arguments):
    command = PROGRAM
    while hasattr(command, "commands") and not arguments[0].startswith("-"):
        command, *arguments = command.commands[arguments[0]], *arguments[1:]
    synopsis = " ".join(arguments)
    if {"--help", "--schema"} & set(arguments) or "[--" in synopsis:
        known = {name for option in command.params for name in option.opts} | {"--help"}
        assert set(re.findall(r"--[\w-]+", synopsis)) <= known
    else:
        command.make_context(command.name, arguments)
        shipped = [word for word in arguments if word.startswith("systems/")]
        assert all((ROOT / word).exists() for word in shipped)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, shipped):
    """A folder with runs/alanine in it: a finished model, and fifty conformations for samples."""
    place = tmp_path_factory.mktemp("runs")
    folder = place / "runs" / "alanine"
    shutil.copytree(MODEL, folder)
    generator = np.random.default_rng(1)
    x = shipped("alanine").positions + 0.005 * generator.normal(size=(50, 22, 3))
    u, log_q = generator.normal(size=(2, 50))
    pdb_text = (folder / "input.pdb").read_text()
    write_trajectory(folder, pdb_text, x, -u - log_q, u, log_q, generator)
    return place


@pytest.mark.parametrize("block", blocks(ROOT / "README.md", "python"))
def test_python_blocks_run(block, runs, monkeypatch):
    for name in re.findall(r"^import (\w+)", block, re.MULTILINE):
        pytest.importorskip(name)
    monkeypatch.chdir(runs)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("name", ["onestep_md.sampler"])
def test_examples_in_docstrings_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted >= 5 and found.failed == 0


def yaml_blocks():
    for block in blocks(ROOT / "README.md", "yaml"):
        yield pytest.param(block, marks=[pytest.mark.ligands] if "smiles" in block else [])


@pytest.mark.parametrize("block", yaml_blocks())
def test_yaml_blocks_are_complete_files(block, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where parameters of ligands are kept
    shutil.copy(ROOT / "systems" / "alanine.pdb", tmp_path / "mine.pdb")
    shutil.copy(ROOT / "systems" / "banana.py", tmp_path)
    (tmp_path / "mine.yaml").write_text(block)
    shown = CliRunner().invoke(app, ["run", str(tmp_path / "mine.yaml"), "--check", "--local"])
    assert shown.exit_code == 0, shown.output


def test_the_map_of_the_package_names_every_room():
    text = (ROOT / "onestep_md" / "README.md").read_text()
    files = {path.name for path in (ROOT / "onestep_md").glob("*.py")} - {"__init__.py"}
    folders = {f"{path.parent.name}/" for path in (ROOT / "onestep_md").glob("*/__init__.py")}
    assert [name for name in sorted(files | folders) if f"`{name}`" not in text] == []


def test_the_documentation_names_files_that_exist():
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "onestep_md" / "README.md"):
        for name in re.findall(r"`([\w/-]+\.(?:py|yaml))`", page.read_text()):
            places = (page.parent / name, ROOT / name, ROOT / "onestep_md" / name)
            if "/" in name and "NAME" not in name:
                assert any(place.exists() for place in places), f"{page.name}: {name}"
