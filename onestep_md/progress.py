"""What a user sees while a run works: a live display on a terminal, plain lines elsewhere.

Every line also goes to `log.txt` of the run folder.
"""

import time
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PLAIN_INTERVAL = 30.0  # s between progress lines where there is no terminal


class Display:
    """Messages and one progress bar at a time."""

    def __init__(self, log: Path | None = None):
        self.console = Console(highlight=False, soft_wrap=True)
        self._log: TextIO | None = log.open("a") if log else None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = 0.0

    def say(self, text: str = "") -> None:
        """Print a message and log it."""
        self.console.print(text, markup=False)
        self._write(text)

    def _write(self, text: str) -> None:
        if self._log:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            self._log.write("".join(f"{stamp}  {line}\n" for line in text.splitlines()))
            self._log.flush()

    def start(self, name: str) -> None:
        """Begin a progress bar."""
        self._last_line = time.monotonic()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn(f"[bold]{name}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:3.0f}%"),
                TextColumn("{task.fields[message]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(name, total=1.0, message="")
            self._bar.start()

    def advance(self, fraction: float, message: str) -> None:
        """Show how far the current work is; a plain line every half minute without a terminal."""
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=fraction, message=message)
        if now - self._last_line > _PLAIN_INTERVAL:
            self._last_line = now
            line = f"{100 * fraction:3.0f}%  {message}"
            self._write(line)
            if self._bar is None:
                self.console.print(line, markup=False)

    def stop(self) -> None:
        """End the progress bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        """Close the log."""
        self.stop()
        if self._log:
            self._log.close()
            self._log = None
