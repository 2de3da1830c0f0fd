"""Torsions: signs and names against mdtraj, regions against counts, errors by their words."""

import mdtraj
import numpy as np
import pytest
from synthetic_run import ALANINE, REGIONS

from onestep_md.analysis.topology import read_topology
from onestep_md.analysis.torsions import (
    find_torsions,
    region_membership,
    torsion_angles,
)
from onestep_md.errors import ConfigError


@pytest.fixture
def frames():
    x = np.random.default_rng(0).normal(size=(50, 22, 3))
    return mdtraj.Trajectory(x, read_topology(ALANINE))


def test_auto_finds_phi_and_psi_as_mdtraj_does(frames):
    found = find_torsions(ALANINE, "auto")
    assert list(found) == ["phi", "psi"]
    for name, compute in (("phi", mdtraj.compute_phi), ("psi", mdtraj.compute_psi)):
        quads, angles = compute(frames)
        assert tuple(quads[0]) == found[name]
        computed = torsion_angles(frames.xyz.astype(float), [found[name]])
        np.testing.assert_allclose(computed, angles, atol=2e-5)


def test_several_residues_are_numbered():
    rows = [line for line in ALANINE.splitlines() if " ALA " in line]
    again = [f"{line[:25]}3{line[26:]}" for line in rows]
    caps = [line for line in ALANINE.splitlines() if " ACE " in line]
    end = [f"{line[:25]}4{line[26:]}" for line in ALANINE.splitlines() if " NME " in line]
    text = "\n".join([*caps, *rows, *again, *end, "END"]) + "\n"
    assert list(find_torsions(text, "auto")) == ["phi_2", "psi_2", "phi_3", "psi_3"]


def test_a_ring_of_residues_has_phi_and_psi_where_it_closes():
    rows = [line for line in ALANINE.splitlines() if " ALA " in line]
    text = "\n".join(f"{row[:25]}{k}{row[26:]}" for k in (1, 2, 3) for row in rows) + "\nEND\n"
    n = len(rows)
    names = [row[12:16].strip() for row in rows]
    first, last = ({name: start + k for k, name in enumerate(names)} for start in (0, 2 * n))
    open_chain = find_torsions(text, "auto")
    assert list(open_chain) == ["psi_1", "phi_2", "psi_2", "phi_3"]
    bonds = [(n + names.index("C"), last["N"]), (first["N"], last["C"])]
    ring = find_torsions(text, "auto", bonds=bonds)
    assert list(ring) == ["phi_1", "psi_1", "phi_2", "psi_2", "phi_3", "psi_3"]
    assert ring.items() >= open_chain.items()
    assert ring["phi_1"] == (last["C"], first["N"], first["CA"], first["C"])
    assert ring["psi_3"] == (last["N"], last["CA"], last["C"], first["N"])


def test_rotatable_torsions_stand_in_for_phi_and_psi_where_there_are_none():
    quad = (0, 4, 6, 8)
    assert list(find_torsions(ALANINE, "auto", [quad])) == ["phi", "psi"]
    ends = "\n".join(line for line in ALANINE.splitlines() if " NME " in line)
    assert find_torsions(ends, "auto", [(1, 0, 2, 3)]) == {"H-N-C-H1": (1, 0, 2, 3)}
    # names of atoms that repeat are told apart by their indices
    again = f"{ends}\n" + ends.replace(" NME A   3", " NME A   4")
    assert find_torsions(again, "auto", [(1, 0, 2, 3)]) == {"H_1-N_0-C_2-H1_3": (1, 0, 2, 3)}
    assert find_torsions(ends, {"t": [1, 0, 2, 3]}, [quad]) == {"t": (1, 0, 2, 3)}


def test_named_atoms_and_indices_agree():
    spec = {"phi": ["ACE:1:C", "ALA:2:N", "ALA:2:CA", "ALA:2:C"], "same": [4, 6, 8, 10]}
    found = find_torsions(ALANINE, spec)
    assert found["phi"] == found["same"] == find_torsions(ALANINE, "auto")["phi"]


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (["ACE:1:C", "ALA:2:N", "ALA:2:CX", "ALA:2:C"], ["omega", "ALA:2:CX", "HB1", "CA"]),
        (["ACE:1:C", "ALA:3:N", "ALA:2:CA", "ALA:2:C"], ["omega", "ALA:3", "ACE:1 ALA:2 NME:3"]),
        ([4, 6, 8, 22], ["omega", "22", "0 to 21"]),
        ([4, 6, 8, -1], ["omega", "-1"]),
        ([4, 6, 8], ["omega", "4 atoms, not 3"]),
        ([4, 6, 8, 4], ["omega", "twice"]),
        (["C", "N", "CA", "C"], ["omega", "RESNAME:RESID:ATOM"]),
    ],
)
def test_wrong_atoms_are_named(atoms, words):
    with pytest.raises(ConfigError) as error:
        find_torsions(ALANINE, {"omega": atoms})
    for word in words:
        assert word in str(error.value)


def test_angles_lie_in_half_open_interval():
    trans = np.array([[[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, -1, 0]]], dtype=float)
    assert torsion_angles(trans, [(0, 1, 2, 3)])[0, 0] == -np.pi
    assert torsion_angles(trans, []).shape == (1, 0)


def test_regions_wrap():
    grid = np.radians(np.arange(-180, 180) + 0.5)
    regions = {
        "plain": {"phi": (-120, -40)},
        "wrapped": {"phi": (170, -170)},
        "whole": {"phi": (-180, 180)},
        "free": {},
    }
    inside = region_membership(grid[:, None], ["phi"], regions)
    assert inside.sum(axis=0).tolist() == [80, 20, 360, 360]
    assert inside[:10, 1].all() and inside[-10:, 1].all()


def test_region_needs_all_its_torsions():
    angles = np.radians([[-80.0, 60.0], [-80.0, -60.0], [60.0, 60.0]])
    inside = region_membership(angles, ["phi", "psi"], REGIONS)
    assert inside[:, 1].tolist() == [True, False, False]
    with pytest.raises(ConfigError, match="C7eq: there is no torsion `psi`.*phi"):
        region_membership(angles, ["phi"], {"C7eq": {"psi": (0, 1)}})
