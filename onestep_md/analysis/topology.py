"""The topology of a molecule for mdtraj."""

import io

import mdtraj
from mdtraj.formats.pdb.pdbstructure import PdbStructure


def read_topology(pdb_text: str) -> mdtraj.Topology:
    """Read the topology that PDB text describes; atoms keep the names that stand there.

    `mdtraj.load_pdb` reads files alone. Bonds are those of standard residues and CONECT records.
    """
    structure, topology, atoms = PdbStructure(io.StringIO(pdb_text)), mdtraj.Topology(), {}
    for chain in structure.iter_chains():
        new_chain = topology.add_chain(chain.chain_id)
        for residue in chain.iter_residues():
            new_residue = topology.add_residue(
                residue.get_name(), new_chain, residue.number, residue.segment_id
            )
            for atom in residue.atoms:
                serial, charge = atom.serial_number, atom.formal_charge
                atoms[serial] = topology.add_atom(
                    atom.get_name(), atom.element, new_residue, serial, charge
                )
    topology.create_standard_bonds()
    bonded = {frozenset(bond) for bond in topology.bonds}
    for first, *others in structure.models[-1].connects:
        for second in others:
            pair = atoms[first], atoms[second]
            if frozenset(pair) not in bonded:
                topology.add_bond(*pair)
                bonded.add(frozenset(pair))
    return topology
