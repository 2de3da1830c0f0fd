"""Topologies of PDB text are those that mdtraj reads from files."""

from pathlib import Path

import mdtraj
import pytest

from onestep_md.analysis.topology import read_topology

SYSTEMS = Path(__file__).parents[2] / "systems"


def _facts(topology):
    residues = [(r.name, r.resSeq, r.segment_id, r.chain.index) for r in topology.residues]
    atoms = [(a.name, a.element, a.serial, a.residue.index) for a in topology.atoms]
    bonds = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds]
    return [chain.chain_id for chain in topology.chains], residues, atoms, bonds


@pytest.mark.parametrize("path", sorted(SYSTEMS.rglob("*.pdb")), ids=lambda path: path.stem)
def test_topologies_of_text_and_file_are_alike(path):
    expected = mdtraj.load_pdb(str(path), standard_names=False).topology
    assert _facts(read_topology(path.read_text())) == _facts(expected)
