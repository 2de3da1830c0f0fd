"""A CHARMM topology (PSF) and parameter files, with a CARD file or a PDB."""

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

# `open read card unit 10 name a.rtf`, `stream a.str`, or the name alone
_LISTED = re.compile(
    r"(?:open +read .*?name +|stream +)?(\S+\.(?:rtf|prm|par|top|inp|str))", re.IGNORECASE
)
_STRIP = "with psfgen or CHARMM (delete atoms)"


def read_charmm(target, folder: Path) -> Structure:
    """Read target.psf and target.params, and target.crd or target.pdb.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.

    Raises:
        TargetError: a file is missing, broken or of another molecule, a parameter is missing, or
            there is more than one molecule in free space.
    """
    path = find_file(target.psf, folder, "target.psf")
    if "DRUDE" in read_text(path).partition("\n")[0].upper():
        raise TargetError(
            f"target.psf: {path} is of a polarisable force field, whose Drude particles have no "
            "density of their own. Build it with an additive one, such as CHARMM36."
        )
    files = [file for name in target.params for file in _find_parameters(name, folder)]
    try:
        psf = app.CharmmPsfFile(str(path))
    except Exception as error:  # OpenMM's readers raise whatever their parsing step raised
        raise TargetError(
            f"target.psf: OpenMM cannot read {path}: {describe_error(error)}. "
            "A whole PSF of CHARMM, psfgen or CHARMM-GUI is needed."
        ) from error
    try:
        parameter_set = app.CharmmParameterSet(*map(str, files))
    except Exception as error:
        raise TargetError(
            f"target.params: OpenMM cannot read {', '.join(map(str, files))}: "
            f"{describe_error(error)}. CHARMM files are told apart by their names, which end in "
            ".prm, .par, .rtf, .top, .str or .inp."
        ) from error
    try:
        system = psf.createSystem(parameter_set, **system_options(target.constraints))
    except Exception as error:
        raise TargetError(
            f"target.psf: OpenMM cannot build the System of {path} with "
            f"{', '.join(target.params)}: {describe_error(error)}. Check that target.params has "
            "all files that the molecule needs, those of atom types (.rtf) among them."
        ) from error
    note = describe_solvent(target.solvent)
    names = (target.psf, *target.params)
    parameters = Parameters(system, psf.topology, path, names, (note,))
    check_parameters(parameters, _STRIP)
    add_solvent(system, psf.topology, target.solvent, path)
    if target.pdb is not None:
        return place_by_pdb(parameters, target.pdb, folder)
    return place(parameters, _read_coordinates(target.crd, folder))


def _find_parameters(name: str, folder: Path) -> list[Path]:
    """Find a parameter file, or all that a toppar.str of CHARMM-GUI lists, from its folder on."""
    path = find_file(name, folder, "target.params")
    if path.suffix != ".str":
        return [path]
    lines = [line.partition("!")[0].strip() for line in read_text(path).splitlines()]
    listed = [match[1] for line in lines if (match := _LISTED.fullmatch(line))]
    for other in listed:
        if not (path.parent / other).is_file():
            raise TargetError(
                f"target.params: {path} lists {other}, which is not there. Copy the folder toppar "
                "of CHARMM-GUI beside it, or list the files that the molecule needs."
            )
    return [path.parent / other for other in listed] or [path]


def _read_coordinates(name: str, folder: Path) -> Coordinates:
    """Read coordinates in CARD format: title, number of atoms, and a line of words for each."""
    path = find_file(name, folder, "target.crd")
    lines = read_text(path).splitlines()
    body = [line.split() for line in lines if line.strip() and not line.startswith("*")]
    try:
        rows = body[1 : 1 + int(body[0][0])]
        x = [[0.1 * float(word) for word in row[4:7]] for row in rows]
        if len(rows) != int(body[0][0]) or any(len(row) < 7 for row in rows):
            raise ValueError(f"{len(rows)} whole lines in place of {body[0][0]}")
    except (ValueError, IndexError) as error:
        raise TargetError(
            f"target.crd: {path} is no whole CHARMM coordinate file: {describe_error(error)}. "
            "CARD format is needed; a PDB may be given as target.pdb instead."
        ) from error
    return Coordinates(path, np.array(x), tuple(row[3] for row in rows))
