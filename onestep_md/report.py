"""Command line: write the report of a finished run again.

python -m onestep_md.report runs/alanine
"""

from pathlib import Path
from typing import Annotated

import typer

from onestep_md.command_line import main

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Redraw all figures and report.html from the files of the run folder."""
    from onestep_md.analysis.report.page import write_report

    print(write_report(run))


if __name__ == "__main__":
    main(app)
