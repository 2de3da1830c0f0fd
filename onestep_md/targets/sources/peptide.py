"""A peptide from the names of its residues, by the templates of a force field."""

from pathlib import Path

import numpy as np
import openmm
from openmm import app

from onestep_md.errors import TargetError
from onestep_md.targets.sources.building import build_geometry
from onestep_md.targets.sources.forcefield import load_forcefield
from onestep_md.targets.sources.mirroring import check_mirror_images, mirror_residues
from onestep_md.targets.sources.names import name_as_pdb
from onestep_md.targets.sources.residue_stereo import find_isomer, measure_remoteness
from onestep_md.targets.sources.sequence import SULFUR, Chain, read_sequence
from onestep_md.targets.sources.solvent import use_own_obc2
from onestep_md.targets.sources.structure import Structure, describe_error, system_options

_PATH = Path("target.peptide")  # what messages name
_CIS = 3  # residues; amides of rings of as many or fewer are cis
_BACKBONE = ("N", "CA", "C", "O")
_DIGITS = 4  # of nm, as in a PDB file


def read_peptide(target, folder: Path, trust: bool) -> Structure:
    """Build the peptide that target.peptide names, by target.forcefield.

    Args:
        target: the configuration's target.
        folder: of the YAML file; relative paths start there.
        trust: whether code in force-field files may run.

    Raises:
        TargetError: the force field lacks a residue, or the molecule cannot be built.
    """
    names = tuple(target.forcefield)
    forcefield = load_forcefield(names, folder, trust)
    cyclic = bool(target.cyclic)
    chain = read_sequence(target.peptide, cyclic, target.disulfides or (), forcefield._templates)
    topology = _connect(chain, forcefield)
    original = _create_system(forcefield, topology, chain, "none")
    cis = cyclic and len(chain.residues) <= _CIS
    kinds = [residue.kind for residue in chain.residues]
    mirrored = [residue.mirrored for residue in chain.residues]
    free = openmm.XmlSerializer.clone(original)
    mirror_residues(free, topology, mirrored)
    isomer, unknown = find_isomer(topology, kinds, mirrored, cis)
    positions, fault = build_geometry(free, topology, isomer)
    if positions is None:
        raise TargetError(
            f"{_PATH}: no geometry could be built ({fault}). Build it with another program and "
            "give it as target.pdb."
        )
    positions = np.round(positions, _DIGITS)
    if any(mirrored):
        check_mirror_images(original, free, topology, mirrored, positions, _PATH)
    system = free
    if target.constraints != "none":
        system = _create_system(forcefield, topology, chain, target.constraints)
        mirror_residues(system, topology, mirrored)
    named, notes = name_as_pdb(topology, positions, _PATH)
    return Structure(
        system, named, positions, _PATH, names,
        (*_describe(chain, cis, unknown), *notes),
    )  # fmt: skip


def _connect(chain: Chain, forcefield: app.ForceField) -> app.Topology:
    """Make a topology of the templates, with the bonds between them."""
    topology = app.Topology()
    segment, atoms = topology.addChain("A"), []
    for number, residue in enumerate(chain.residues, start=1):
        template = forcefield._templates[residue.template]
        if any(atom.element is None for atom in template.atoms):
            raise TargetError(
                f"{_PATH}: residue {number}, {residue.name}, has virtual sites in the force "
                "field; every particle must be an atom: take another force field."
            )
        new = topology.addResidue(residue.name, segment, str(number))
        own = {
            atom.name: topology.addAtom(atom.name, atom.element, new)
            for atom in sorted(template.atoms, key=_order)
        }
        for i, j in template.bonds:
            topology.addBond(*(own[template.atoms[k].name] for k in (i, j)))
        atoms.append(own)
    count = len(atoms)
    for k in range(count if chain.cyclic else count - 1):
        topology.addBond(atoms[k]["C"], atoms[(k + 1) % count]["N"])
    for i, j in chain.disulfides:
        topology.addBond(atoms[i][SULFUR], atoms[j][SULFUR])
    return topology


def _order(atom) -> tuple:
    """Order the atoms of a residue as the PDB does: backbone, side chain, hydrogens."""
    backbone = _BACKBONE.index(atom.name) if atom.name in _BACKBONE else len(_BACKBONE)
    return atom.element.symbol == "H", backbone, measure_remoteness(atom.name), atom.name


def _create_system(
    forcefield: app.ForceField, topology: app.Topology, chain: Chain, constraints: str
) -> openmm.System:
    templates = {
        residue: each.template
        for residue, each in zip(topology.residues(), chain.residues, strict=True)
    }
    try:
        system = forcefield.createSystem(
            topology, residueTemplates=templates, **system_options(constraints)
        )
    except Exception as error:  # scripts of force fields raise whatever they raise
        raise TargetError(
            f"{_PATH}: OpenMM cannot build the System: {describe_error(error)}. Take another "
            "force field or residue, or give target.pdb and target.system."
        ) from error
    use_own_obc2(system)
    return system


def _describe(chain: Chain, cis: bool, unknown: list[str]) -> list[str]:
    """Describe what was understood and chosen, in notes."""
    names = "-".join(residue.name for residue in chain.residues)
    ring = ", cyclic: N of the first residue is bonded to C of the last" if chain.cyclic else ""
    notes = [f"peptide {names}{ring}", *chain.notes]
    if cis:
        notes.append("amides are cis: in so small a ring they cannot be trans")
    if unknown:
        notes.append(
            f"stereocentres that no name tells, as they were built: {', '.join(unknown)}; give "
            "target.pdb for their other forms"
        )
    return notes
