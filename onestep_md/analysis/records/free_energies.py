"""Free energies between states, as data: the contents of free_energies.json."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from onestep_md.analysis.records.results import Stored
from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.states import Method, Reweighted

NAME = "free_energies.json"
Level = Literal["good", "care", "not determined"]


class BridgeResult(Stored):
    """Results of a bridge to one state."""

    log_z: Estimate
    forward_ess: Estimate  # of the flow, from the particles
    particles: int
    founders: float  # effective number of the start's particles that have descendants
    temperatures: int
    acceptance: float  # the lowest of all temperatures
    evaluations: int
    seconds: float


class StateResult(Stored):
    """Results for one state."""

    name: str
    fingerprint: dict[str, Any]
    temperature: float | None  # K; None for a density
    reweighting: Reweighted
    mbar: Estimate  # with held-out frames of the run; UNKNOWN without them
    bridge: BridgeResult | None
    used: Method | None  # where log Z is from; None if it is not determined
    log_z: Estimate
    delta_f: Estimate  # kT: log Z of the run's own state minus that of this one
    level: Level
    verdict: str
    evaluations: int


class FreeEnergies(Stored):
    """All states of one comparison, the run's own first."""

    format: Literal[1] = 1
    run: str  # identity of the target of the run
    samples: int
    kT: float | None  # kJ/mol, of the run; None for a density
    states: tuple[StateResult, ...]
    covariance: tuple[tuple[float, ...], ...]  # of log Z of the states as they are used

    def difference(self, first: str, second: str) -> Estimate:
        """F of the second state minus F of the first, in kT, with the error of the difference."""
        names = [state.name for state in self.states]
        i, j = names.index(first), names.index(second)
        c = np.array(self.covariance)
        variance = c[i, i] + c[j, j] - 2.0 * c[i, j]
        value = self.states[i].log_z.value - self.states[j].log_z.value
        # by rounding, that of two equal states may be below zero; nan stays nan
        return Estimate(value, math.sqrt(max(variance, 0.0)))


def write_free_energies(folder: Path, results: FreeEnergies) -> None:
    """Write free_energies.json."""
    results.write(folder / NAME)


def read_free_energies(folder: Path) -> FreeEnergies:
    """Read what `write_free_energies` wrote.

    Raises:
        RunFolderError: it is not there, or cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        raise RunFolderError(f"{path} is missing; make it with `python -m onestep_md.free_energy`")
    return FreeEnergies.read(path)
