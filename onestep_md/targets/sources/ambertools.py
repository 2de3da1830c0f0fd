"""GAFF parameters of a ligand, by the programs of AmberTools.

Antechamber gives types and charges, by sqm for AM1-BCC, parmchk2 the parameters that GAFF lacks,
and tleap the prmtop. They run in a temporary folder, on files whose names are fixed here.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from onestep_md.errors import TargetError
from onestep_md.targets.sources.ligand import RESIDUE, Ligand

HOW_TO_INSTALL = 'pip install "onestep_md[ligands]"'
_METHODS = {"am1bcc": "bcc", "gasteiger": "gas"}  # as antechamber calls them
_CHARGES = {"am1bcc": "AM1-BCC", "gasteiger": "Gasteiger"}  # as notes call them
# by number: called by name, parmchk2 26 takes the one or the other at random
_PARAMETERS = {"gaff": 1, "gaff2": 2}
_RADII = {"obc2": "mbondi2", "gbn2": "mbondi3", "vacuum": "mbondi2"}  # as tleap calls them
_DONE = "Calculation Completed"  # how a log of sqm ends
_STRETCHED = 1.4  # times its length, beyond which a bond counts as broken
_TELLING = re.compile(r"error|fatal|cannot|fail|illegal|no convergence|not supported", re.I)
_CODES = re.compile(r"\x1b\[[0-9;]*m")  # colours


def parametrise(
    ligand: Ligand, forcefield: str, charges: str, solvent: str
) -> tuple[str, tuple[str, ...]]:
    """Compute charges and parameters.

    Args:
        ligand: the molecule.
        forcefield: gaff or gaff2.
        charges: am1bcc or gasteiger.
        solvent: obc2, gbn2 or vacuum, by which Born radii differ.

    Returns:
        The text of the prmtop, and notes.

    Raises:
        TargetError: a program is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="onestep_md-") as name:
        folder = Path(name)
        (folder / "ligand.mol").write_text(ligand.molfile)
        _assign_charges(ligand, forcefield, charges, folder)
        if charges == "am1bcc":
            _check_bonds(ligand, folder / "sqm.pdb")
        _run(
            "parmchk2",
            f"-i ligand.mol2 -f mol2 -o ligand.frcmod -s {_PARAMETERS[forcefield]}",
            folder=folder,
        )
        notes = _describe_estimates((folder / "ligand.frcmod").read_text(), forcefield)
        (folder / "leap.in").write_text(
            f"source leaprc.{forcefield}\nset default PBRadii {_RADII[solvent]}\n"
            "loadamberparams ligand.frcmod\nligand = loadmol2 ligand.mol2\n"
            "saveamberparm ligand ligand.prmtop ligand.inpcrd\nquit\n"
        )
        log = _run("tleap", "-f leap.in", folder=folder)
        prmtop = folder / "ligand.prmtop"
        if not prmtop.is_file() or not prmtop.stat().st_size:
            raise TargetError(f"tleap made no prmtop of the ligand: {_telling_line(log)}.")
        return prmtop.read_text(), (
            f"{forcefield.upper()} with {_CHARGES[charges]} charges",
            *notes,
        )


def _assign_charges(ligand: Ligand, forcefield: str, charges: str, folder: Path) -> None:
    """Write ligand.mol2 with types and charges."""
    arguments = "-i ligand.mol -fi mdl -o ligand.mol2 -fo mol2 -s 2 -pf n -dr no"
    options = [f"-c {_METHODS[charges]} -nc {ligand.charge} -at {forcefield} -rn {RESIDUE}"]
    try:
        _run("antechamber", arguments, *options, folder=folder)
    except _ProgramError as error:
        path = folder / "sqm.out"
        log = path.read_text(errors="replace") if path.is_file() else _DONE
        if _DONE in log:  # so sqm is not to blame
            raise
        raise TargetError(
            f"sqm does not converge to AM1-BCC charges: {_telling_line(log)}. Correct the charge "
            "or geometry of the ligand, or set target.charges: gasteiger."
        ) from error


def _check_bonds(ligand: Ligand, path: Path) -> None:
    """Refuse charges of a molecule that sqm relaxed into another one."""
    lines = [line for line in path.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
    x = np.array([[float(line[k : k + 8]) for k in (30, 38, 46)] for line in lines]) / 10
    i, j = np.array(ligand.bonds).T
    before, after = (np.linalg.norm(y[i] - y[j], axis=1) for y in (ligand.positions, x))
    k = int(np.argmax(after / before))
    if after[k] > _STRETCHED * before[k]:
        names = f"{ligand.names[i[k]]}-{ligand.names[j[k]]}"
        raise TargetError(
            f"AM1 breaks the bond {names} of the ligand when sqm relaxes it in vacuum, as it does "
            "with zwitterions: its charges would be those of another molecule. Set "
            "target.charges: gasteiger, or give the form without charges."
        )


def _describe_estimates(frcmod: str, forcefield: str) -> list[str]:
    """Say which parameters parmchk2 estimated; refuse those that it only left room for."""
    empty = [line.split("  ")[0] for line in frcmod.splitlines() if "ATTN" in line]
    if empty:
        raise TargetError(
            f"{forcefield.upper()} has no parameters for {', '.join(empty)} of the ligand, and "
            "parmchk2 knows none like them. Give target.system of a force field that has them."
        )
    proper = frcmod.partition("IMPROPER")[0]  # general impropers are meant for what has none
    scores = {
        line[:11].replace(" ", ""): float(match[1])
        for line in proper.splitlines()
        if (match := re.search(r"penalty score= *([\d.]+)", line))
    }
    if not scores or not max(scores.values()):
        return []
    worst = max(scores, key=lambda key: scores[key])
    return [
        f"parmchk2 estimated {len(scores)} parameter{'s' * (len(scores) > 1)} that "
        f"{forcefield.upper()} lacks; the least certain is {worst}, with a penalty of "
        f"{scores[worst]:g}"
    ]


class _ProgramError(TargetError):
    """A program of AmberTools fails."""


def _run(program: str, *arguments: str, folder: Path) -> str:
    """Run a program in a folder, without a shell; return all that it printed."""
    path = _find(program)
    # one thread: sums of several have other last digits each time
    environment = {"AMBERHOME": str(path.parent.parent), **os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(path), *" ".join(arguments).split()]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace",
    )  # fmt: skip
    output = done.stdout + done.stderr
    if done.returncode:
        raise _ProgramError(f"{program} fails on the ligand: {_telling_line(output)}.")
    return output


def _find(program: str) -> Path:
    """Find a program on PATH, or beside the interpreter, where pip puts it."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(program) or shutil.which(program, path=beside)
    if found is None:
        raise TargetError(
            f"{program} of AmberTools is missing, which ligands need. Install it with "
            f"`{HOW_TO_INSTALL}`, or put your own AmberTools on PATH."
        )
    return Path(found)


def _telling_line(output: str) -> str:
    """Return the line after a fatal error, or the last one that speaks of an error, or any."""
    lines = [" ".join(_CODES.sub("", line).split()) for line in output.splitlines()]
    lines = [line for line in lines if line] or ["it says nothing"]
    after = [line for before, line in pairwise(lines) if "Fatal Error" in before]
    telling = [line for line in lines if _TELLING.search(line)]
    return (after or telling or lines)[-1].rstrip(".:")
