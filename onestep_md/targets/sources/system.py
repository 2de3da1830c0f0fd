"""A serialized OpenMM System and the PDB that it was made from."""

import re
from pathlib import Path

import openmm

from onestep_md.errors import TargetError
from onestep_md.targets.foreign_code import sanitise_system
from onestep_md.targets.sources.pdb import read_pdb
from onestep_md.targets.sources.structure import Structure, find_file
from onestep_md.targets.system_bonds import take_bonds


def read_system(target, folder: Path, trust: bool) -> Structure:
    """Read target.system and target.pdb; bonds that the PDB lacks are those of the System.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.
        trust: whether code in the System may run.

    Raises:
        TargetError: a file is missing or broken, or they do not fit together.
    """
    pdb = read_pdb(target.pdb, folder)
    system_path = find_file(target.system, folder, "target.system")
    system = _read(system_path, trust)
    notes = take_bonds(system, pdb.topology, pdb.positions, system_path, pdb.path)
    return Structure(
        system, pdb.topology, pdb.positions, pdb.path, (target.system,), (*pdb.notes, *notes)
    )


def _read(path: Path, trust: bool) -> openmm.System:
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise TargetError(f"{path} is not text; a serialized System (XML) is needed.") from error
    safe = sanitise_system(text, path, trust)
    try:
        system = openmm.XmlSerializer.deserialize(safe)
    except Exception as error:
        written = re.search(r'openmmVersion="([^"]*)"', safe)
        version = f"; the file was written by OpenMM {written[1]}" if written else ""
        raise TargetError(
            f"{path} cannot be read by OpenMM {openmm.__version__}: {error}{version}. Write the "
            "System with this version, or install the version, or the plug-in, that it needs."
        ) from error
    if system.usesPeriodicBoundaryConditions():
        raise TargetError(
            f"{path} uses periodic boundary conditions. Boxes are refused: the density must be "
            "that of one molecule in free space. Build the System with nonbondedMethod=NoCutoff."
        )
    return system
