"""Refined samples of a run, beside its one-step samples, as data: the contents of refined.json."""

import math
from pathlib import Path
from typing import Literal

from onestep_md.analysis.records.results import Stored
from onestep_md.estimators.estimate import Estimate, disagree
from onestep_md.estimators.evidence import Evidence
from onestep_md.estimators.free_energy import RegionFreeEnergy
from onestep_md.estimators.states import bridge_trouble

NAME = "refined.json"
REFINED = "refined"  # folder in that of a run


class RefinedRegion(Stored):
    """One region, from one-step samples and from refined ones."""

    one_step: RegionFreeEnergy
    refined: RegionFreeEnergy


class Refined(Stored):
    """Results of annealing from the flow to its own target, beside one-step samples."""

    format: Literal[1] = 1
    one_step: Evidence
    log_z: Estimate  # its error from the spread over islands
    particles: int
    moves: int  # of MALA at every temperature
    seed: int
    founders: float  # effective number of the start's particles that have descendants
    inefficiency: float  # of u along the particles, within islands
    temperatures: int
    acceptance: float  # the lowest of all temperatures
    evaluations: int
    seconds: float  # nan where it was interrupted
    regions: tuple[RefinedRegion, ...]

    @property
    def independent(self) -> float:
        """Number of independent samples that the particles are worth at least.

        It is no more than the founders: moves leave relatives correlated in slow coordinates.
        """
        return min(self.founders, self.particles / self.inefficiency)

    @property
    def one_step_in_time(self) -> float:
        """Number of one-step samples that take as long; nan where the time is not known."""
        return 1000.0 * self.seconds / self.one_step.seconds_per_1000

    @property
    def one_step_worth(self) -> float:
        """Number of independent samples that those are worth, by the ESS of the weights."""
        return self.one_step.ess * self.one_step_in_time

    def one_step_error(self, region: RefinedRegion) -> float:
        """Error of the free energy of a region from one-step samples that take as long, in kT."""
        return region.one_step.delta_f.error * math.sqrt(self.one_step.n / self.one_step_in_time)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what speaks against the refined samples; none if nothing does."""
        warnings = []
        trouble = bridge_trouble(self.acceptance, self.log_z, self.founders)
        if trouble:
            warnings.append(f"Do not rely on the refined samples: {trouble}.")
        if disagree(self.one_step.log_z, self.log_z):
            warnings.append(
                f"log Z of one-step samples, {self.one_step.log_z.format('')}, and refined, "
                f"{self.log_z.format('')}, disagree."
            )
        return tuple(warnings)


def write_refined(folder: Path, refined: Refined) -> None:
    """Write refined.json."""
    refined.write(folder / NAME)


def read_refined(folder: Path) -> Refined | None:
    """Read what `write_refined` wrote; None if it is not there.

    Raises:
        RunFolderError: it cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    return Refined.read(path)
