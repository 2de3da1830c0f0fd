"""A ligand from a SMILES string or a file, by GAFF or OpenFF.

Its parameters take seconds to minutes and are the same every time. So they are kept in a folder
of the user's, by a checksum of what they are made from, and a run makes them once.
"""

import hashlib
import json
import os
import tempfile
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.files import write_json
from onestep_md.targets.reference_energy import ReferenceEnergy
from onestep_md.targets.sources import ambertools, openff
from onestep_md.targets.sources.ambertools import HOW_TO_INSTALL
from onestep_md.targets.sources.ligand import Ligand
from onestep_md.targets.sources.solvent import MODELS
from onestep_md.targets.sources.structure import Structure, find_file, read_text, system_options

_RECIPE = 5  # counts changes of how ligands are made
_TOLERANCE = 0.5  # kJ/mol/nm, rms force at a minimum
_ITERATIONS = 5000  # of a minimisation at most: torsions of atoms in line have no minimum
_NET = 0.01  # e, by which rounded charges may miss the net charge


def read_ligand(target, folder: Path) -> Structure:
    """Read target.smiles or target.file and parametrise it by target.forcefield.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.

    Raises:
        TargetError: the molecule is refused, or RDKit or AmberTools is missing or fails.
    """
    (forcefield,) = target.forcefield
    charges = target.charges
    path = find_file(target.file, folder, "target.file") if target.file else None
    made_from = read_text(path) if path else target.smiles.strip(" \t\r\n")
    field = folder / forcefield  # of OpenFF
    text = read_text(field) if field.is_file() else ""
    kept = _kept_file(made_from, forcefield, charges, target.solvent, text)
    notes = []
    if kept.is_file():
        ligand, parameters = _load(kept)
        notes = [f"parameters as made before, kept in {kept}"]
    else:
        ligand = _understand(made_from, path)
        if forcefield.endswith(".offxml"):
            parameters, more = openff.parametrise(
                ligand, forcefield, charges, target.solvent, folder
            )
        else:
            parameters, more = ambertools.parametrise(ligand, forcefield, charges, target.solvent)
        ligand = replace(ligand, notes=(*ligand.notes, *more))
        if len(ligand.geometries) > 1:
            system = _create_system(ligand, parameters, target.solvent, "none")
            ligand = _choose_geometry(ligand, system)
        notes = _save(kept, ligand, parameters)
    system = _create_system(ligand, parameters, target.solvent, target.constraints)
    return Structure(
        system,
        ligand.topology(),
        ligand.positions,
        path or Path("target.smiles"),
        (forcefield, charges),
        (*ligand.notes, *notes),
        ligand.molfile,
    )


def _understand(made_from: str, path: Path | None) -> Ligand:
    """Read a SMILES string or a file by RDKit, which is imported here alone."""
    try:
        from onestep_md.targets.sources import chemistry
    except ImportError as error:
        raise TargetError(
            f"Ligands need RDKit, which cannot be imported ({error}). Install it with "
            f"`{HOW_TO_INSTALL}`."
        ) from error
    return chemistry.read_file(path) if path else chemistry.read_smiles(made_from)


def _create_system(
    ligand: Ligand, parameters: str, solvent: str, constraints: str
) -> openmm.System:
    """Create the System of a prmtop, or of one that is serialized without constraints."""
    if not parameters.startswith("%VERSION"):
        system = openmm.XmlSerializer.deserialize(parameters)
        if constraints == "hbonds":
            _constrain_hydrogens(system, ligand.elements)
        _check_charge(ligand, system)
        return system
    with tempfile.TemporaryDirectory(prefix="onestep_md-") as name:
        path = Path(name) / "ligand.prmtop"
        path.write_text(parameters)
        amber = app.AmberPrmtopFile(str(path))
    _check_same_molecule(ligand, amber.topology)
    with warnings.catch_warnings():
        # OpenMM's radii of carboxylates; LEaP has them for residues of proteins alone
        warnings.filterwarnings("ignore", "Non-optimal GB parameters")
        system = amber.createSystem(implicitSolvent=MODELS[solvent], **system_options(constraints))
    _check_charge(ligand, system)
    return system


