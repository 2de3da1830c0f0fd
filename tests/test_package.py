"""What is installed: one program with four commands, one version, types for type checkers."""

import importlib
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import onestep_md
from onestep_md.__main__ import app

ROOT = Path(__file__).parents[1]
PROGRAM = typer.main.get_command(app)


def test_one_program_has_the_four_commands():
    assert list(PROGRAM.commands) == ["run", "sample", "report", "free-energy", "benchmark"]


@pytest.mark.parametrize("name", ["run", "sample", "report"])
def test_a_command_takes_the_same_options_by_either_name(name):
    alone = typer.main.get_command(importlib.import_module(f"onestep_md.{name}").app)
    ours = PROGRAM.commands[name]
    assert ours.help == alone.help
    for mine, theirs in zip(ours.params, alone.params, strict=True):
        assert (mine.name, mine.opts, mine.default) == (theirs.name, theirs.opts, theirs.default)


def test_without_arguments_the_program_says_what_there_is():
    shown = CliRunner().invoke(app, []).output
    assert all(name in shown for name in PROGRAM.commands)


def test_the_console_script_is_this_program():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["onestep-md"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_version_stands_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and project["dynamic"] == ["version"]
    assert f"## [{onestep_md.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_type_checkers_may_read_the_annotations():
    assert resources.files("onestep_md").joinpath("py.typed").is_file()
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "py.typed" in tool["setuptools"]["package-data"]["onestep_md"]


def test_the_templates_of_the_report_are_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    report = ROOT / "onestep_md" / "analysis" / "report"
    patterns = settings["package-data"]["onestep_md.analysis.report"]
    installed = {path for pattern in patterns for path in report.glob(pattern)}
    assert installed >= set((report / "templates").iterdir()) != set()
    assert installed == {p for name in ("templates", "viewer") for p in (report / name).iterdir()}


def test_the_viewer_in_the_report_has_its_licence_beside_it():
    viewer = ROOT / "onestep_md" / "analysis" / "report" / "viewer"
    assert {path.name for path in viewer.iterdir()} == {"3Dmol-min.js", "3Dmol-LICENSE.txt"}
    assert "BSD-3-Clause" in (viewer / "3Dmol-LICENSE.txt").read_text()
    script = (viewer / "3Dmol-min.js").read_text("utf-8")
    assert "</script" not in script and "<!--" not in script  # it stands inside of a page
