"""Checks of a molecule; every refusal says what to do.

The density is exp(-U / kT) over the free motion of one molecule in R^3. So: one connected
molecule, no box, no particle whose position is not a coordinate of its own, no constraints except
bond lengths, and an energy that moving and turning the whole does not change.
"""

from pathlib import Path

import networkx
import numpy as np
import openmm
from openmm import app, unit

from onestep_md.errors import TargetError
from onestep_md.targets.reference_energy import ReferenceEnergy

WATER = {"HOH", "WAT", "H2O", "TIP3", "TIP4", "SOL", "SPC", "DOD"}

# names of D amino acids in the PDB -> those of their mirror images
D_RESIDUES = {
    "DAL": "ALA", "DAR": "ARG", "DSG": "ASN", "DAS": "ASP", "DCY": "CYS", "DGN": "GLN",
    "DGL": "GLU", "DHI": "HIS", "DIL": "ILE", "DLE": "LEU", "DLY": "LYS", "MED": "MET",
    "DPN": "PHE", "DPR": "PRO", "DSN": "SER", "DTH": "THR", "DTR": "TRP", "DTY": "TYR",
    "DVA": "VAL",
}  # fmt: skip


def check_topology(topology: app.Topology, path: Path) -> None:
    """Refuse solvent, boxes and particles that are no atoms."""
    residues = list(topology.residues())
    if any(residue.name in WATER for residue in residues) and len(residues) > 1:
        raise TargetError(
            f"{path} contains water. Explicit solvent is refused: the density must be that of "
            "one molecule. Delete the water and the ions and use an implicit solvent, for "
            "example forcefield: [amber99sbildn.xml, amber99_obc.xml]."
        )
    if topology.getPeriodicBoxVectors() is not None:
        raise TargetError(
            f"{path} has a periodic box (its CRYST1 line). Boxes are refused: the density must "
            "be that of one molecule in free space. If the box is a leftover, delete that line."
        )
    for atom in topology.atoms():
        if atom.element is None:
            raise TargetError(
                f"{path}: no chemical element for {label(atom)}. Fill columns 77-78 of its line; "
                "extra points and virtual sites are not supported."
            )


def find_bonds(topology: app.Topology, path: Path) -> tuple[tuple[int, int], ...]:
    """Find the bonds as index pairs; refuse all except one connected molecule."""
    residues = list(topology.residues())
    pairs = {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}
    graph = networkx.Graph()
    graph.add_nodes_from(range(topology.getNumAtoms()))
    graph.add_edges_from(pairs)
    for residue in residues:
        indices = [atom.index for atom in residue.atoms()]
        if len(indices) > 1 and graph.subgraph(indices).number_of_edges() == 0:
            raise TargetError(
                f"{path}: residue {residue.name}:{residue.id} has no bonds. It is not a standard "
                "residue, so the PDB must list its bonds in CONECT records"
                f"{_suggest_name(residue)}."
            )
    atoms = list(topology.atoms())
    parts = sorted(networkx.connected_components(graph), key=len, reverse=True)
    if len(parts) > 1:
        names = ", ".join(label(atoms[min(part)]) for part in parts[:4])
        raise TargetError(
            f"{path} holds {len(parts)} molecules that no bond connects (they start at {names}). "
            "Only one molecule can be sampled: delete the others. If they are one molecule, atom "
            "names are not the PDB's standard ones: correct them or add CONECT records."
        )
    return tuple(sorted(pairs))


def check_geometry(positions: np.ndarray, bonds: tuple[tuple[int, int], ...], path: Path) -> None:
    """Refuse coordinates that are not finite or not in Angstrom."""
    if not np.isfinite(positions).all():
        atom = 1 + int(np.flatnonzero(~np.isfinite(positions).all(1))[0])
        raise TargetError(f"{path}: the coordinates of atom {atom} of the file are not numbers.")
    i, j = np.array(bonds).reshape(-1, 2).T
    length = np.median(np.linalg.norm(positions[i] - positions[j], axis=1)) if bonds else 0.1
    if length > 0.4:
        raise TargetError(
            f"{path}: half of the bonds are longer than {10 * length:.1f} A. Coordinates of a PDB "
            "file are in Angstrom (10 A = 1 nm); write them anew, or mend the bonds that its "
            "CONECT records list."
        )