def _constrain_hydrogens(system: openmm.System, elements: tuple[str, ...]) -> None:
    """Fix the length of bonds to hydrogen at the one of their minimum."""
    kinds = [type(force) for force in system.getForces()]
    place = kinds.index(openmm.HarmonicBondForce)
    old, rest = system.getForce(place), openmm.HarmonicBondForce()
    for k in range(old.getNumBonds()):
        i, j, length, stiffness = old.getBondParameters(k)
        if "H" in (elements[i], elements[j]):
            system.addConstraint(i, j, length)
        else:
            rest.addBond(i, j, length, stiffness)
    system.removeForce(place)
    system.addForce(rest)


def _choose_geometry(ligand: Ligand, system: openmm.System) -> Ligand:
    """Choose the geometry of the lowest minimum; what is held later is held as it is there."""
    energy = ReferenceEnergy(system)
    found = [energy.minimise(x, _TOLERANCE, _ITERATIONS) for x in ligand.geometries]
    energies, minima = zip(*found, strict=True)
    lowest = int(np.nanargmin(energies))
    spread = np.nanmax(energies) - energies[lowest]
    note = (
        f"geometry: the lowest minimum from {len(minima)} geometries of RDKit, whose minima are "
        f"up to {spread:.1f} kJ/mol higher"
    )
    return replace(ligand, geometries=minima[lowest][None].round(4), notes=(*ligand.notes, note))


def _check_same_molecule(ligand: Ligand, topology: app.Topology) -> None:
    """Refuse a prmtop of other atoms, or of an atom order or bonds that are not the ligand's."""
    elements = tuple(atom.element.symbol for atom in topology.atoms())
    bonds = {frozenset((bond[0].index, bond[1].index)) for bond in topology.bonds()}
    if elements != ligand.elements or bonds != {frozenset(bond) for bond in ligand.bonds}:
        raise TargetError(
            "AmberTools made another molecule of the ligand: its atoms or bonds differ from those "
            "that were given. Check bond orders and charges, or give target.prmtop of your own."
        )


def _check_charge(ligand: Ligand, system: openmm.System) -> None:
    (force,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [
        force.getParticleParameters(i)[0].value_in_unit(unit.elementary_charge)
        for i in range(system.getNumParticles())
    ]
    if abs(sum(charges) - ligand.charge) > _NET:
        raise TargetError(
            f"The partial charges of the ligand sum to {sum(charges):.3f}, and its net charge is "
            f"{ligand.charge}. Take the other of target.charges, am1bcc and gasteiger, which does "
            "not know every group, or check the bond orders and charges."
        )


def _kept_file(made_from: str, *choices: str) -> Path:
    """Name the file that keeps a ligand."""
    text = json.dumps([_RECIPE, made_from, *choices])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cache / "onestep_md" / "ligands" / f"{digest}.json"


def _save(path: Path, ligand: Ligand, parameters: str) -> list[str]:
    """Keep a ligand, and say so if it cannot be kept."""
    values = asdict(ligand) | {"geometries": ligand.geometries.tolist(), "parameters": parameters}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, values)
    except OSError as error:
        return [f"parameters cannot be kept ({error}): they are made again each time"]
    return []


def _load(path: Path) -> tuple[Ligand, str]:
    values = json.loads(path.read_text())
    ligand = Ligand(
        elements=tuple(values["elements"]),
        names=tuple(values["names"]),
        bonds=tuple((i, j) for i, j in values["bonds"]),
        geometries=np.array(values["geometries"]),
        charge=values["charge"],
        molfile=values["molfile"],
        notes=tuple(values["notes"]),
    )
    return ligand, values["parameters"]
