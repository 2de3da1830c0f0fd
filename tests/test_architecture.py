"""Imports only point downwards, and each heavy dependency stays in its own folder.

Read from the source by `ast`, imports inside functions included.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "onestep_md"
COMMANDS = {
    "__main__.py", "run.py", "sample.py", "report.py", "command_line.py", "benchmark",
    "free_energy",
    "progress.py",
}  # fmt: skip
# dependency -> folders and top-level files that may import it
HOMES = {
    "openmm": {"targets", "benchmark"},
    "rdkit": {"analysis", "targets"},  # drawings; reading of ligands
    "openff": {"targets"},
    "ray": {"distributed", "benchmark"},
    "torch.distributed": {"distributed"},
    "mdtraj": {"analysis"},
    "tables": {"analysis"},
    "matplotlib": {"analysis", "benchmark"},
    "jinja2": {"analysis"},
    "markupsafe": {"analysis"},
    "pymbar": {"estimators"},
    "arviz_stats": {"estimators"},
    "scipy": {"analysis", "estimators", "coordinates", "exploration", "targets"},
    "networkx": {"coordinates", "targets"},
    "e3nn": {"flow"},
    "pydantic": {"analysis", "config"},
    "ruamel": {"config"},
    "typer": COMMANDS,
    "rich": COMMANDS,
}
# folder -> what else of this package it may import; everything may import errors
BELOW = {
    "config": set(),
    "targets": {"config"},
    "coordinates": {"targets"},
    "flow": {"coordinates"},
    "training": {"config", "coordinates", "distributed", "exploration", "flow"},
    "estimators": set(),
    "analysis": {"estimators"},
    "distributed": {"targets"},
    "exploration": {
        "config", "coordinates", "distributed", "estimators", "progress", "targets",
    },
    "sampling": {
        "analysis", "config", "coordinates", "distributed", "estimators", "exploration", "flow",
        "progress", "targets", "training",
    },
}  # fmt: skip
HEAVY = {
    "torch", "ray", "openmm", "mdtraj", "matplotlib", "scipy", "pymbar", "networkx", "rdkit",
}  # fmt: skip


def imported_modules(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def violations(path: Path) -> list[str]:
    """Imports of one file that the rules above forbid."""
    home = path.relative_to(PACKAGE).parts[0]
    found = []
    for name in imported_modules(path):
        top, *rest = name.split(".")
        if any(home not in HOMES[key] for key in HOMES if f"{name}.".startswith(f"{key}.")):
            found.append(name)
        if top == "onestep_md" and rest and home in BELOW:
            if rest[0] not in BELOW[home] | {home, "errors", "files", "interruption"}:
                found.append(name)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_follow_the_rules(path):
    assert violations(path) == []


def test_a_forbidden_import_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "flow").mkdir()
    bad = tmp_path / "flow" / "bad.py"
    bad.write_text(
        "def f():\n    import ray.train\n    from onestep_md.targets import molecule\n"
        "    from torch import distributed\n"
    )
    expected = ["onestep_md.targets.molecule", "ray.train", "torch.distributed"]
    assert sorted(violations(bad)) == expected


def floors() -> list[str]:
    """Folders and top-level files of the package from the bottom up.

    Raises:
        graphlib.CycleError: two of them import each other.
    """
    below = {}
    for path in PACKAGE.rglob("*.py"):
        home = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        names = (name.split(".") for name in imported_modules(path))
        used = {rest[0] for top, *rest in names if top == "onestep_md" and rest}
        below.setdefault(home, set()).update(used - {home})
    return list(graphlib.TopologicalSorter(below).static_order())


def test_no_two_folders_or_top_level_files_import_each_other():
    order = floors()
    story = ["targets", "flow", "sampling", "kinds", "pipeline", "run"]
    assert order.index("flow") < order.index("training") < order.index("pipeline")
    assert sorted(story, key=order.index) == story


def test_the_top_level_holds_the_story_alone():
    assert len(list(PACKAGE.glob("*.py"))) <= 16


def heavy_after(code: str) -> str:
    """Heavy modules that a fresh interpreter holds after running some code."""
    code += f"\nimport sys\nprint('heavy:', sorted({HEAVY!r} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


COMMAND_LINE = """
import runpy, sys
sys.argv[1:] = {arguments!r}
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == {code}, end.code
"""


def test_configuration_imports_nothing_heavy():
    code = "import onestep_md.config\nonestep_md.config.load_config('systems/alanine.yaml')"
    assert heavy_after(code) == "heavy: []"


@pytest.mark.parametrize(
    ("module", "arguments", "code"),
    [
        ("onestep_md.run", ["--help"], 0),
        ("onestep_md.run", ["--schema"], 0),
        ("onestep_md.run", ["absent.yaml"], 2),
        ("onestep_md", ["--help"], 0),
        ("onestep_md", ["benchmark", "--help"], 0),
    ],
)
def test_help_and_configuration_errors_import_nothing_heavy(module, arguments, code):
    line = COMMAND_LINE.format(module=module, arguments=arguments, code=code)
    assert heavy_after(line) == "heavy: []"


def test_one_learner_imports_neither_ray_nor_process_groups():
    code = (
        "import onestep_md.pipeline, sys\n"
        "assert not {'ray', 'onestep_md.distributed.group'} & set(sys.modules)"
    )
    assert "torch" in heavy_after(code)


def test_the_package_runs_without_the_extra_for_ligands():
    code = "import onestep_md, onestep_md.pipeline, sys\nassert 'rdkit' not in sys.modules"
    assert "openmm" in heavy_after(code)
