"""Command line: draw more weighted samples from a finished run.

python -m onestep_md.sample runs/alanine --n 100000 --steps 1
"""

from pathlib import Path
from typing import Annotated

import typer

from onestep_md.command_line import Address, Local, main
from onestep_md.config.defaults import FEWEST_SAMPLES

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    n: Annotated[int, typer.Option(help="Number of samples.", min=FEWEST_SAMPLES)] = 10_000,
    steps: Annotated[int, typer.Option(help="Network evaluations per sample, K.", min=0)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default RUN/samples-K<steps>-<n>.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Another seed gives other samples, the same one the same; none gives those that "
            "the run itself drew.",
            min=0,
        ),
    ] = 0,
    address: Address = None,
    local: Local = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code that is in the run folder run.")
    ] = False,
) -> None:
    """Draw samples, weigh them exactly, print their evidence, and write trajectory and weights."""
    from onestep_md.sampler import load

    with load(run, local, address, trust) as sampler:
        for line in sampler.write(out or run / f"samples-K{steps}-{n}", n, steps, seed):
            print(line)


if __name__ == "__main__":
    main(app)
