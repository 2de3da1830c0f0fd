"""Files that are there completely or not at all; every file that a run reads again is one."""

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
