"""Thermodynamics of the run's own target at its other temperatures, and its files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from onestep_md.analysis.figures import style
from onestep_md.analysis.figures.thermodynamics import thermodynamics_figure
from onestep_md.analysis.records.free_energies import StateResult
from onestep_md.analysis.records.thermodynamics import (
    AlongTemperature,
    AtTemperature,
    BesideExchange,
    write_along_temperature,
)
from onestep_md.config import Config
from onestep_md.estimators.ladder import average_ladder
from onestep_md.estimators.thermodynamics import (
    Ensemble,
    particle_ensemble,
    reweighted_ensemble,
)
from onestep_md.exploration.explored import Exploration
from onestep_md.files import replacing, write_text
from onestep_md.free_energy.compute import Comparison
from onestep_md.free_energy.states import OWN, State
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
    exploration: Exploration | None,
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
        exploration: exploration of the run, whose energies stand beside; None where there is none.
        seed: seed of the bootstrap.
        display: shows the table.
    """
    own = states[0]
    if own.temperature is None or not any(s.target is own.target for s in states[1:]):
        return
    found = compute_thermodynamics(
        config, own.target, states, samples, compared, exploration, seed
    )
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
    exploration: Exploration | None,
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
        exchange=tuple(_beside_exchange(exploration, _kelvin(states[0]), ensembles, compared)),
    )


def _beside_exchange(
    exploration: Exploration | None,
    own: float,
    ensembles: Sequence[tuple[float, StateResult, Ensemble]],
    compared: Comparison,
) -> list[BesideExchange]:
    """Put the molecule beside the replica exchange of the run, where that has the temperature."""
    if exploration is None or not exploration.ladder_u.size:
        return []
    by_kelvin = {kelvin: (state, ensemble) for kelvin, state, ensemble in ensembles[1:]}
    averages = average_ladder(
        exploration.ladder_u, exploration.temperatures, own, list(by_kelvin), KB
    )
    rows = []
    for average in averages:
        state, ensemble = by_kelvin[average.temperature]
        difference = compared.results.difference(state.name, OWN)  # F_own - F = log Z - log Z_own
        molecule = ensemble.absolute()[0]
        rows.append(
            BesideExchange(
                temperature=average.temperature,
                delta_log_z=(difference, average.delta_log_z),
                energy=(molecule.energy, average.energy),
                heat_capacity=(molecule.heat_capacity, average.heat_capacity),
            )
        )
    return rows


def _kelvin(state: State) -> float:
    assert state.temperature is not None  # every state of a molecule has one
    return state.temperature
