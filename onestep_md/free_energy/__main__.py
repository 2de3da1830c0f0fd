"""Command line: free energies of other states of the same atoms, from a trained sampler.

    python -m onestep_md.free_energy runs/alanine ff03.yaml ff19sb.yaml
    python -m onestep_md.free_energy runs/alanine systems/alanine-states.yaml
    python -m onestep_md.free_energy runs/alanine --temperatures 250,275,325,350
    python -m onestep_md.free_energy runs/alanine \
        --set-state "vacuum:target.forcefield=[amber99sbildn.xml]"

No intermediate state is simulated: samples of the flow are reweighted to every state, and where
they hardly overlap with it, a bridge is annealed in the latent space of the flow.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from onestep_md.command_line import Address, Local, main
from onestep_md.errors import ConfigError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def free_energy(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    states: Annotated[
        list[Path] | None,
        typer.Argument(help="YAML files of other states; their section target counts."),
    ] = None,
    set_state: Annotated[
        list[str] | None,
        typer.Option(
            help="A state that differs in a key: NAME:target.KEY=VALUE. Give it again with the "
            "same name for more keys.",
        ),
    ] = None,
    temperatures: Annotated[
        str, typer.Option(help="Other temperatures of the run's own target, K: 250,275,325.")
    ] = "",
    n: Annotated[int, typer.Option(help="One-step samples.", min=1000)] = 10_000,
    bridge: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(help="Anneal a bridge where reweighting does not do, everywhere, nowhere."),
    ] = "auto",
    particles: Annotated[int, typer.Option(help="Particles of a bridge.", min=512)] = 2000,
    moves: Annotated[int, typer.Option(help="MALA moves at every temperature.", min=1)] = 4,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default RUN/free-energies.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other samples.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    address: Address = None,
    local: Local = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code that is in the run folder run.")
    ] = False,
) -> None:
    """Free energies of force fields, solvents and temperatures from one run, with errors."""
    from onestep_md.free_energy.compute import Settings
    from onestep_md.free_energy.run import compute_free_energies

    compute_free_energies(
        run,
        states or [],
        _group_by_state(set_state or []),
        _parse_numbers(temperatures),
        n,
        Settings(seed, bridge, particles, moves),
        out or run / "free-energies",
        resume,
        local,
        address,
        trust,
    )


def _group_by_state(options: list[str]) -> dict[str, list[str]]:
    """Group changes of keys by the name of their state."""
    changes: dict[str, list[str]] = {}
    for option in options:
        name, colon, change = option.partition(":")
        if not colon or not name.strip() or "=" not in change:
            raise ConfigError(
                f"--set-state {option} must be NAME:target.KEY=VALUE, such as "
                '"vacuum:target.forcefield=[amber99sbildn.xml]".'
            )
        changes.setdefault(name.strip(), []).append(change)
    return changes


def _parse_numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"--temperatures {text} must be numbers, such as 250,275,325") from error


if __name__ == "__main__":
    main(app)
