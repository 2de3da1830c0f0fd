"""Which torsions tell the conformers of a molecule apart, and which of their turns are alike."""

from pathlib import Path

import pytest

from onestep_md.analysis.torsions import find_torsions
from onestep_md.config import load_config
from onestep_md.coordinates.rotors import find_rotatable_torsions, torsion_symmetries
from onestep_md.targets.molecule import load_molecule

MOLECULES = Path(__file__).parents[2] / "systems" / "molecules"


def load(name):
    config = load_config(MOLECULES / f"{name}.yaml")
    return load_molecule(config.molecule, config.folder)


def named(molecule) -> dict[str, int]:
    """Names of the rotatable torsions and their symmetries."""
    quads = find_rotatable_torsions(molecule)
    names = find_torsions(molecule.pdb_text, "auto", quads)
    return dict(zip(names, torsion_symmetries(molecule, quads), strict=True))


@pytest.mark.parametrize(
    ("name", "torsions"),
    [
        ("benzene", {}),
        ("butane", {"C1-C2-C3-C4": 1}),
        ("butanediol", {"C1-C2-O1-H5": 1, "C1-C2-C3-C4": 1, "C2-C3-O2-H7": 1}),
        ("biphenyl", {"C1-C6-C7-C8": 2}),
        ("phenol", {"H1-O1-C1-C2": 2}),
        # methyl groups, where nothing else turns; a third of a turn, and a half by the other end
        ("trimethylphosphine", {"H1-C1-P1-C2": 3, "C1-P1-C2-H4": 3, "C1-P1-C3-H7": 3}),
        ("acetate", {"H1-C1-C2-O1": 6}),
    ],
)
def test_one_torsion_stands_for_each_bond_that_turns(name, torsions):
    assert named(load(name)) == torsions


def test_rings_that_change_their_shape_have_a_torsion_for_each_bond():
    found = named(load("methylcyclohexane"))
    assert list(found.values()) == [1] * 6
    assert all("C1" not in name.split("-")[1:3] for name in found)


def test_methyl_groups_that_the_user_names_are_symmetric():
    molecule = load("butane")
    quads = find_torsions(
        molecule.pdb_text, load_config(MOLECULES / "butane.yaml").sample.torsions
    )
    assert torsion_symmetries(molecule, list(quads.values())) == (1, 3, 3)


def test_a_torsion_that_is_about_no_bond_has_no_symmetry():
    molecule = load("butane")
    names = molecule.atom_names
    improper = tuple(names.index(name) for name in ("C1", "H1", "H2", "H3"))
    assert torsion_symmetries(molecule, [improper]) == (1,)


def test_a_straight_line_turns_about_its_ends(tmp_path):
    from small_molecules import write_molecule

    x = [[-0.05, 0.1, 0], [0, 0, 0], [0.15, 0, 0], [0.27, 0, 0], [0.42, 0, 0], [0.47, 0.1, 0]]
    chain = [(k, k + 1, 0.13, 1e5) for k in range(5)]
    bends = [(0, 1, 2, 110.0, 400.0), (1, 2, 3, 180.0, 400.0), (2, 3, 4, 180.0, 400.0)]
    bends.append((3, 4, 5, 110.0, 400.0))
    files = write_molecule(tmp_path, list("HOCCOH"), x, chain, bends)
    path = tmp_path / "line.yaml"
    path.write_text(
        f"target: {{pdb: {files['pdb']}, system: {files['system']}, temperature: 300}}\n"
    )
    config = load_config(path)
    molecule = load_molecule(config.molecule, config.folder)
    assert find_rotatable_torsions(molecule) == ((0, 1, 4, 5),)
    assert torsion_symmetries(molecule, [(0, 1, 4, 5)]) == (1,)
