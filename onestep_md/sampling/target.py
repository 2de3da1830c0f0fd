"""The interface between a run and its target: a molecule, a density, particles."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import EvaluatorFactory, Evaluators
from onestep_md.exploration.explored import Exploration
from onestep_md.flow.base import Flow
from onestep_md.progress import Display
from onestep_md.sampling.draw import Samples

if TYPE_CHECKING:  # a model is of a target
    from onestep_md.analysis.trajectories import Trajectory
    from onestep_md.sampling.model import Model


class Fingerprint(Protocol):
    """What identifies a target; two runs with equal ones sample the same density."""

    @property
    def identity(self) -> str:
        """One line that differs between targets."""

    def lines(self) -> list[str]:
        """For printing, one property per line."""

    def as_dict(self) -> dict:
        """For JSON files."""


class Target(Protocol):
    """An unnormalised density exp(-u(x)) and all that a run needs of it.

    Attributes:
        fingerprint: identity.
        elements: chemical symbols of the atoms; empty where there are none.
        known_log_z: of a benchmark; None where it is not known.
    """

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def elements(self) -> tuple[str, ...]: ...

    @property
    def known_log_z(self) -> float | None: ...

    def describe(self) -> list[str]:
        """Describe the target, in lines for printing."""

    def check_energy(self, platform: str | None) -> list[str]:
        """Evaluate one energy, and report it in lines; `platform` None is the fastest."""

    def fastest_platform(self) -> str:
        """Name the platform on which evaluators are fastest on this machine."""

    def factory(self, platform: str) -> EvaluatorFactory:
        """Return a function that makes an evaluator, in the process where it is called."""

    def explore(self, config: Config, evaluators: Evaluators, display: Display) -> Exploration:
        """Find samples before there is a flow, by the method of the configuration."""

    def exploration_warnings(self, config: Config, exploration: Exploration) -> list[str]:
        """List what an exploration has probably missed."""

    def rough_samples(self, n: int, seed: int) -> np.ndarray:
        """Draw n configurations that are roughly those of the target, without any energy."""

    def new_chart(self, config: Config, x: np.ndarray, grad_u: np.ndarray) -> Chart:
        """Fit a chart to samples x and the gradients of u there."""

    def new_flow(self, config: Config, chart: Chart) -> Flow:
        """Make an untrained flow in the coordinates of a chart."""

    def check_same_configurations(self, other: "Target") -> None:
        """Check that another target is a density of the same configurations.

        Raises:
            TargetError: it is not; where they differ.
        """

    def keep(self, folder: Path) -> None:
        """Write the files from which a run folder makes the target again."""

    def write_results(
        self,
        config: Config,
        model: "Model",
        evaluators: Evaluators,
        folder: Path,
        display: Display,
        exploration_seconds: float,
    ) -> None:
        """Sample at every K of `sample.steps`, estimate, print the tables and write the files."""

    def region_membership(self, config: Config, x: np.ndarray) -> np.ndarray:
        """Say which configurations x (n, ...) lie in which regions of the configuration.

        Returns:
            (n, regions) bool; no columns where the configuration has no regions.
        """

    def trajectory(self, x: np.ndarray) -> "Trajectory":
        """Make an mdtraj trajectory of configurations (n, atoms, 3) in nm.

        Raises:
            TargetError: the target is no molecule.
        """

    def write_samples(self, folder: Path, samples: Samples, seed: int) -> None:
        """Write weighted samples; `seed` is that of a resampling."""
