"""An Amber topology, with its coordinates or a PDB."""

import re
import warnings
from pathlib import Path

import numpy as np
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.sources.parameters import Parameters, check_parameters
from onestep_md.targets.sources.placing import Coordinates, place, place_by_pdb
from onestep_md.targets.sources.solvent import MODELS, check_solvent, describe_solvent
from onestep_md.targets.sources.structure import (
    Structure,
    describe_error,
    find_file,
    system_options,
)

_STRIP = "with `parmed` or `cpptraj` (parmbox nobox, strip)"


def read_amber(target, folder: Path) -> Structure:
    """Read target.prmtop, and target.inpcrd or target.pdb.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.

    Raises:
        TargetError: a file is missing, broken or of another molecule, or it holds more than one
            molecule in free space.
    """
    path = find_file(target.prmtop, folder, "target.prmtop")
    text = path.read_text(errors="replace")
    if not text.startswith("%VERSION"):
        raise TargetError(
            f"target.prmtop: {path} is no Amber topology: its first line does not begin with "
            "%VERSION. Older topologies are renewed by ParmEd."
        )
    if any(float(word) for word in _section(text, "IPOL").split()):
        raise TargetError(
            f"{path} is of a polarisable force field (its IPOL is not 0), an energy that OpenMM's "
            "reader leaves out. Build it with an additive one."
        )
    radii = _describe_radii(text, path) if target.solvent != "vacuum" else ""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            prmtop = app.AmberPrmtopFile(str(path))
            system = prmtop.createSystem(
                implicitSolvent=MODELS[target.solvent], **system_options(target.constraints)
            )
    except Exception as error:  # OpenMM's reader raises whatever its parsing step raised
        raise TargetError(
            f"target.prmtop: OpenMM cannot read {path}: {describe_error(error)}. "
            "Check that it is whole; of a CHARMM molecule (chamber) give target.psf."
        ) from error
    check_solvent(system, target.solvent, path)
    notes = [describe_solvent(target.solvent, radii)]
    notes += dict.fromkeys(f"OpenMM says: {warning.message}" for warning in warned)
    parameters = Parameters(system, prmtop.topology, path, (target.prmtop,), tuple(notes))
    check_parameters(parameters, _STRIP)
    if target.pdb is not None:
        return place_by_pdb(parameters, target.pdb, folder)
    return place(parameters, _read_coordinates(target.inpcrd, folder))


def _describe_radii(text: str, path: Path) -> str:
    """Describe the generalised Born radii of a topology; refuse one without."""
    radii = _section(text, "RADII").split()
    if not radii or not all(float(radius) > 0.0 for radius in radii):
        raise TargetError(
            f"{path} has no radii for an implicit solvent. Write it with them (tleap: set default "
            "PBRadii mbondi3; ParmEd: changeRadii mbondi3), or give target.solvent: vacuum."
        )
    return f"radii of the prmtop: {_section(text, 'RADIUS_SET').strip() or 'unnamed'}"


def _section(text: str, flag: str) -> str:
    found = re.search(rf"^%FLAG {flag} *\n%FORMAT.*\n((?:[^%].*\n|\n)*)", text, re.MULTILINE)
    return found[1] if found else ""


def _read_coordinates(name: str, folder: Path) -> Coordinates:
    path = find_file(name, folder, "target.inpcrd")
    try:
        file = app.AmberInpcrdFile(str(path))
        positions = np.array(file.getPositions().value_in_unit(unit.nanometer), dtype=np.float64)
    except Exception as error:
        raise TargetError(
            f"target.inpcrd: OpenMM cannot read {path}: {describe_error(error)}. "
            "Amber coordinates (inpcrd, rst7) are needed; give a PDB as target.pdb."
        ) from error
    if file.boxVectors is not None:
        raise TargetError(
            f"{path} has a periodic box, its last line. Boxes are refused: the density must be "
            f"that of one molecule in free space. If it is a leftover, remove it, {_STRIP}."
        )
    return Coordinates(path, positions)
