"""Commands in this process, which has imported what takes most of the time of so small a run."""

import importlib
import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from onestep_md.command_line import main

# a run on a density that has every stage and learns next to nothing
TINY = [
    "exploration.particles=600",
    "exploration.moves=2",
    "flow.layers=2",
    "flow.width=16",
    "train.steps=12",
    "train.batch=64",
    "train.regression_batch=32",
    "train.buffer=500",
    "sample.n=400",
    "sample.steps=[0, 1]",
]


def run_command(module: str, *arguments: object, expect: int = 0) -> str:
    """Run `onestep_md.<module>`, check its exit code, and return all that it printed."""
    app, said = importlib.import_module(f"onestep_md.{module}").app, io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as stopped:
        main(lambda: app([str(part) for part in arguments]))
    assert (stopped.value.code or 0) == expect, said.getvalue()
    return said.getvalue()
