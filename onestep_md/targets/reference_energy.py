"""Energies in double precision, on OpenMM's Reference platform: the same digits each time."""

import numpy as np
import openmm
from openmm import unit


class ReferenceEnergy:
    """The energy of a System on the Reference platform.

    Attributes:
        context: of the System.
    """

    def __init__(self, system: openmm.System):
        platform = openmm.Platform.getPlatformByName("Reference")
        self.context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)

    def evaluate(self, x: np.ndarray) -> float:
        """Evaluate the energy in kJ/mol at positions x (atoms, 3) in nm."""
        self.context.setPositions(x)
        energy = self.context.getState(energy=True).getPotentialEnergy()
        return energy.value_in_unit(unit.kilojoule_per_mole)

    def minimise(
        self, x: np.ndarray, tolerance: float, iterations: int
    ) -> tuple[float, np.ndarray]:
        """Return energy in kJ/mol and geometry; an energy that is no number where it fails.

        Args:
            x: (atoms, 3) in nm.
            tolerance: of the forces, in kJ/mol/nm.
            iterations: at most.
        """
        self.context.setPositions(x)
        try:
            openmm.LocalEnergyMinimizer.minimize(self.context, tolerance, iterations)
        except openmm.OpenMMException:  # a coordinate became infinite or not a number
            return float("nan"), x
        state = self.context.getState(energy=True, positions=True)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return energy, state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
