"""Commands in this process, which has imported what takes most of the time of so small a run."""

import importlib
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from onestep_md.command_line import main
from onestep_md.training.checkpoint import latest_checkpoint

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


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    payload = torch.load(latest_checkpoint(folder / "checkpoints"), weights_only=True)
    return payload["state"]["flow"] | {"buffer": payload["state"]["buffer"]["s"]}


def assert_same_state(a: Path, b: Path) -> None:
    ours, theirs = weights_of(a), weights_of(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
