"""States of a molecule: its own, those of other files and keys, and other temperatures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.config import (
    IN_RUN_FOLDER,
    Config,
    load_config,
    load_configs,
    load_states,
    targets,
)
from onestep_md.config.forms import FORMS, KEYS, find_form
from onestep_md.distributed.pool import Energies
from onestep_md.errors import ConfigError, TargetError
from onestep_md.kinds import load_target
from onestep_md.sampling.target import Target

OWN = "own"  # name of the state that the run was trained for


@dataclass(frozen=True)
class State:
    """One state: a target and a scale of its energies.

    Attributes:
        name: name in tables and files.
        target: target that gives the energies.
        scale: factor of u of the target; T_run / T for another temperature.
        temperature: temperature in K; None for a density.
    """

    name: str
    target: Target
    scale: float
    temperature: float | None


class ScaledEvaluators:
    """Evaluators of a state: energies and gradients of a target, times a number."""

    def __init__(self, evaluators: Energies, scale: float):
        """Scale the evaluators of a target, and leave closing them to their owner."""
        self._evaluators, self._scale = evaluators, scale

    def submit(self, x: np.ndarray) -> int:
        """As `Evaluators.submit`."""
        return self._evaluators.submit(x)

    def collect(self, ticket: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Evaluators.collect`, scaled."""
        u, grad_u = self._evaluators.collect(ticket)
        return self._scale * u, self._scale * grad_u

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Evaluators.evaluate`, scaled."""
        return self.collect(self.submit(x))


def read_states(
    run: Path,
    config: Config,
    own: Target,
    files: Sequence[Path],
    changes: Mapping[str, Sequence[str]],
    temperatures: Sequence[float],
) -> list[State]:
    """Make all states, the run's own first, and check that they share its configurations.

    Args:
        run: folder of the run.
        config: configuration of the run, with the target in its folder.
        own: target of the run.
        files: YAML files of one state, whose section `target` counts and which has their name,
            or of several, see `config.load_states`.
        changes: changes of keys such as "target.forcefield=[a.xml]", by the name of the state.
            Paths in them start where the program runs.
        temperatures: temperatures of the run's own target, K.

    Raises:
        ConfigError: a file or a key is wrong, or a name stands twice.
        TargetError: a state that cannot be made, or is one of other configurations.
    """
    molecule = config.target.kind == "molecule"
    kelvin = config.molecule.temperature if molecule else None
    states = [State(OWN, own, 1.0, kelvin)]
    for name, changed in _read_configs(run, config, files, changes):
        states.append(_make_state(name, changed, _own_target(run, config), own))
    if temperatures and kelvin is None:
        raise ConfigError("--temperatures are for molecules; a density has none.")
    for temperature in temperatures:
        if not temperature > 0.0:
            raise ConfigError(f"--temperatures: {temperature:g} K is no temperature.")
        assert kelvin is not None
        states.append(State(f"{temperature:g}K", own, kelvin / temperature, temperature))
    names = [state.name for state in states]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: every state needs a name of its own, other than `{OWN}`.")
    return states


def _read_configs(
    run: Path, config: Config, files: Sequence[Path], changes: Mapping[str, Sequence[str]]
) -> list[tuple[str, Config]]:
    """List names and configurations of the states of files and of changed keys."""
    configs, several = [], list(changes.items())
    for path in files:
        states = load_states(path)
        if states is None:
            configs.append((path.stem, load_config(path)))
        else:
            several += states.items()
    return configs + [(name, _change(run, config, options)) for name, options in several]


def _own_target(run: Path, config: Config) -> targets.Target:
    """Return the section `target` of the run with the paths of its files in full."""
    if config.target.kind != "molecule":
        return config.target
    full = {key: str((run / name).resolve()) for key, name in IN_RUN_FOLDER.items()}
    return config.target.model_copy(update=full)


def _make_state(name: str, changed: Config, section: targets.Target, own: Target) -> State:
    """Make a state; one that differs in its temperature alone has the run's own energies."""
    if changed.target.kind != "molecule" or section.kind != "molecule":
        return State(name, _load_same(name, changed, own), 1.0, None)
    kelvin = changed.molecule.temperature
    if changed.molecule.model_copy(update={"temperature": section.temperature}) == section:
        return State(name, own, section.temperature / kelvin, kelvin)
    return State(name, _load_same(name, changed, own), 1.0, kelvin)


def _load_same(name: str, changed: Config, own: Target) -> Target:
    """Load a target and check that it has the configurations of the run."""
    try:
        target = load_target(changed)
        own.check_same_configurations(target)
    except TargetError as error:
        raise TargetError(f"state {name}: {error}") from error
    return target


def _change(run: Path, config: Config, options: Sequence[str]) -> Config:
    """Change keys of the run's target, which keeps its System unless the force field changes."""
    keys = {option.partition("=")[0].strip() for option in options}
    if any(key.partition(".")[0] != "target" for key in keys):
        raise ConfigError(
            "--set-state changes keys of the target alone, such as target.forcefield."
        )
    values = _own_target(run, config).model_dump(mode="json", exclude_none=True)
    if config.target.kind == "molecule":
        given = {key.removeprefix("target.") for key in keys}
        if given & set(KEYS) - {"pdb"}:
            values.pop("system")
            values |= _original_form(run, given)
            if values.keys() & {"smiles", "file", "peptide"}:
                values.pop("pdb")  # the molecule is made anew
    (changed,) = load_configs({"target": values}, list(options)).values()
    return changed


def _original_form(run: Path, given: set[str]) -> dict[str, object]:
    """Return what the run's molecule was made of, but for keys of another form than is given."""
    original = load_config(run / "config.yaml").molecule.model_dump(mode="json", exclude_none=True)
    form, kept = find_form(original), {"constraints": original["constraints"]}
    if form is None or any(other.key in given - set(form.keys) for other in FORMS):
        return kept
    names = (key for key in form.keys if key not in form.coordinates)
    return kept | {key: original[key] for key in names if key in original}
