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
from onestep_md.targets.checks import D_RESIDUES
from onestep_md.targets.reference_energy import ReferenceEnergy
from onestep_md.targets.sources.residue_stereo import find_hand

_SAME = 1e-6  # of an energy
_ODD = 1e-4  # sine of a phase that is neither 0 nor 180 degrees


def reflect_d_residues(
    forcefield: app.ForceField,
    system: openmm.System,
    topology: app.Topology,
    positions: np.ndarray,
    path: Path,
) -> list[str]:
    """Reflect the terms of D residues that have the template of an L residue, and list notes.

    OpenMM finds templates by atoms and bonds, which an L residue and its mirror image share.

    Args:
        forcefield: with the templates.
        system: of L residues, changed in place.
        topology: in its order.
        positions: (atoms, 3) in nm, which tell L from D.
        path: what messages name.

    Raises:
        TargetError: the force field has terms that cannot be reflected.
    """
    mirrored = [
        find_hand({atom.name: atom.index for atom in residue.atoms()}, positions) == "D"
        and not _is_d_template(template.name)
        for residue, template in zip(
            topology.residues(), forcefield.getMatchingTemplates(topology), strict=True
        )
    ]
    if not any(mirrored):
        return []
    original = openmm.XmlSerializer.clone(system)
    mirror_residues(system, topology, mirrored)
    check_mirror_images(original, system, topology, mirrored, positions, path)
    if openmm.XmlSerializer.serialize(original) == openmm.XmlSerializer.serialize(system):
        return []
    residues = zip(topology.residues(), mirrored, strict=True)
    names = ", ".join(f"{residue.name}:{residue.id}" for residue, is_d in residues if is_d)
    return [f"D residues whose maps and odd torsions are those of L, reflected: {names}"]


def _is_d_template(name: str) -> bool:
    """Tell DAL of the PDB, and DALA of CHARMM, which have terms of their own."""
    return name in D_RESIDUES or (name[:1] == "D" and name[1:] in D_RESIDUES.values())


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
