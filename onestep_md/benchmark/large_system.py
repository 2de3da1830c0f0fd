"""What one energy of a large molecule costs, without having one: for the throughput model.

The cost of a solute in implicit solvent is that of its pairs, whatever it is made of; charged
particles on a lattice with protein-like spacing have as many.
"""

import time

import numpy as np
import openmm

from onestep_md.targets.evaluator import PER_FS

SPACING = 0.22  # nm between particles; about 100 atoms per nm^3, as in a protein


def implicit_solvent_seconds(atoms: int, repeats: int = 3) -> float:
    """Measure seconds per energy with forces: CPU platform, one thread, the best of some.

    Coulomb, Lennard-Jones and generalised Born (OBC) without a cutoff.
    """
    system = openmm.System()
    pairs, solvent = openmm.NonbondedForce(), openmm.GBSAOBCForce()
    for i in range(atoms):
        charge = 0.3 * (-1) ** i
        system.addParticle(12.0)
        pairs.addParticle(charge, 0.2, 0.1)
        solvent.addParticle(charge, 0.15, 0.8)
    for force in (pairs, solvent):
        force.setNonbondedMethod(force.NoCutoff)
        system.addForce(force)
    platform = openmm.Platform.getPlatformByName("CPU")
    integrator = openmm.VerletIntegrator(PER_FS)
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    side = int(np.ceil(atoms ** (1 / 3)))
    lattice = SPACING * np.stack(np.unravel_index(np.arange(atoms), (side,) * 3), axis=1)
    seconds = []
    for shift in range(repeats + 1):  # the first call also builds neighbour lists
        context.setPositions(lattice + 0.01 * shift)
        started = time.perf_counter()
        context.getState(energy=True, forces=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
