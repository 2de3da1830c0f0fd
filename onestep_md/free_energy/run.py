"""One comparison of states from beginning to end, and its files."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from onestep_md.analysis.figures import style
from onestep_md.analysis.figures.free_energies import free_energy_figure
from onestep_md.analysis.records.free_energies import FreeEnergies, write_free_energies
from onestep_md.config import Config
from onestep_md.errors import OneStepError, RunFolderError
from onestep_md.estimators.weights import stored_weights
from onestep_md.exploration.explored import EXPLORATION_FILE, Exploration
from onestep_md.files import replacing, write_json, write_text
from onestep_md.free_energy.along_temperature import write_thermodynamics
from onestep_md.free_energy.compute import (
    Comparison,
    Settings,
    compare_states,
    distinct_targets,
    make_evaluators,
)
from onestep_md.free_energy.states import State, read_states
from onestep_md.free_energy.table import free_energy_lines
from onestep_md.interruption import interruptible
from onestep_md.progress import Display
from onestep_md.sampler import draw_more, load
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.model import exploration_key
from onestep_md.sampling.target import Target
from onestep_md.stages import choose_platform, open_pool_on

_SETTINGS = "settings.json"


def compute_free_energies(
    run: Path,
    files: Sequence[Path],
    changes: Mapping[str, Sequence[str]],
    temperatures: Sequence[float],
    n: int,
    settings: Settings,
    folder: Path,
    resume: bool,
    local: bool,
    address: str | None,
    trust: bool,
) -> FreeEnergies:
    """Compare the states of a run with its own, print the table and write the files.

    Args:
        run: folder of a finished run.
        files, changes, temperatures: the states, see `read_states`.
        n: number of one-step samples.
        settings: settings of the samples and of bridges.
        folder: folder to write into.
        resume: go on with what is in the folder.
        local, address, trust: as in `onestep_md.load`.

    Raises:
        OneStepError: a state, the folder or an evaluator fails; the message says what to do.
    """
    goes_on = f"stopped; the same command with --resume goes on with what is in {folder}."
    with interruptible(goes_on), load(run, local, address, trust) as own:
        states = read_states(run, own.config, own.target, files, changes, temperatures)
        platforms = _prepare_folder(folder, resume, own.config, states, n, settings)
        display = Display(folder / "log.txt")
        targets = distinct_targets(states)
        pool = open_pool_on(own.config, targets, platforms, local, address)
        try:
            evaluators = make_evaluators(states, pool)
            samples = draw_more(own.config, own.parts, evaluators[0], n, 1, settings.seed)
            display.say(f"{n:,} one-step samples in {samples.seconds:.1f} s")
            compared = compare_states(
                states, own.parts, samples, evaluators, settings, folder, display
            )
        finally:
            display.stop()
            pool.close()
    _write(folder, states, samples, compared, settings.seed, display)
    exploration = _read_exploration(run, own.config, own.target, display)
    write_thermodynamics(
        folder, own.config, states, samples, compared, exploration, settings.seed, display
    )
    display.say(f"written: {folder}")
    display.close()
    return compared.results


def _read_exploration(
    run: Path, config: Config, target: Target, display: Display
) -> Exploration | None:
    """Read the exploration of the run, if it is still there; nothing else needs it."""
    path = run / EXPLORATION_FILE
    if not path.exists():
        return None
    try:
        return Exploration.load(path, exploration_key(config, target))
    except OneStepError as error:
        display.say(f"WARNING no comparison with the exploration: {error}")
        return None


def _prepare_folder(
    folder: Path,
    resume: bool,
    config: Config,
    states: Sequence[State],
    n: int,
    settings: Settings,
) -> list[str]:
    """Make the folder, or check that it holds the beginnings of the same comparison.

    Returns:
        Platform of every target. Timed again another might be chosen, with other last digits.
    """
    made = {
        "states": {s.name: [s.target.fingerprint.identity, s.scale] for s in states},
        "samples": n,
        **dataclasses.asdict(settings),
    }
    path = folder / _SETTINGS
    if resume and path.exists():
        kept = json.loads(path.read_text())
        platforms = kept.pop("platforms")
        if kept != json.loads(json.dumps(made)):
            raise RunFolderError(
                f"{folder} holds a comparison of other states or settings. Give those again, or "
                "another folder with --out."
            )
        return platforms
    if not resume and folder.exists() and any(folder.iterdir()):
        raise RunFolderError(
            f"{folder} is not empty. Continue it with --resume, or choose another folder with "
            "--out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [choose_platform(config, target) for target in distinct_targets(states)]
    write_json(path, made | {"platforms": platforms})
    return platforms


def _write(
    folder: Path,
    states: Sequence[State],
    samples: Samples,
    compared: Comparison,
    seed: int,
    display: Display,
) -> None:
    """Print the table; write numbers, table, figure, weights, and samples of flow and bridges."""
    lines = free_energy_lines(compared.results)
    for line in lines:
        display.say(line)
    write_free_energies(folder, compared.results)
    write_text(folder / "free_energies.txt", "\n".join(lines) + "\n")
    states[0].target.write_samples(folder / "samples", samples, seed)
    weights = {
        state.name: stored_weights(row) for state, row in zip(states, compared.log_w, strict=True)
    }
    with replacing(folder / "weights.npz") as aside:
        np.savez(aside, allow_pickle=False, **weights)
    for state in states:
        if state.name in compared.bridges:
            particles = compared.bridges[state.name].as_samples()
            state.target.write_samples(folder / state.name, particles, seed)
    with replacing(folder / "free_energies.png") as aside:
        free_energy_figure(compared.results, compared.log_w).savefig(aside, dpi=style.DPI)
