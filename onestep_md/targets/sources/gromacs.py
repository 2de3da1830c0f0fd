"""A GROMACS topology, with a gro file or a PDB."""

import re
from pathlib import Path

import numpy as np
from openmm import app

from onestep_md.errors import TargetError
from onestep_md.targets.sources.parameters import Parameters, check_parameters
from onestep_md.targets.sources.placing import Coordinates, place, place_by_pdb
from onestep_md.targets.sources.solvent import add_solvent, describe_solvent
from onestep_md.targets.sources.structure import (
    Structure,
    describe_error,
    find_file,
    read_text,
    system_options,
)

_STRIP = "with `gmx trjconv` and fewer lines under [ molecules ]"
# sections that bear energy and that OpenMM's reader passes over without a word
_UNREAD = {
    "angle_restraints", "angle_restraints_z", "dihedral_restraints", "distance_restraints",
    "intermolecular_interactions", "orientation_restraints", "pairs_nb", "polarization",
    "position_restraints", "thole_polarization", "water_polarization",
}  # fmt: skip


class _Topology(app.GromacsTopFile):
    """OpenMM's reader, which notes the sections that it meets."""

    def __init__(self, file: str, include: str | None):
        self.sections: set[str] = set()
        super().__init__(file, includeDir=include)

    def _processLine(self, line: str, file: str) -> None:
        super()._processLine(line, file)
        self.sections.add(self._currentCategory or "")


def read_gromacs(target, folder: Path) -> Structure:
    """Read target.top, and target.gro or target.pdb.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.

    Raises:
        TargetError: a file is missing, broken or of another molecule, or it holds more than one
            molecule in free space.
    """
    path = find_file(target.top, folder, "target.top")
    top = _read(path, _find_includes(target.include, folder))
    unread = sorted(top.sections & _UNREAD)
    if unread:
        raise TargetError(
            f"{path} has a section [ {unread[0]} ], an energy that OpenMM's reader leaves out. "
            "Remove it, or undefine the macro that includes it."
        )
    try:
        system = top.createSystem(**system_options(target.constraints))
    except Exception as error:  # OpenMM's reader raises whatever its parsing step raised
        raise TargetError(
            f"target.top: OpenMM cannot build the System of {path}: {describe_error(error)}. "
            "Check that all parameters are there."
        ) from error
    notes = [describe_solvent(target.solvent)]
    if "implicit_genborn_params" in top.sections:
        notes.append("the parameters in [ implicit_genborn_params ] are not used")
    parameters = Parameters(system, top.topology, path, (target.top,), tuple(notes))
    check_parameters(parameters, _STRIP)
    add_solvent(system, top.topology, target.solvent, path)
    if target.pdb is not None:
        return place_by_pdb(parameters, target.pdb, folder)
    return place(parameters, _read_coordinates(target.gro, folder))


def _find_includes(name: str | None, folder: Path) -> str | None:
    if name is None:
        return None
    if not (folder / name).is_dir():
        raise TargetError(
            f"target.include: {folder / name} is no folder. Give the one that holds the force "
            "fields of GROMACS, such as /usr/share/gromacs/top."
        )
    return str(folder / name)


def _read(path: Path, include: str | None) -> _Topology:
    try:
        return _Topology(str(path), include)
    except Exception as error:
        missing = re.fullmatch(r"Could not locate #include file: (.*)", str(error))
        if missing:
            raise TargetError(
                f"target.top: {path} includes {missing[1]}, which is neither beside it nor in "
                f"{include or 'the folder of an installed GROMACS'}. Copy it beside the topology, "
                "or give target.include, the folder that holds the force fields of GROMACS."
            ) from error
        raise TargetError(
            f"target.top: OpenMM cannot read {path}: {describe_error(error)}. "
            "A whole GROMACS topology is needed, with [ defaults ], [ moleculetype ] and [ "
            "molecules ]."
        ) from error


def _read_coordinates(name: str, folder: Path) -> Coordinates:
    """Read the first frame of a gro file, of any number of decimals; its box is not used."""
    path = find_file(name, folder, "target.gro")
    lines = read_text(path).splitlines()
    try:
        rows = lines[2 : 2 + int(lines[1])]
        points = [k for k, letter in enumerate(rows[0]) if letter == "." and k >= 20]
        width = points[1] - points[0]
        x = [[float(row[k : k + width]) for k in range(20, 20 + 3 * width, width)] for row in rows]
        if len(rows) != int(lines[1]):
            raise ValueError(f"{len(rows)} atoms in place of {lines[1].strip()}")
    except (ValueError, IndexError) as error:
        raise TargetError(
            f"target.gro: {path} is no whole gro file: {describe_error(error)}. It has a title, "
            "the number of atoms, and a line of fixed columns for each; a PDB may be given as "
            "target.pdb instead."
        ) from error
    return Coordinates(path, np.array(x), tuple(row[10:15].strip() for row in rows))
