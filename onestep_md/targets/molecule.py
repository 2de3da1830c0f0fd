"""A molecule, in whatever form it is given.

`load_molecule` lets `sources` read the files, and checks what they hold. Its result is plain text
and numpy arrays, so that it pickles to any worker, which makes its own OpenMM context from
`system_xml`. The density is exp(-U / kT) of one free molecule; `checks` refuses all others.
"""

import hashlib
import io
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from onestep_md.targets.checks import (
    check_geometry,
    check_particles,
    evaluate_input_energy,
    find_bonds,
    find_constraints,
)
from onestep_md.targets.sources.amber import read_amber
from onestep_md.targets.sources.charmm import read_charmm
from onestep_md.targets.sources.forcefield import read_forcefield
from onestep_md.targets.sources.gaff import read_ligand
from onestep_md.targets.sources.gromacs import read_gromacs
from onestep_md.targets.sources.names import number_residues
from onestep_md.targets.sources.peptide import read_peptide
from onestep_md.targets.sources.structure import Structure
from onestep_md.targets.sources.system import read_system
from onestep_md.targets.torsion_profiles import TorsionProfile, compute_torsion_profiles

KB = 0.00831446261815324  # kJ/mol/K
# forces that carry no energy but would act on the dynamics
WITHOUT_ENERGY = {
    "CMMotionRemover", "AndersenThermostat", "MonteCarloBarostat", "MonteCarloAnisotropicBarostat",
    "MonteCarloFlexibleBarostat", "MonteCarloMembraneBarostat",
}  # fmt: skip


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
        molfile: a molfile with bond orders and formal charges, where the input has them.
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
    molfile: str = ""

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
    structure = _read(target, Path(folder), trust)
    system, topology, positions = structure.system, structure.topology, structure.positions
    notes = [*_drop_without_energy(system), *structure.notes, *number_residues(topology)]
    bonds = find_bonds(topology, structure.path)
    check_particles(system, topology)
    constraints = find_constraints(system, bonds, topology)
    check_geometry(positions, bonds, structure.path)
    system_xml = openmm.XmlSerializer.serialize(system)
    fingerprint = Fingerprint(
        pdb=structure.path.name,
        forcefield=structure.forcefield,
        solvent=_solvent(system),
        cutoff=_cutoff(system),
        constraints=f"{len(constraints)} bond lengths" if constraints else "none",
        atoms=len(positions),
        temperature=float(target.temperature),
        system_sha256=_checksum(system_xml),
        u_input=evaluate_input_energy(system, positions, structure.path)
        / (KB * target.temperature),
        notes=tuple(notes),
        held=target.held,
    )
    atoms = list(topology.atoms())
    return Molecule(
        system_xml=system_xml,
        pdb_text=_write_pdb(topology, positions),
        positions=positions,
        elements=tuple(atom.element.symbol for atom in atoms),
        atom_names=tuple(atom.name for atom in atoms),
        bonds=bonds,
        constraints=constraints,
        temperature=float(target.temperature),
        torsions=compute_torsion_profiles(system, bonds, positions),
        held=target.held,
        fingerprint=fingerprint,
        molfile=structure.molfile,
    )


def _read(target, folder: Path, trust: bool) -> Structure:
    """Read the files of a target by the form that it is given in."""
    if target.smiles is not None or target.file is not None:
        return read_ligand(target, folder)
    if target.peptide is not None:
        return read_peptide(target, folder, trust)
    if target.prmtop is not None:
        return read_amber(target, folder)
    if target.top is not None:
        return read_gromacs(target, folder)
    if target.psf is not None:
        return read_charmm(target, folder)
    if target.system is not None:
        return read_system(target, folder, trust)
    return read_forcefield(target, folder, trust)


def _write_pdb(topology: app.Topology, positions: np.ndarray) -> str:
    """Write PDB text; bonds that no reader adds by itself stand in CONECT records."""
    text = io.StringIO()
    app.PDBFile.writeFile(topology, positions * unit.nanometer, text, keepIds=True)
    lines = text.getvalue().splitlines(keepends=True)
    text.seek(0)
    bonds, read = (
        {tuple(sorted((a.index, b.index))) for a, b in each.bonds()}
        for each in (topology, app.PDBFile(text).topology)
    )
    # OpenMM leaves out bonds of two standard residues, as that of the ends of a ring
    serials = [line[6:11] for line in lines if line.startswith(("ATOM  ", "HETATM"))]
    missing = [f"CONECT{serials[i]}{serials[j]}\n" for i, j in sorted(bonds - read)]
    return "".join([*lines[:-1], *missing, lines[-1]])


def _drop_without_energy(system: openmm.System) -> list[str]:
    """Remove the forces that act on dynamics alone, and say so."""
    names = [type(force).__name__ for force in system.getForces()]
    dropped = [k for k, name in enumerate(names) if name in WITHOUT_ENERGY]
    for k in reversed(dropped):
        system.removeForce(k)
    if not dropped:
        return []
    return [f"dropped from the System, as without energy: {', '.join(names[k] for k in dropped)}"]


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
