"""Torsions by name, their angles, and regions of torsion space.

Signs follow IUPAC and mdtraj: looking along the middle bond, clockwise is positive.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import mdtraj
import numpy as np

from onestep_md.analysis.topology import read_topology
from onestep_md.errors import ConfigError

Quad = tuple[int, int, int, int]
AtomSpec = int | str
Ranges = Mapping[str, Sequence[float]]  # torsion name -> (low, high) in degrees, may wrap


def find_torsions(
    pdb_text: str,
    spec: str | Mapping[str, Sequence[AtomSpec]],
    rotatable: Sequence[Quad] = (),
    bonds: Sequence[tuple[int, int]] = (),
) -> dict[str, Quad]:
    """Find named torsions as 0-based atom indices.

    Args:
        pdb_text: PDB whose atom order is that of all conformations.
        spec: "auto" for phi and psi of every residue, named `phi`, `psi` where there is one of
            each and `phi_2`, `psi_2`, ... by residue number otherwise; or a mapping from a name to
            four atoms, each a 0-based index or "RESNAME:RESID:ATOM" such as "ALA:2:CA".
        rotatable: torsions that "auto" takes where there is no phi and no psi, named by their
            atoms, such as `C1-C2-O3-C4`.
        bonds: bonds of the molecule; one of C and N of residues that do not follow each other
            closes a ring, whose phi and psi there are among those of "auto".

    Raises:
        ConfigError: an atom does not exist; the message names it and its torsion.
    """
    topology = read_topology(pdb_text)
    if isinstance(spec, str):
        if spec != "auto":
            raise ConfigError(
                f"sample.torsions: `{spec}` is neither `auto` nor a list of torsions."
            )
        return _find_backbone_torsions(topology, bonds) or _name_quads(topology, rotatable)
    return {name: _find_quad(topology, name, atoms) for name, atoms in spec.items()}


def _find_backbone_torsions(
    topology: mdtraj.Topology, bonds: Sequence[tuple[int, int]]
) -> dict[str, Quad]:
    frame = mdtraj.Trajectory(np.zeros((1, topology.n_atoms, 3)), topology)
    phi = mdtraj.compute_phi(frame)[0].tolist()
    psi = mdtraj.compute_psi(frame)[0].tolist()
    for c, n in _find_closing_bonds(topology, bonds):
        last, first = ({atom.name: atom.index for atom in a.residue.atoms} for a in (c, n))
        if "CA" in first and "C" in first:
            phi.append([c.index, n.index, first["CA"], first["C"]])
        if "CA" in last and "N" in last:
            psi.append([last["N"], last["CA"], c.index, n.index])
    if len(phi) <= 1 and len(psi) <= 1:
        return {name: tuple(q[0]) for name, q in (("phi", phi), ("psi", psi)) if q}
    # atom 1 of psi (N-CA-C-N) and atom 2 of phi (C-N-CA-C) are both CA: the residue meant
    named = [(topology.atom(q[2]).residue, "phi", q) for q in phi]
    named += [(topology.atom(q[1]).residue, "psi", q) for q in psi]
    named.sort(key=lambda entry: (entry[0].index, entry[1]))
    return {f"{kind}_{residue.resSeq}": tuple(q) for residue, kind, q in named}


def _find_closing_bonds(
    topology: mdtraj.Topology, bonds: Sequence[tuple[int, int]]
) -> Iterator[tuple[mdtraj.core.topology.Atom, mdtraj.core.topology.Atom]]:
    """Find the bonds C-N of residues of which the second does not follow the first."""
    for bond in bonds:
        for c, n in itertools.permutations(topology.atom(i) for i in bond):
            if (c.name, n.name) == ("C", "N") and n.residue.index not in (
                c.residue.index,
                c.residue.index + 1,
            ):
                yield c, n


def _name_quads(topology: mdtraj.Topology, quads: Sequence[Quad]) -> dict[str, Quad]:
    """Name torsions by their atoms, with 0-based indices (`C1_0`) if names of atoms repeat."""
    names = [atom.name for atom in topology.atoms]
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    return {"-".join(names[i] for i in quad): quad for quad in quads}


def _find_quad(topology: mdtraj.Topology, name: str, atoms: Sequence[AtomSpec]) -> Quad:
    if len(atoms) != 4:
        raise ConfigError(f"sample.torsions.{name}: a torsion has 4 atoms, not {len(atoms)}.")
    a, b, c, d = (_find_atom(topology, name, atom) for atom in atoms)
    if len({a, b, c, d}) < 4:
        raise ConfigError(f"sample.torsions.{name}: the same atom appears twice in {list(atoms)}.")
    return a, b, c, d


def _find_atom(topology: mdtraj.Topology, torsion: str, atom: AtomSpec) -> int:
    where = f"sample.torsions.{torsion}: atom `{atom}`"
    if isinstance(atom, int):
        if 0 <= atom < topology.n_atoms:
            return atom
        raise ConfigError(
            f"{where} does not exist: the PDB has {topology.n_atoms} atoms, "
            f"numbered 0 to {topology.n_atoms - 1}."
        )
    parts = atom.split(":")
    if len(parts) != 3 or not parts[1].strip().lstrip("-").isdigit():
        raise ConfigError(
            f"{where} is not of the form RESNAME:RESID:ATOM (such as ALA:2:CA) or a 0-based index."
        )
    residue_name, number, atom_name = parts[0].strip(), int(parts[1]), parts[2].strip()
    for residue in topology.residues:
        if (residue.name, residue.resSeq) == (residue_name, number):
            for candidate in residue.atoms:
                if candidate.name == atom_name:
                    return candidate.index
            known = " ".join(candidate.name for candidate in residue.atoms)
            raise ConfigError(f"{where} does not exist. {residue_name}:{number} has: {known}.")
    known = " ".join(f"{residue.name}:{residue.resSeq}" for residue in topology.residues)
    raise ConfigError(
        f"{where}: there is no residue {residue_name}:{number}. The PDB has: {known}."
    )


def torsion_angles(x: np.ndarray, quads: Sequence[Quad]) -> np.ndarray:
    """Compute torsion angles of conformations.

    Args:
        x: (n, atoms, 3) positions in any unit.
        quads: n_torsions tuples of four atom indices.

    Returns:
        (n, n_torsions) angles, radians in [-pi, pi).
    """
    if not len(quads):
        return np.zeros((len(x), 0))
    a, b, c, d = (x[:, index] for index in np.asarray(quads).T)
    b1, b2, b3 = b - a, c - b, d - c
    normal_1, normal_2 = np.cross(b1, b2), np.cross(b2, b3)
    sine = (b1 * normal_2).sum(-1) * np.linalg.norm(b2, axis=-1)
    cosine = (normal_1 * normal_2).sum(-1)
    angle = np.arctan2(sine, cosine)
    return np.where(angle >= np.pi, -np.pi, angle)


def region_membership(
    angles: np.ndarray, names: Sequence[str], regions: Mapping[str, Ranges]
) -> np.ndarray:
    """Find which conformations lie in which regions.

    Args:
        angles: (n, n_torsions) angles, radians.
        names: names of the torsions, in the order of the columns.
        regions: region name -> torsion name -> (low, high) in degrees. A range with low > high
            wraps through 180; torsions that a region does not name are free.

    Returns:
        (n, n_regions) bool, in the order of `regions`.
    """
    inside = np.ones((len(angles), len(regions)), dtype=bool)
    column = {name: index for index, name in enumerate(names)}
    for place, (region, ranges) in enumerate(regions.items()):
        for torsion, (low, high) in ranges.items():
            if torsion not in column:
                known = ", ".join(names) or "none"
                raise ConfigError(
                    f"regions.{region}: there is no torsion `{torsion}`. Torsions: {known}. "
                    "Name it under sample.torsions."
                )
            offset = np.mod(np.degrees(angles[:, column[torsion]]) - low, 360.0)
            # a range of 360 degrees or more is the whole circle, not the empty range
            inside[:, place] &= offset < (high - low if high - low >= 360 else (high - low) % 360)
    return inside
