"""A run folder on a density that tests share; modules of synthetic runs become importable."""

import json
import sys
from pathlib import Path

import pytest

from onestep_md.analysis.records.folder import read_record

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_density import write_density_folder  # noqa: E402

STEPS = (0, 1, 4)


@pytest.fixture(scope="session")
def good_density(tmp_path_factory):
    """Run folder on a density, without any warning."""
    return write_density_folder(tmp_path_factory.mktemp("good_density"), steps=STEPS)


@pytest.fixture
def edited(good_density, tmp_path):
    """Copy the good run, apply `change(results)` to the copy, and read it."""

    def make(change):
        for name in ("steps.npz", "config.yaml", "environment.json", "metrics.jsonl"):
            (tmp_path / name).write_bytes((good_density / name).read_bytes())
        results = json.loads((good_density / "results.json").read_text())
        change(results)
        (tmp_path / "results.json").write_text(json.dumps(results))
        return read_record(tmp_path)

    return make
