"""Command line: draw more weighted samples from a finished run.

    python -m onestep_md.sample runs/alanine --n 100000 --steps 1
    python -m onestep_md.sample runs/alanine --refine

With --refine the samples are one-step samples annealed to the target: of equal weight, nearly
independent, and more expensive. What they cost and give is printed beside one-step samples.
"""

from pathlib import Path
from typing import Annotated

import typer

from onestep_md.command_line import Address, Local, main
from onestep_md.config.defaults import BRIDGE_MOVES, FEWEST_PARTICLES, FEWEST_SAMPLES
from onestep_md.errors import ConfigError
from onestep_md.interruption import interruptible

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    n: Annotated[int, typer.Option(help="Number of samples.", min=FEWEST_SAMPLES)] = 10_000,
    steps: Annotated[int, typer.Option(help="Network evaluations per sample, K.", min=0)] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write; default RUN/samples-K<steps>-<n>, or RUN/refined."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Another seed gives other samples, the same one the same; none gives those that "
            "the run itself drew.",
            min=0,
        ),
    ] = 0,
    refine: Annotated[
        bool, typer.Option("--refine", help="Anneal to the target; --n are set beside.")
    ] = False,
    particles: Annotated[int, typer.Option(help="Refined samples.", min=FEWEST_PARTICLES)] = 2000,
    moves: Annotated[
        int, typer.Option(help="MALA moves of --refine at every temperature.", min=1)
    ] = BRIDGE_MOVES,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a --refine that was interrupted.")
    ] = False,
    address: Address = None,
    local: Local = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code that is in the run folder run.")
    ] = False,
) -> None:
    """Draw samples, weigh them exactly, print their evidence, and write trajectory and weights."""
    if refine and steps != 1:
        raise ConfigError("--refine starts from one-step samples; leave out --steps.")
    if resume and not refine:
        raise ConfigError("--resume continues an interrupted --refine; give both, or neither.")
    from onestep_md.sampler import load

    with load(run, local, address, trust) as sampler:
        if refine:
            folder = out or run / "refined"
            with interruptible(f"stopped; continue with --resume, what is done is in {folder}"):
                sampler.write_refined(folder, particles, moves, n, seed, resume)
            print(f"written: {folder}")
            return
        for line in sampler.write(out or run / f"samples-K{steps}-{n}", n, steps, seed):
            print(line)


if __name__ == "__main__":
    main(app)
