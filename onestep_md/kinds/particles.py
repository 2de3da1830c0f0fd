"""Identical particles as the target of a run: a density with symmetries."""

from dataclasses import dataclass

import numpy as np
import torch

from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.flow.base import Flow
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.kinds.density import DensityTarget
from onestep_md.targets.particles import Particles


@dataclass(frozen=True)
class ParticlesTarget(DensityTarget):
    """A density of particles, in Cartesian coordinates where the configuration says so."""

    @property
    def particles(self) -> Particles:
        density = self.source.density
        assert isinstance(density, Particles)
        return density

    def new_chart(self, config: Config, x: np.ndarray, grad_u: np.ndarray) -> Chart:
        if config.flow.coordinates != "cartesian":
            return super().new_chart(config, x, grad_u)
        density = self.particles
        return CartesianChart.fit(torch.from_numpy(x), density.basis, density.space)

    def new_flow(self, config: Config, chart: Chart) -> Flow:
        if config.flow.coordinates != "cartesian":
            return super().new_flow(config, chart)
        density, flow = self.particles, config.flow
        assert flow.network is not None  # every Cartesian flow has one
        basis, space = density.basis, density.space
        return EquivariantFlow(basis, space, flow.layers, flow.width, flow.network)
