"""Symmetries of molecules, by what they make of torsions."""

from pathlib import Path

import numpy as np
import pytest
from small_molecules import write_molecule

from onestep_md.config import load_config
from onestep_md.coordinates.rotors import find_rotatable_torsions, torsion_symmetries
from onestep_md.coordinates.symmetry import find_images
from onestep_md.targets.molecule import load_molecule

MOLECULES = Path(__file__).parents[2] / "systems" / "molecules"


def load(path):
    config = load_config(path)
    return load_molecule(config.molecule, config.folder)


def images(molecule):
    """Images of the rotatable torsions, by the names of their atoms."""
    quads = find_rotatable_torsions(molecule)
    found = find_images(molecule, quads, torsion_symmetries(molecule, quads))
    assert found.quads[: len(quads)] == quads
    assert found.columns[0].tolist() == list(range(len(quads)))
    names = ["-".join(molecule.atom_names[i] for i in quad) for quad in found.quads]
    return [[names[k] for k in row] for row in found.columns]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("butane", 1),  # its torsion becomes itself
        ("biphenyl", 1),
        ("acetate", 1),
        ("butanone", 1),
        # the ring's two ways around are alike, and CH3 tells its face: no proper symmetry
        ("methylcyclohexane", 1),
        ("spiroheptane", 4),  # the rotations of D2d
    ],
)
def test_molecules_have_as_many_symmetries_as_torsions_tell(name, count):
    assert len(images(load(MOLECULES / f"{name}.yaml"))) == count


def test_the_halves_of_a_molecule_are_exchanged():
    first, second = images(load(MOLECULES / "butanediol.yaml"))
    assert first == ["C1-C2-O1-H5", "C1-C2-C3-C4", "C2-C3-O2-H7"]
    # the torsion of one half is that of the other about the atoms that are alike
    assert second == ["C4-C3-O2-H7", "C1-C2-C3-C4", "C3-C2-O1-H5"]


def ring(tmp_path, elements: list[str]):
    """A puckered ring, each atom with two atoms of hydrogen."""
    n = len(elements)
    turn = 2.0 * np.pi * np.arange(n) / n
    radius = 0.15 / (2.0 * np.sin(np.pi / n))
    x = [[radius * np.cos(t), radius * np.sin(t), 0.03 * (-1) ** k] for k, t in enumerate(turn)]
    x += [
        [(radius + 0.06) * np.cos(t), (radius + 0.06) * np.sin(t), side * 0.09]
        for t in turn
        for side in (1.0, -1.0)
    ]
    bonds = [(k, (k + 1) % n, 0.15, 1e5) for k in range(n)]
    bonds += [(k // 2, n + k, 0.11, 1e5) for k in range(2 * n)]
    angles = [(k, (k + 1) % n, (k + 2) % n, 111.0, 400.0) for k in range(n)]
    files = write_molecule(tmp_path, [*elements, *"H" * 2 * n], x, bonds, angles)
    path = tmp_path / "ring.yaml"
    path.write_text(
        f"target: {{pdb: {files['pdb']}, system: {files['system']}, temperature: 300}}\n"
    )
    return load(path)


@pytest.mark.parametrize(("elements", "count"), [("C C C C C C", 12), ("C C Si C C Si", 4)])
def test_rings_are_numbered_from_every_like_atom_both_ways(tmp_path, elements, count):
    rows = images(ring(tmp_path, elements.split()))
    assert len(rows) == count
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}  # onto each other


def test_too_many_symmetries_are_said(monkeypatch):
    monkeypatch.setattr("onestep_md.coordinates.symmetry._MOST", 1)
    molecule = load(MOLECULES / "butanediol.yaml")
    quads = find_rotatable_torsions(molecule)
    found = find_images(molecule, quads, (1, 1, 1))
    assert found.count is None and len(found.columns) == 1
