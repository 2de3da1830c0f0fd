"""Makes the synthetic run folders importable from the tests beside them, and shares one."""

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
    """Run folder of a density about which there is nothing to complain."""
    return write_density_folder(tmp_path_factory.mktemp("good_density"), steps=STEPS)


@pytest.fixture
def edited(good_density, tmp_path):
    """A function that copies the good run with `change(results)` applied, and reads it."""

    def make(change):
        for name in ("steps.npz", "config.yaml", "environment.json", "metrics.jsonl"):
            (tmp_path / name).write_bytes((good_density / name).read_bytes())
        results = json.loads((good_density / "results.json").read_text())
        change(results)
        (tmp_path / "results.json").write_text(json.dumps(results))
        return read_record(tmp_path)

    return make
