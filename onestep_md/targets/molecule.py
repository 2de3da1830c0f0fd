"""A molecule, read from PDB + force field or System XML.

`load_molecule` builds and checks. Its result is plain text and numpy arrays, so that it pickles to
any worker, which makes its own OpenMM context from `system_xml`. The density is exp(-U / kT) of
one free molecule; `checks` refuses all others.
"""

import hashlib
import io
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.checks import (
    check_geometry,
    check_particles,
    check_topology,
    evaluate_input_energy,
    find_bonds,
    find_constraints,
)
from onestep_md.targets.foreign_code import open_forcefields, sanitise_system
from onestep_md.targets.pdb_file import check_is_pdb
from onestep_md.targets.system_bonds import take_bonds
from onestep_md.targets.torsion_profiles import TorsionProfile, compute_torsion_profiles

KB = 0.00831446261815324  # kJ/mol/K
# forces that carry no energy but would act on the dynamics
WITHOUT_ENERGY = {
    "CMMotionRemover", "AndersenThermostat", "MonteCarloBarostat", "MonteCarloAnisotropicBarostat",
    "MonteCarloFlexibleBarostat", "MonteCarloMembraneBarostat",
}  # fmt: skip
NO_HYDROGENS = (
    "The PDB must contain every hydrogen: add them with openmm.app.Modeller.addHydrogens or "
    "with PDBFixer (fixer.addMissingHydrogens)."
)


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a molecule; runs with equal fingerprints sample the same density."""

    pdb: str
    forcefield: tuple[str, ...]
    solvent: str
    cutoff: str
    constraints: str
    atoms: int
    temperature: float  # K
    system_sha256: str
    u_input: float  # kT, of the input geometry
    notes: tuple[str, ...] = ()  # on parts that were dropped from the System or added to the PDB
    held: str = "amides"  # kinds of bonds besides double ones, part of the domain

    @property
    def identity(self) -> str:
        """One line that distinguishes targets."""
        text = f"system {self.system_sha256[:12]} at {self.temperature} K"
        # the identity of older runs, which had no choice, stays the same
        return text if self.held == "amides" else f"{text}, held: {self.held}"

    def lines(self) -> list[str]:
        """List the properties for printing, one per line."""
        rows: tuple[tuple[str, str], ...] = (
            ("molecule", f"{self.pdb}, {self.atoms} atoms"),
            ("force field", " + ".join(self.forcefield)),
            ("solvent", self.solvent),
            ("cutoff", self.cutoff),
            ("constraints", self.constraints),
            ("temperature", f"{self.temperature:g} K"),
            ("system sha256", self.system_sha256[:16]),
            ("input energy", f"{self.u_input:.4f} kT"),
        )
        rows += tuple(("note", note) for note in self.notes)
        return [f"{name:<14}{value}" for name, value in rows]

    def as_dict(self) -> dict:
        """Convert to a dict for JSON files and checkpoints."""
        return asdict(self) | {"forcefield": list(self.forcefield), "notes": list(self.notes)}


@dataclass(frozen=True)
class Molecule:
    """One molecule in vacuum or implicit solvent at one temperature.

    Attributes:
        system_xml: serialized OpenMM System.
        pdb_text: topology and input geometry; its atom order is the order of everything.
        positions: (atoms, 3) input geometry in nm.
        elements: (atoms,) chemical symbols.
        atom_names: (atoms,) as in the PDB.
        bonds: pairs of atom indices.
        constraints: (i, j, length in nm); each is one of the bonds.
        temperature: in K.
        torsions: energy profiles of the bonds that have neighbours on both sides.
        held: bonds besides double ones that stay cis or trans as in the input: none, amides or
            conjugated (and amides), see `coordinates.isomers`.
        fingerprint: identity of the target.
    """

    system_xml: str
    pdb_text: str
    positions: np.ndarray
    elements: tuple[str, ...]
    atom_names: tuple[str, ...]
    bonds: tuple[tuple[int, int], ...]
    constraints: tuple[tuple[int, int, float], ...]
    temperature: float
    torsions: tuple[TorsionProfile, ...]
    held: str
    fingerprint: Fingerprint

    @property
    def kT(self) -> float:
        """Thermal energy at the target temperature, in kJ/mol."""
        return KB * self.temperature


def load_molecule(target, folder: Path, trust: bool = False) -> Molecule:
    """Read, parametrise and check the molecule of a `target` section.

    Args:
        target: the configuration's target: pdb, forcefield or system, constraints, temperature.
        folder: folder of the YAML file; relative paths start there.
        trust: whether code in the files may run.

    Raises:
        TargetError: the molecule is refused; the message says why, where, and what to do.
    """
    folder = Path(folder)
    path = _find_file(target.pdb, folder, "target.pdb")
    pdb = _read_pdb(path)
    check_topology(pdb.topology, path)
    notes = []
    if target.system is not None:
        source = (target.system,)
        system_path = _find_file(target.system, folder, "target.system")
        system = _read_system(system_path, trust)
        notes += _drop_without_energy(system)
        notes += take_bonds(system, pdb, system_path, path)
        bonds = find_bonds(pdb.topology, path)
    else:
        source = tuple(target.forcefield)
        forcefield = _read_forcefield(source, folder, trust)
        bonds = find_bonds(pdb.topology, path)
        system = _create_system(forcefield, pdb.topology, target.constraints, path)
        _drop_without_energy(system)
    check_particles(system, pdb.topology)
    constraints = find_constraints(system, bonds, pdb.topology)
    positions = pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    positions = np.array(positions, dtype=np.float64)
    check_geometry(positions, bonds, path)
    system_xml = openmm.XmlSerializer.serialize(system)
    fingerprint = Fingerprint(
        pdb=Path(target.pdb).name,
        forcefield=source,
        solvent=_solvent(system),
        cutoff=_cutoff(system),
        constraints=f"{len(constraints)} bond lengths" if constraints else "none",
        atoms=len(positions),
        temperature=float(target.temperature),
        system_sha256=_checksum(system_xml),
        u_input=evaluate_input_energy(system, positions, path) / (KB * target.temperature),
        notes=tuple(notes),
        held=target.held,
    )
    text = io.StringIO()
    app.PDBFile.writeFile(pdb.topology, positions * unit.nanometer, text, keepIds=True)
    atoms = list(pdb.topology.atoms())
    return Molecule(
        system_xml=system_xml,
        pdb_text=text.getvalue(),
        positions=positions,
        elements=tuple(atom.element.symbol for atom in atoms),
        atom_names=tuple(atom.name for atom in atoms),
        bonds=bonds,
        constraints=constraints,
        temperature=float(target.temperature),
        torsions=compute_torsion_profiles(system, bonds, positions),
        held=target.held,
        fingerprint=fingerprint,
    )


def _find_file(name: str, folder: Path, key: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise TargetError(
            f"{key}: {path} does not exist. Paths are relative to the folder of the YAML file."
        )
    return path


def _read_pdb(path: Path) -> app.PDBFile:
    check_is_pdb(path)
    lines = path.read_text(errors="replace").splitlines()
    count = sum(line.startswith(("ATOM  ", "HETATM")) for line in lines)
    if count < 2:
        raise TargetError(
            f"{path} holds {count} ATOM and HETATM records; a molecule of at least two atoms is "
            "needed, in PDB format: a single atom has nothing to sample."
        )
    try:
        pdb = app.PDBFile(str(path))
    except Exception as error:  # OpenMM's reader raises whatever its parsing step raised
        raise TargetError(
            f"{path} cannot be read as a PDB file: {error!r}. Coordinates stand in columns 31-54, "
            "elements in columns 77-78."
        ) from error
    lengths = pdb.topology.getUnitCellDimensions()
    if lengths is not None and max(lengths.value_in_unit(unit.angstrom)) < 1.001:
        pdb.topology.setPeriodicBoxVectors(None)  # 1 x 1 x 1 A is the PDB's word for "no crystal"
    return pdb


def _read_system(path: Path, trust: bool) -> openmm.System:
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


def _drop_without_energy(system: openmm.System) -> list[str]:
    """Remove the forces that act on dynamics alone, and say so."""
    names = [type(force).__name__ for force in system.getForces()]
    dropped = [k for k, name in enumerate(names) if name in WITHOUT_ENERGY]
    for k in reversed(dropped):
        system.removeForce(k)
    if not dropped:
        return []
    return [f"dropped from the System, as without energy: {', '.join(names[k] for k in dropped)}"]


def _read_forcefield(names: tuple[str, ...], folder: Path, trust: bool) -> app.ForceField:
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
        return forcefield.createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints={"none": None, "hbonds": app.HBonds}[constraints],
            rigidWater=False,
            removeCMMotion=False,
        )
    except Exception as error:
        if not unmatched:
            raise TargetError(f"{path}: OpenMM cannot build the System: {error}") from error
        raise TargetError(
            f"{where} has no template in the force field. OpenMM says: {error}\n"
            "Check for missing atoms, hydrogens and caps (PDBFixer repairs them), name a force "
            "field that knows the residue, or give target.system: a serialized System XML."
        ) from error


def _solvent(system: openmm.System) -> str:
    names = {type(force).__name__ for force in system.getForces()}
    born = names & {"GBSAOBCForce", "CustomGBForce", "AmoebaGeneralizedKirkwoodForce"}
    return f"implicit, generalised Born ({', '.join(sorted(born))})" if born else "vacuum"


def _cutoff(system: openmm.System) -> str:
    """Name the cutoff, "none" unless a force truncates its interactions (0 is NoCutoff)."""
    cut = [f for f in system.getForces() if getattr(f, "getNonbondedMethod", int)() != 0]
    lengths = {f.getCutoffDistance().value_in_unit(unit.nanometer) for f in cut}
    return ", ".join(f"{length:g} nm" for length in sorted(lengths)) or "none"


def _checksum(system_xml: str) -> str:
    # without the version of OpenMM, or an upgrade would look like another molecule
    return hashlib.sha256(re.sub(r' openmmVersion="[^"]*"', "", system_xml).encode()).hexdigest()
