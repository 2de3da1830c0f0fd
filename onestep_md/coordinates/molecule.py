"""The z-matrix map of a molecule, and the isomers that its ensemble holds."""

from onestep_md.coordinates.domain import Quad
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.isomers import Isomers, find_isomers
from onestep_md.coordinates.zmatrix import build_zmatrix
from onestep_md.targets.molecule import Molecule


def build_internal_coordinates(
    molecule: Molecule, centres: list[Quad] | None = None
) -> InternalCoordinates:
    """Build the z-matrix map of a molecule; stereocentres, or `centres`, keep their chirality."""
    zmatrix = build_zmatrix(
        molecule.elements, molecule.bonds, molecule.constraints, molecule.positions
    )
    isomers = find_molecule_isomers(molecule)
    kept = isomers.centres if centres is None else centres
    return InternalCoordinates(zmatrix, kept, isomers.held_bonds, isomers.cis)


def find_molecule_isomers(molecule: Molecule) -> Isomers:
    """Find what an ensemble of a molecule holds as in its input, and what it samples."""
    barriers = {turn.bond: turn.barrier for turn in molecule.torsions if turn.described}
    return find_isomers(
        molecule.elements, molecule.bonds, molecule.positions, barriers, molecule.held
    )
