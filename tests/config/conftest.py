"""A writer of YAML files; `short_files` has the beginnings of such for the tests here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes run.yaml into an empty current folder, so that messages start with its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        Path("run.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path("run.yaml")

    return write
