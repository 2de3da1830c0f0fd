"""A ligand before it has parameters: atoms, bonds and a geometry."""

from dataclasses import dataclass

import numpy as np
from openmm import app

RESIDUE = "LIG"


@dataclass(frozen=True)
class Ligand:
    """One molecule with all its hydrogens.

    Attributes:
        elements: (atoms,) chemical symbols.
        names: (atoms,) names, no two the same.
        bonds: pairs of atom indices.
        geometries: (geometries, atoms, 3) in nm, with the digits of a PDB file; several if one has
            to be chosen, the likeliest first.
        charge: net charge in e.
        molfile: the same as a molfile of MDL, with bond orders, for other programs.
        notes: what was understood and chosen, a sentence each.
    """

    elements: tuple[str, ...]
    names: tuple[str, ...]
    bonds: tuple[tuple[int, int], ...]
    geometries: np.ndarray
    charge: int
    molfile: str
    notes: tuple[str, ...]

    @property
    def positions(self) -> np.ndarray:
        """The first geometry (atoms, 3) in nm."""
        return self.geometries[0]

    def topology(self) -> app.Topology:
        """Make a topology of one residue, LIG 1."""
        topology = app.Topology()
        residue = topology.addResidue(RESIDUE, topology.addChain("A"), "1")
        atoms = [
            topology.addAtom(name, app.Element.getBySymbol(symbol), residue)
            for name, symbol in zip(self.names, self.elements, strict=True)
        ]
        for i, j in self.bonds:
            topology.addBond(atoms[i], atoms[j])
        return topology
