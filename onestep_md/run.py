"""Command line: train a one-step sampler of a molecule, draw weighted samples, report.

    python -m onestep_md.run systems/alanine.yaml

Exit codes: 0 done; 2 configuration; 3 target; 4 evaluators; 5 checkpoint; 6 run folder;
75 interrupted and resumable. Nothing heavy is imported before the configuration is valid.
"""

from pathlib import Path
from typing import Annotated

import typer

from onestep_md.command_line import Address, Local, main
from onestep_md.config import load_configs, schema_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _print_schema(wanted: bool) -> None:
    if wanted:
        print(schema_text())
        raise typer.Exit


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="YAML file that describes molecule and run.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name>.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the run in the run folder.")] = False,
    seed: Annotated[int | None, typer.Option(help="Replaces the seed of the file.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Replace one key: train.steps=200. Where that is a method or a kind, the file's "
            "keys of another one are left out.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Time of the whole run, without sample.refine: exploration.duration and "
            "train.steps are chosen by the speed of this machine.",
        ),
    ] = None,
    address: Address = None,
    local: Local = False,
    check: Annotated[
        bool, typer.Option(help="Validate, evaluate one energy, print the plan, and stop.")
    ] = False,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema", callback=_print_schema, is_eager=True, help="Print every key and its unit."
        ),
    ] = False,
) -> None:
    """Train a one-step Boltzmann sampler, draw weighted samples, and estimate free energies."""
    configs = load_configs(file, override or [], seed)
    folder = out or Path("runs") / file.stem

    from onestep_md import pipeline  # torch, ray and openmm only from here on

    if check:
        pipeline.check(configs, local, minutes)
    else:
        pipeline.run(configs, folder, resume, local, address, minutes)


if __name__ == "__main__":
    main(app)
