"""Errors for files of results that cannot be understood."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from pydantic import ValidationError

from onestep_md.errors import RunFolderError

_RESULTS = "results.json"


@contextmanager
def reading(folder: Path, file: str = _RESULTS) -> Iterator[None]:
    """Turn what damaged files raise inside a `with` into a RunFolderError with what to do."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _unexpected(folder, file, f"{file}, {place}: {first['msg']}") from error
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise _unexpected(folder, file, repr(error)) from error


def _unexpected(folder: Path, file: str, why: str) -> RunFolderError:
    again = f"Delete {file}, or make it again."
    if file == _RESULTS:
        again = (
            "Make the results again with `python -m onestep_md.run FILE.yaml --out "
            f"{folder} --resume`."
        )
    return RunFolderError(f"{folder}: a file does not have the expected contents ({why}). {again}")
