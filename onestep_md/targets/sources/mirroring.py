"""Terms of D residues, whose force field has templates of L residues alone.

The energy of a D residue is that of its mirror image. Bonds, angles and pairs do not know one from
the other, and most torsions do not; maps of two torsions (CMAP) and phases besides 0 and 180
degrees do, so that these are reflected.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.reference_energy import ReferenceEnergy

_SAME = 1e-6  # of an energy
_ODD = 1e-4  # sine of a phase that is neither 0 nor 180 degrees


def mirror_residues(
    system: openmm.System, topology: app.Topology, mirrored: Sequence[bool]
) -> None:
    """Reflect the terms of some residues, in place.

    Args:
        system: of L residues.
        topology: in the order of the System.
        mirrored: which residues are D.
    """
    places = [atom.residue.index for atom in topology.atoms()]
    for force in system.getForces():
        if isinstance(force, openmm.CMAPTorsionForce):
            _mirror_maps(force, places, mirrored)
        elif isinstance(force, openmm.PeriodicTorsionForce):
            for k in range(force.getNumTorsions()):
                *quad, period, phase, barrier = force.getTorsionParameters(k)
                _, i, j, _ = (places[atom] for atom in quad)
                if i == j and mirrored[i] and abs(np.sin(phase.value_in_unit(unit.radian))) > _ODD:
                    force.setTorsionParameters(k, *quad, period, -phase, barrier)


def check_mirror_images(
    original: openmm.System,
    system: openmm.System,
    topology: app.Topology,
    mirrored: Sequence[bool],
    positions: np.ndarray,
    path: Path,
) -> None:
    """Refuse force fields with other terms that know left from right.

    With L and D exchanged, the mirror image has to have the same energy.

    Args:
        original: of L residues.
        system: with the terms of D residues reflected.
        topology: in their order.
        mirrored: which residues are D.
        positions: (atoms, 3) in nm.
        path: what the message names.
    """
    exchanged = openmm.XmlSerializer.clone(original)
    mirror_residues(exchanged, topology, [not each for each in mirrored])
    own = ReferenceEnergy(system).evaluate(positions)
    other = ReferenceEnergy(exchanged).evaluate(-positions)
    if abs(own - other) > _SAME * max(1.0, abs(own)):
        raise TargetError(
            f"{path}: the force field has terms for L residues that cannot be reflected for D "
            "residues. Take another force field, or one with templates of D residues."
        )


def _mirror_maps(
    force: openmm.CMAPTorsionForce, places: Sequence[int], mirrored: Sequence[bool]
) -> None:
    new: dict[int, int] = {}  # map -> its mirror image
    for k in range(force.getNumTorsions()):
        which, *atoms = force.getTorsionParameters(k)
        if mirrored[places[atoms[2]]]:  # CA of phi
            if which not in new:
                size, energies = force.getMapParameters(which)
                values = np.array(energies.value_in_unit(unit.kilojoule_per_mole))
                grid = np.roll(values.reshape(size, size)[::-1, ::-1], 1, axis=(0, 1))
                new[which] = force.addMap(size, grid.ravel())
            force.setTorsionParameters(k, new[which], *atoms)
