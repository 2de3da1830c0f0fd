"""Files that are there completely or not at all; every file that a run reads again is one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to, renamed to `path` once all is on the disk.

    After an error `path` is what it was before. The place has the suffix of `path`, by which some
    writers choose the format.
    """
    aside = path.with_name(f".{path.stem}.writing{path.suffix}")
    try:
        yield aside
        with aside.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with replacing(path) as aside:
        aside.write_text(text)


def write_json(path: Path, value: object) -> None:
    """Write JSON completely or not at all; NaN and infinities become null."""
    write_text(path, json.dumps(_finite(value), indent=2) + "\n")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
