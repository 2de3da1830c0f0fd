"""A PDB and force-field files in OpenMM's XML."""

from pathlib import Path

import openmm
from openmm import app

from onestep_md.errors import TargetError
from onestep_md.targets.checks import find_bonds
from onestep_md.targets.foreign_code import open_forcefields
from onestep_md.targets.sources.mirroring import reflect_d_residues
from onestep_md.targets.sources.pdb import read_pdb
from onestep_md.targets.sources.solvent import use_own_obc2
from onestep_md.targets.sources.structure import Structure, system_options
from onestep_md.targets.sources.templates import add_template_bonds

NO_HYDROGENS = (
    "The PDB must contain every hydrogen: add them with openmm.app.Modeller.addHydrogens or "
    "with PDBFixer (fixer.addMissingHydrogens)."
)


def read_forcefield(target, folder: Path, trust: bool) -> Structure:
    """Read target.pdb and parametrise it by target.forcefield.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.
        trust: whether code in force-field files may run.

    Raises:
        TargetError: a file is missing or broken, or the force field does not know a residue.
    """
    pdb = read_pdb(target.pdb, folder)
    topology, path = pdb.topology, pdb.path
    names = tuple(target.forcefield)
    forcefield = load_forcefield(names, folder, trust)
    notes = add_template_bonds(forcefield, topology, pdb.positions)
    find_bonds(topology, path)  # says what is missing better than a search for templates
    system = _create_system(forcefield, topology, target.constraints, path)
    notes += reflect_d_residues(forcefield, system, topology, pdb.positions, path)
    return Structure(system, topology, pdb.positions, path, names, (*pdb.notes, *notes))


def load_forcefield(names: tuple[str, ...], folder: Path, trust: bool) -> app.ForceField:
    """Read the files of target.forcefield.

    Raises:
        TargetError: a file is missing or broken, or contains code.
    """
    files = open_forcefields(names, folder, trust)
    try:
        return app.ForceField(*files)
    except Exception as error:
        raise TargetError(
            f"target.forcefield {' + '.join(names)} cannot be read: {error!r}. Check that these "
            "are force-field files of OpenMM in XML, and that each is complete with those it "
            "builds on."
        ) from error


def _create_system(
    forcefield: app.ForceField, topology: app.Topology, constraints: str, path: Path
) -> openmm.System:
    unmatched = forcefield.getUnmatchedResidues(topology)
    if unmatched:
        residue = unmatched[0]
        where = f"{path}: residue {residue.name}:{residue.id}"
        if not any(atom.element.symbol == "H" for atom in residue.atoms()):
            raise TargetError(f"{where} has no hydrogen atoms. {NO_HYDROGENS}")
    try:
        system = forcefield.createSystem(topology, **system_options(constraints))
    except Exception as error:
        if not unmatched:
            raise TargetError(f"{path}: OpenMM cannot build the System: {error}") from error
        raise TargetError(
            f"{where} has no template in the force field. OpenMM says: {error}\n"
            "Check for missing atoms, hydrogens and caps (PDBFixer repairs them), name a force "
            "field that knows the residue, or give target.system: a serialized System XML."
        ) from error
    use_own_obc2(system)
    return system
