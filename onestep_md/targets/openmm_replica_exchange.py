"""OpenMM's own replica exchange, beside which `benchmark replica-exchange` puts a run.

`openmm.app.ReplicaExchangeSampler` simulates its replicas one after the other in one context. They
keep their conformations and exchange their states, so the number of a replica is the walker of a
frame. It knows no isomers: what leaves the domain stays outside, and its frames are kept.
"""

import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmm
from openmm import app, unit

from onestep_md.config import Dynamics
from onestep_md.errors import TargetError
from onestep_md.targets.evaluator import (
    PER_FS,
    openmm_seed,
    platform_properties,
    repartition_hydrogen_masses,
)
from onestep_md.targets.molecule import Molecule


@dataclass(frozen=True)
class OpenMMFrames:
    """Frames of the lowest temperature.

    Attributes:
        frames: (n, atoms, 3) in nm, in time order.
        replica: (n,) number of the replica, which changes temperature, of each frame.
        evaluations: force evaluations spent: one per step, and one per replica for an exchange.
    """

    frames: np.ndarray
    replica: np.ndarray
    evaluations: int


@dataclass(frozen=True)
class Rounds:
    """Steps between frames, frames between exchanges, and the first rounds that are discarded."""

    frame_every: int
    frames: int
    discarded: int


def check_openmm() -> None:
    """Refuse an OpenMM that has no replica exchange.

    Raises:
        TargetError: it is older than 8.5.
    """
    if not hasattr(app, "ReplicaExchangeSampler"):
        raise TargetError(
            f"OpenMM {openmm.Platform.getOpenMMVersion()} has no ReplicaExchangeSampler, which "
            "came with 8.5. Upgrade it: pip install 'openmm>=8.5'."
        )


def explore_by_openmm(
    molecule: Molecule,
    platform: str,
    settings: Dynamics,
    rounds: Rounds,
    seed: int,
    enough: Callable[[int, int], bool],
) -> OpenMMFrames:
    """Run OpenMM's replica exchange with one thread.

    Args:
        molecule: the start of all replicas.
        platform: OpenMM's name.
        settings: temperatures, time step and friction; its times are those of `rounds`.
        rounds: the protocol in steps.
        seed: of the noise, of the first velocities and of the exchanges.
        enough: asked after every round that frames are kept of, with the number of frames and of
            force evaluations so far; it ends the simulation.

    Raises:
        TargetError: OpenMM is too old, or the dynamics breaks down.
    """
    check_openmm()
    temperatures = [t * unit.kelvin for t in settings.temperatures]
    simulation = _simulation(molecule, platform, settings, seed)
    frames: list[np.ndarray] = []
    walkers: list[int] = []

    class Sampler(app.ReplicaExchangeSampler):  # here, since not every OpenMM has it
        """Keeps the frames of the lowest temperature that lie between exchanges, too."""

        def simulateReplica(self, index: int, steps: int | None = None) -> None:
            if self.replicaStateIndex[index] != 0:
                return super().simulateReplica(index, steps)
            for _ in range(rounds.frames):
                super().simulateReplica(index, rounds.frame_every)
                x = self.replicaConformation[index].getPositions(asNumpy=True)
                frames.append(x.value_in_unit(unit.nanometer))
                walkers.append(index)

    random.seed(seed)  # Python's own generator decides about exchanges
    steps = rounds.frames * rounds.frame_every
    sampler = Sampler([{"temperature": t} for t in temperatures], simulation, steps)
    per_round, evaluations = len(temperatures) * (steps + 1), 0
    while True:
        try:
            sampler.simulate(1)
        except (openmm.OpenMMException, OverflowError) as error:
            raise TargetError(
                f"OpenMM's replica exchange broke down: {error}. Lower exploration.timestep or "
                "the highest temperature."
            ) from error
        evaluations += per_round
        if sampler.currentIteration <= rounds.discarded:
            frames.clear()
            walkers.clear()
        elif enough(len(frames), evaluations):
            return OpenMMFrames(np.array(frames), np.array(walkers), evaluations)


def _simulation(
    molecule: Molecule, platform: str, settings: Dynamics, seed: int
) -> app.Simulation:
    """Make what our own dynamics runs: the same System, masses and integrator."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    repartition_hydrogen_masses(system, molecule)
    lowest = settings.temperatures[0]
    integrator = openmm.LangevinMiddleIntegrator(
        lowest, settings.friction, settings.timestep * PER_FS
    )
    integrator.setRandomNumberSeed(openmm_seed(seed))
    chosen = openmm.Platform.getPlatformByName(platform)
    topology = app.PDBFile(io.StringIO(molecule.pdb_text)).topology
    simulation = app.Simulation(
        topology, system, integrator, chosen, platform_properties(platform)
    )
    simulation.context.setPositions(np.asarray(molecule.positions, dtype=np.float64))
    if system.getNumConstraints():
        simulation.context.applyConstraints(1e-8)
    simulation.context.setVelocitiesToTemperature(lowest, seed)
    return simulation
