"""Torsional energy of a molecule along the rotation about each acyclic bond.

Only the torsion terms of the force field are evaluated. The two halves of the molecule turn
rigidly against each other, so that bonds and angles stay as they are; clashes are left to the
sampling. OpenMM evaluates the terms, so that every functional form counts.
"""

from dataclasses import dataclass

import networkx as nx
import numpy as np
import openmm

from onestep_md.targets.reference_energy import ReferenceEnergy

POINTS = 72  # of a turn
# OpenMM's names of forces that depend on torsions alone
_TORSION_FORCES = {
    "PeriodicTorsionForce", "RBTorsionForce", "CustomTorsionForce", "CMAPTorsionForce",
    "AmoebaPiTorsionForce", "AmoebaTorsionTorsionForce",
}  # fmt: skip


@dataclass(frozen=True)
class TorsionProfile:
    """Energy of the torsion terms about one bond.

    Attributes:
        bond: (i, j); the atoms on the side of j turn.
        moving: the atoms that turn, without j.
        energy: (POINTS,) in kJ/mol at turns of 0, 360 / POINTS, ... degrees from the input
            geometry, counterclockwise when seen from j to i; zero at its lowest.
        described: whether any torsion term of the System depends on the bond.
    """

    bond: tuple[int, int]
    moving: tuple[int, ...]
    energy: np.ndarray
    described: bool

    @property
    def barrier(self) -> float:
        """Height of the highest point above the lowest, in kJ/mol."""
        return float(self.energy.max())


def compute_torsion_profiles(
    system: openmm.System, bonds: tuple[tuple[int, int], ...], positions: np.ndarray
) -> tuple[TorsionProfile, ...]:
    """Compute the profiles of all acyclic bonds with neighbours on both sides.

    Args:
        system: of the molecule; it stays as it is.
        bonds: pairs of atoms.
        positions: (atoms, 3) input geometry in nm.
    """
    graph = nx.Graph(bonds)
    acyclic = sorted(tuple(sorted(bond)) for bond in nx.bridges(graph)) if bonds else []
    turning = [(i, j) for i, j in acyclic if graph.degree[i] > 1 and graph.degree[j] > 1]
    torsions = _torsion_energy(system)
    profiles = []
    for i, j in turning:
        graph.remove_edge(i, j)
        moving = nx.node_connected_component(graph, j) - {j}
        graph.add_edge(i, j)
        x = turn_atoms(positions, (i, j), tuple(sorted(moving)), _angles())
        energy = np.array([torsions.evaluate(frame) for frame in x])
        described = bool(np.ptp(energy) > 1e-6)
        energy = energy - energy.min()
        profiles.append(TorsionProfile((i, j), tuple(sorted(moving)), energy, described))
    return tuple(profiles)


def turn_atoms(
    x: np.ndarray, bond: tuple[int, int], moving: tuple[int, ...], angle: np.ndarray
) -> np.ndarray:
    """Turn some atoms of conformations about the axis of a bond, by Rodrigues' formula.

    Args:
        x: (atoms, 3) or (batch, atoms, 3).
        bond: (i, j), the axis from i to j.
        moving: atoms that turn; torsions about the bond grow by the angle.
        angle: (batch,) in radians.

    Returns:
        (batch, atoms, 3).
    """
    x = np.array(np.broadcast_to(x, (len(angle), *x.shape[-2:])))
    i, j = bond
    axis = x[:, j] - x[:, i]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    axis, atoms = axis[:, None], list(moving)
    arm = x[:, atoms] - x[:, j, None]
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along = (arm * axis).sum(-1, keepdims=True) * axis
    x[:, atoms] = x[:, j, None] + along + cosine * (arm - along) + sine * np.cross(axis, arm)
    return x


def _angles() -> np.ndarray:
    return 2.0 * np.pi / POINTS * np.arange(POINTS)


def _torsion_energy(system: openmm.System) -> ReferenceEnergy:
    """Take the torsion forces alone."""
    bare = openmm.System()
    for _ in range(system.getNumParticles()):
        bare.addParticle(1.0)
    for force in system.getForces():
        if type(force).__name__ in _TORSION_FORCES:
            bare.addForce(openmm.XmlSerializer.clone(force))
    return ReferenceEnergy(bare)
