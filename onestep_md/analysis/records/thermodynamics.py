"""Thermodynamics along temperature, as data: the contents of thermodynamics.json."""

from pathlib import Path
from typing import Literal

from onestep_md.analysis.records.results import Stored
from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.states import Method
from onestep_md.estimators.thermodynamics import Thermodynamics

NAME = "thermodynamics.json"


class AtTemperature(Stored):
    """Quantities of the molecule and its regions at one temperature.

    F, U and TS of the molecule are relative to the run's own temperature, and those of a region
    to the molecule at the same temperature; in kJ/mol, C_v in kJ/(mol K).
    """

    temperature: float  # K
    used: Method | None  # where the numbers are from; None if nothing is determined
    log_z: Estimate
    molecule: Thermodynamics
    regions: tuple[Thermodynamics, ...]


class BesideExchange(Stored):
    """Quantities of the molecule beside those of the run's replica exchange, by MBAR.

    Of each pair the first is by the flow. Log Z is less that at the run's own temperature, U in
    kJ/mol and C_v in kJ/(mol K).
    """

    temperature: float  # K
    delta_log_z: tuple[Estimate, Estimate]
    energy: tuple[Estimate, Estimate]
    heat_capacity: tuple[Estimate, Estimate]


class AlongTemperature(Stored):
    """Quantities at every temperature, in rising order."""

    format: Literal[1] = 1
    run: str  # identity of the target of the run
    samples: int
    own: float  # K, of the run
    absolute: Thermodynamics  # of the molecule at the run's own temperature
    temperatures: tuple[AtTemperature, ...]
    exchange: tuple[BesideExchange, ...] = ()  # of temperatures in the ladder of the exploration


def write_along_temperature(folder: Path, results: AlongTemperature) -> None:
    """Write thermodynamics.json."""
    results.write(folder / NAME)


def read_along_temperature(folder: Path) -> AlongTemperature:
    """Read what `write_along_temperature` wrote.

    Raises:
        RunFolderError: it is not there, or cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        raise RunFolderError(
            f"{path} is missing; make it with `python -m onestep_md.free_energy RUN "
            "--temperatures ...`"
        )
    return AlongTemperature.read(path)
