"""An unnormalised density on R^n as the target of a run: a benchmark's or a user's own."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from onestep_md.analysis.records.samples import write_samples
from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.flat import fit_flat_chart
from onestep_md.distributed.pool import EvaluatorFactory, Evaluators
from onestep_md.errors import TargetError
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.from_energy import anneal_density, as_exploration
from onestep_md.files import replacing
from onestep_md.flow.base import Flow
from onestep_md.kinds.coordinates import new_step_flow
from onestep_md.progress import Display
from onestep_md.results.density import write_density_results
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.model import Model
from onestep_md.sampling.target import Target
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.density_source import DensityFingerprint, DensitySource
from onestep_md.targets.particles import Particles


@dataclass(frozen=True)
class DensityTarget:
    """A density, by the protocol of `sampling.target.Target`."""

    source: DensitySource

    @property
    def fingerprint(self) -> DensityFingerprint:
        return self.source.fingerprint

    @property
    def elements(self) -> tuple[str, ...]:
        return ()

    @property
    def particles(self) -> Particles | None:
        """The density if it is one of particles, else None."""
        return None

    @property
    def known_log_z(self) -> float | None:
        return self.source.density.log_z

    def describe(self) -> list[str]:
        return self.fingerprint.lines()

    def check_energy(self, platform: str | None) -> list[str]:
        origin = np.zeros((1, self.source.density.dim))
        u, _ = DensityEvaluator(self.source.build).evaluate(origin)
        return [f"energy of the origin: u = {u[0]:.6g}"]

    def fastest_platform(self) -> str:
        return "torch"

    def factory(self, platform: str) -> EvaluatorFactory:
        return functools.partial(DensityEvaluator, self.source.build)

    def explore(self, config: Config, evaluators: Evaluators, display: Display) -> Exploration:
        before = evaluators.evaluations
        annealing = anneal_density(config, self.source.density.dim, evaluators, display)
        return as_exploration(annealing, evaluators.evaluations - before)

    def exploration_warnings(self, config: Config, exploration: Exploration) -> list[str]:
        return []

    def rough_samples(self, n: int, seed: int) -> np.ndarray:
        generator, density = torch.Generator().manual_seed(seed), self.source.density
        x = density.sample(n, generator)
        if x is None:
            x = torch.randn(n, density.dim, generator=generator, dtype=torch.float64)
        return x.numpy()

    def new_chart(self, config: Config, x: np.ndarray, grad_u: np.ndarray) -> Chart:
        return fit_flat_chart(x, grad_u)

    def new_flow(self, config: Config, chart: Chart) -> Flow:
        return new_step_flow(config, chart)

    def check_same_configurations(self, other: Target) -> None:
        dim = self.source.density.dim
        if not isinstance(other, DensityTarget) or other.source.density.dim != dim:
            raise TargetError(f"it is no density of {dim} coordinates, as that of the run is.")

    def keep(self, folder: Path) -> None:
        for source in self.source.sources:
            with replacing(folder / source.name) as aside:
                shutil.copyfile(source, aside)

    def write_results(
        self,
        config: Config,
        model: Model,
        evaluators: Evaluators,
        folder: Path,
        display: Display,
        exploration_seconds: float,
    ) -> None:
        write_density_results(
            config,
            self.source,
            model,
            evaluators,
            folder,
            display,
            exploration_seconds,
            self.particles,
        )

    def region_membership(self, config: Config, x: np.ndarray) -> np.ndarray:
        return np.zeros((len(x), 0), dtype=bool)

    def trajectory(self, x: np.ndarray) -> NoReturn:
        raise TargetError("only a molecule has trajectories; use the array x of the samples.")

    def write_samples(self, folder: Path, samples: Samples, seed: int) -> None:
        write_samples(folder, samples.u, samples.log_q, samples.log_w, samples.x)
