"""The residues of a molecule's atoms, for tests that speak of atoms by their names."""

import io

from openmm import app


def residue_labels(molecule):
    """The residue of every atom, such as ALA:2."""
    topology = app.PDBFile(io.StringIO(molecule.pdb_text)).topology
    return [f"{atom.residue.name}:{atom.residue.id}" for atom in topology.atoms()]
