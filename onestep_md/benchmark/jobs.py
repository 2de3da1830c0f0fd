"""Jobs in processes of their own that report row by row, and the table of their rows.

A job may be cut at any moment, run out of memory or crash; the rows it has sent are on disk.
"""

import dataclasses
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from onestep_md.files import write_json, write_text

_PAUSE = 0.1  # s between looks at a job


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: part of the benchmark.
        name: name of the measurement.
        text: result, or the reason why there is none.
        verdict: ok; failed without a result; wrong where numbers differ that must not.
        values: the result in numbers.
    """

    part: str
    name: str
    text: str
    verdict: Literal["ok", "failed", "wrong"] = "ok"
    values: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """Return the line of the table."""
        mark = "" if self.verdict == "ok" else f"{self.verdict.upper()}: "
        return f"{self.part:<10}  {self.name:<34}  {mark}{self.text}"


Send = Callable[[Row], None]
Work = Callable[[Send, float], None]  # gets the `time.time` at which it has to end


class Table:
    """Rows in `table.txt`, `table.json` and `log.txt`, which are complete after every row."""

    def __init__(self, folder: Path, heading: list[str]):
        """`folder` exists; `heading` is what the table begins with."""
        self.folder, self.heading = folder, heading
        self.rows: list[Row] = []
        self._started = time.monotonic()
        self._write()

    def add(self, row: Row) -> None:
        """Take a row, print it and write the files."""
        self.rows.append(row)
        print(row.line(), flush=True)
        self._write()
        with (self.folder / "log.txt").open("a") as stream:
            stream.write(f"{time.monotonic() - self._started:7.1f} s  {row.line()}\n")

    def _write(self) -> None:
        lines = [*self.heading, "", *(row.line() for row in self.rows)]
        write_text(self.folder / "table.txt", "\n".join(lines) + "\n")
        rows = [dataclasses.asdict(row) for row in self.rows]
        write_json(self.folder / "table.json", {"heading": self.heading, "rows": rows})


class Job:
    """One piece of work in a process of its own, whose output goes to a file.

    Args:
        part: part of the benchmark.
        name: name of the work in the table.
        work: picklable.
        deadline: `time.time` at which the process is killed if it has not ended.
        log: file of its output.
    """

    def __init__(self, part: str, name: str, work: Work, deadline: float, log: Path):
        self.part, self.name, self.deadline, self.log = part, name, deadline, log
        # forked from a process that has done nothing but import what all of them need
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["onestep_md.benchmark.gpu"])
        self._rows, there = context.Pipe(duplex=False)
        arguments = (part, name, work, there, deadline, log)
        self._process = context.Process(target=_perform, args=arguments, daemon=True)
        self._process.start()
        there.close()
        self._open, self._killed = True, False

    def poll(self) -> Iterator[Row]:
        """Yield the rows that have arrived; one more if the process failed or had to be killed."""
        while self._open and self._rows.poll():
            try:
                yield self._rows.recv()
            except EOFError:
                self._open = False
        if self._open and time.time() > self.deadline:
            self.kill()
            yield Row(self.part, self.name, "cut, its time was up", "failed")
        elif not self._open and self._process.is_alive():
            self._process.join(timeout=5.0)
        if not self._open and self._process.exitcode not in (0, None):
            text = f"the process ended with {self._process.exitcode}, see {self.log.name}"
            if not self._killed:
                self._killed = True
                yield Row(self.part, self.name, text, "failed")

    @property
    def ended(self) -> bool:
        """Whether no more rows will come."""
        return not self._open

    def kill(self) -> None:
        """Kill the process."""
        self._killed, self._open = True, False
        self._process.kill()
        self._process.join()

    def rows(self) -> Iterator[Row]:
        """Yield all rows until the process ends."""
        while not self.ended:
            yield from self.poll()
            time.sleep(_PAUSE)


def _perform(part: str, name: str, work: Work, there, deadline: float, log: Path) -> None:
    """Run the work; the main function of the process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("a") as stream:  # also what compiled code prints
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    try:
        work(there.send, deadline)
    except Exception as error:
        traceback.print_exc()
        there.send(failure(part, name, error))
    there.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def failure(part: str, name: str, error: Exception) -> Row:
    """Return the row of an error."""
    message = " ".join(str(error).split())[:300]
    return Row(part, name, f"{type(error).__name__}: {message}", "failed")
