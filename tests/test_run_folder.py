"""What a run folder says of the machine."""

import platform
from pathlib import Path

import pytest

from onestep_md.run_folder import machine


def without_cpuinfo(monkeypatch, text):
    def read(self, *_):
        if text is None:
            raise FileNotFoundError(self)
        return text

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize(
    ("cpuinfo", "processor", "expected"),
    [
        ("processor : 0\nmodel name\t: Fast CPU @ 3 GHz: v2\nmodel name\t: Other\n", "x86_64",
         "Fast CPU @ 3 GHz: v2"),
        ("processor : 0\nBogoMIPS : 50\n", "", "unknown processor"),
        (None, "arm", "arm"),
        (None, "", "unknown processor"),
    ],
)  # fmt: skip
def test_the_processor_has_a_name_on_every_system(monkeypatch, cpuinfo, processor, expected):
    monkeypatch.setattr(platform, "processor", lambda: processor)
    without_cpuinfo(monkeypatch, cpuinfo)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1")
    assert machine()["machine"].endswith(f", {expected}")
