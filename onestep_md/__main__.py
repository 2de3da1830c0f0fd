"""Command line: all commands under one name.

    onestep-md run systems/alanine.yaml
    onestep-md sample runs/alanine --n 100000
    onestep-md report runs/alanine
    onestep-md free-energy runs/alanine --temperatures 280,320
    onestep-md benchmark densities

Each one is also a module of its own, `python -m onestep_md.run` and so on.
"""

import typer

from onestep_md import command_line
from onestep_md.benchmark.__main__ import app as benchmark
from onestep_md.free_energy.__main__ import free_energy
from onestep_md.report import report
from onestep_md.run import run
from onestep_md.sample import sample

app = typer.Typer(
    name="onestep-md",
    help="Boltzmann samples in one network evaluation, with exact weights and free energies.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
for command in (run, sample, report, free_energy):
    app.command()(command)
app.add_typer(benchmark, name="benchmark", help="Measure what the documentation claims.")


def main() -> None:
    """Run the command that the arguments name."""
    command_line.main(app)


if __name__ == "__main__":
    main()