def check_particles(system: openmm.System, topology: app.Topology) -> None:
    """Refuse atoms that are no free coordinates: virtual sites and frozen ones."""
    for atom in topology.atoms():
        if system.isVirtualSite(atom.index):
            raise TargetError(
                f"{label(atom)} is a virtual site. Its position is a function of other atoms, "
                "which leaves no density over it; use a force field without virtual sites."
            )
        if system.getParticleMass(atom.index).value_in_unit(unit.dalton) <= 0:
            raise TargetError(
                f"{label(atom)} has zero mass, that is, it is held in place. Give it its mass; "
                "every atom must be free to move."
            )


def find_constraints(
    system: openmm.System, bonds: tuple[tuple[int, int], ...], topology: app.Topology
) -> tuple[tuple[int, int, float], ...]:
    """Find the constraints as (i, j, length in nm); refuse all except bond lengths."""
    atoms = list(topology.atoms())
    constraints, bonded = [], set(bonds)
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        constraints.append((min(i, j), max(i, j), length.value_in_unit(unit.nanometer)))
    others = [(i, j) for i, j, _ in constraints if (i, j) not in bonded]
    if others:
        i, j = others[0]
        more = f" ({len(others) - 1} more are)" if len(others) > 1 else ""
        raise TargetError(
            f"The distance between {label(atoms[i])} and {label(atoms[j])} is constrained, but "
            f"they are not bonded{more}. Only bond lengths may be constrained, no angles and no "
            "rigid water: build the System with constraints=None or HBonds, and rigidWater=False."
        )
    _check_rings_are_free(constraints, atoms)
    return tuple(constraints)


def _check_rings_are_free(
    constraints: list[tuple[int, int, float]], atoms: list[app.topology.Atom]
) -> None:
    """Refuse a ring with all bonds constrained: they are not independent coordinates."""
    cycles = networkx.cycle_basis(networkx.Graph((i, j) for i, j, _ in constraints))
    if not cycles:
        return
    ring = min(cycles, key=lambda cycle: (len(cycle), min(cycle)))
    more = f", and so are those of {len(cycles) - 1} more rings" if len(cycles) > 1 else ""
    first = sorted(ring)[0]
    position = ring.index(first)
    second = min(ring[position - 1], ring[(position + 1) % len(ring)])
    names = ", ".join(label(atoms[i]) for i in ring)
    raise TargetError(
        f"All bonds of the ring {names} are constrained{more}, and one bond of a ring has to be "
        f"free. Drop a constraint, such as that of {label(atoms[first])} and "
        f"{label(atoms[second])}, and give this bond its harmonic term; the simplest is "
        "constraints=HBonds or None where the System is built."
    )


def evaluate_input_energy(system: openmm.System, positions: np.ndarray, path: Path) -> float:
    """Evaluate the input geometry in kJ/mol; refuse an energy that a rigid motion changes."""
    try:
        whole = ReferenceEnergy(system)
    except openmm.OpenMMException as error:
        raise TargetError(f"OpenMM cannot use the System made for {path}: {error}") from error

    def energy(x: np.ndarray) -> float:
        try:
            return whole.evaluate(x)
        except openmm.OpenMMException as error:
            raise TargetError(f"OpenMM cannot evaluate the energy of {path}: {error}") from error

    here = energy(positions)
    if not np.isfinite(here):
        raise TargetError(
            f"The energy of {path} is {here}: atoms lie on top of each other. Minimise the "
            "structure first, for example with openmm.LocalEnergyMinimizer."
        )
    turn = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    moved = energy(positions @ turn.T + 0.5)
    if abs(moved - here) > 1e-6 * max(1.0, abs(here)):
        raise TargetError(
            f"The energy changes from {here:.6f} to {moved:.6f} kJ/mol when the molecule is moved "
            "and turned as a whole. Remove position restraints and external fields."
        )
    return here


def _suggest_name(residue: app.topology.Residue) -> str:
    """Suggest the L name of a D residue, by which force fields parametrise both."""
    name = D_RESIDUES.get(residue.name)
    if name is None:
        return ""
    return f", or call this D residue by the name that force fields know, {name}"


def label(atom: app.topology.Atom) -> str:
    """Name an atom as the YAML file does, such as ALA:2:CA."""
    return f"{atom.residue.name}:{atom.residue.id}:{atom.name}"
