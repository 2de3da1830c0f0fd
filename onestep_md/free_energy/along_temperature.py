"""Thermodynamics of the run's own target at its other temperatures, and its files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from onestep_md.analysis.figures import style
from onestep_md.analysis.figures.thermodynamics import thermodynamics_figure
from onestep_md.analysis.records.thermodynamics import (
    AlongTemperature,
    AtTemperature,
    write_along_temperature,
)
from onestep_md.config import Config
from onestep_md.estimators.thermodynamics import (
    particle_ensemble,
    reweighted_ensemble,
)
from onestep_md.files import replacing, write_text
from onestep_md.free_energy.compute import Comparison
from onestep_md.free_energy.states import State
from onestep_md.free_energy.table import thermodynamics_lines
from onestep_md.progress import Display
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.target import Target
from onestep_md.targets.molecule import KB


def write_thermodynamics(
    folder: Path,
    config: Config,
    states: Sequence[State],
    samples: Samples,
    compared: Comparison,
    seed: int,
    display: Display,
) -> None:
    """Print and write the quantities along temperature, if there is another than the run's own.

    Args:
        folder: folder to write into.
        config: configuration of the run.
        states: all states, the run's own first.
        samples: one-step samples of the run.
        compared: comparison of the states.
        seed: seed of the bootstrap.
        display: shows the table.
    """
    own = states[0]
    if own.temperature is None or not any(s.target is own.target for s in states[1:]):
        return
    found = compute_thermodynamics(config, own.target, states, samples, compared, seed)
    lines = thermodynamics_lines(found)
    for line in ["", *lines]:
        display.say(line)
    write_along_temperature(folder, found)
    write_text(folder / "thermodynamics.txt", "\n".join(lines) + "\n")
    with replacing(folder / "thermodynamics.png") as aside:
        thermodynamics_figure(found).savefig(aside, dpi=style.DPI)


def compute_thermodynamics(
    config: Config,
    target: Target,
    states: Sequence[State],
    samples: Samples,
    compared: Comparison,
    seed: int,
) -> AlongTemperature:
    """Compute the quantities of the run's own target at all its temperatures.

    Samples are reweighted; where log Z is from a bridge, its particles give the averages.
    """
    regions, inside = tuple(config.regions), target.region_membership(config, samples.x)
    potential = samples.u * KB * _kelvin(states[0])
    ensembles = []
    seen = set()
    for state, found in zip(states, compared.results.states, strict=True):
        if state.target is not target or state.temperature in seen:
            continue
        kelvin = _kelvin(state)
        seen.add(kelvin)
        if found.used == "bridge":
            particles = compared.bridges[state.name]
            ensemble = particle_ensemble(
                found.log_z,
                particles.u * KB * kelvin,
                particles.island,
                kelvin,
                KB,
                regions,
                target.region_membership(config, particles.x),
                seed,
            )
        else:
            ensemble = reweighted_ensemble(
                samples.log_q, potential, kelvin, KB, regions, inside, seed
            )
        if found.used is None:
            ensemble = dataclasses.replace(
                ensemble, reasons=(found.log_z.reason,) * len(ensemble.names)
            )
        ensembles.append((kelvin, found, ensemble))
    own = ensembles[0][2]
    rows = []
    for kelvin, found, ensemble in sorted(ensembles, key=lambda row: row[0]):
        molecule, *inner = ensemble.relative(own)
        rows.append(
            AtTemperature(
                temperature=kelvin,
                used=found.used,
                log_z=found.log_z,
                molecule=molecule,
                regions=tuple(inner),
            )
        )
    return AlongTemperature(
        run=target.fingerprint.identity,
        samples=len(samples.u),
        own=_kelvin(states[0]),
        absolute=own.absolute()[0],
        temperatures=tuple(rows),
    )


def _kelvin(state: State) -> float:
    assert state.temperature is not None  # every state of a molecule has one
    return state.temperature
