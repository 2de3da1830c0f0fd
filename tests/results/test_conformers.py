"""Conformers of butane whose populations, energies and entropies are known."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onestep_md.analysis.conformer_text import conformer_table
from onestep_md.analysis.records.conformers import Conformers
from onestep_md.analysis.torsions import find_torsions, torsion_angles
from onestep_md.config import load_config
from onestep_md.coordinates.rotors import find_rotatable_torsions
from onestep_md.results.conformers import (
    Explored,
    _choose_listed,
    find_conformers,
    write_sdf,
)
from onestep_md.results.torsions import are_of_linear_backbone
from onestep_md.targets.molecule import load_molecule
from onestep_md.targets.torsion_profiles import turn_atoms

SYSTEMS = Path(__file__).parents[2] / "systems"
# of anti and the two gauche wells: shares drawn, <u> and spread of u in kT
SHARES, MEANS, SPREADS = (0.5, 0.3, 0.2), np.array([5.0, 6.5, 7.0]), np.array([1.0, 1.5, 0.5])
CENTRES = np.radians([180.0, 65.0, -65.0])


@pytest.fixture(scope="module")
def butane():
    config = load_config(SYSTEMS / "molecules" / "butane.yaml")
    return load_molecule(config.molecule, config.folder)


def draw(butane, n: int, log_w=(0.0, 0.0, 0.0), seed: int = 0):
    """Samples that turn about the middle bond alone, of known wells, energies and weights."""
    (quad,), generator = find_rotatable_torsions(butane), np.random.default_rng(seed)
    turn = next(t for t in butane.torsions if set(t.bond) == set(quad[1:3]))
    given = torsion_angles(butane.positions[None], [quad])[0, 0]
    well = generator.choice(3, n, p=SHARES)
    angle = generator.vonmises(CENTRES[well], 50.0)
    x = turn_atoms(butane.positions, turn.bond, turn.moving, angle - given)
    angles = torsion_angles(x, [quad])
    sign = np.cos(angles[:, 0] - angle).mean()
    assert sign > 0.999  # torsions grow with the turn
    u = MEANS[well] + SPREADS[well] * generator.standard_normal(n)
    weights = np.asarray(log_w)[well]
    samples = SimpleNamespace(x=x, u=u, log_w=weights, log_q=-u - weights)
    return {"C1-C2-C3-C4": quad}, samples, angles, Explored(x, np.arange(n) % 4)


@pytest.fixture(scope="module")
def found(butane):
    torsions, samples, _, explored = draw(butane, 20_000)
    return find_conformers(butane, torsions, samples, explored, seed=1)


def test_populations_energies_and_entropies_are_those_that_were_drawn(butane, found):
    kT = butane.kT
    assert [row.name for row in found.rows] == ["1", "2", "3"]
    assert (found.count, found.others.value) == (3, 0.0)
    assert (found.wells[0].torsion, found.wells[0].wells) == ("C1-C2-C3-C4", 3)
    for k, row in enumerate(found.rows):
        p, delta = row.flow.probability, row.flow.delta_f
        assert abs(p.value - SHARES[k]) < 4.0 * p.error < 0.02
        away = (row.angles[0] - np.degrees(CENTRES[k]) + 180.0) % 360.0 - 180.0
        assert abs(away) < 1.0
        if k == 0:
            assert (delta.value, row.energy.value, row.entropy.value) == (0.0, 0.0, 0.0)
            continue
        energy = kT * (MEANS[k] - MEANS[0])
        free_energy = -kT * np.log(SHARES[k] / SHARES[0])
        assert abs(kT * delta.value - free_energy) < 4.0 * kT * delta.error
        assert abs(row.energy.value - energy) < 4.0 * row.energy.error < 0.5
        assert abs(row.entropy.value - (energy - free_energy)) < 4.0 * row.entropy.error
        # F = U - TS holds for the values themselves
        assert row.energy.value - row.entropy.value == pytest.approx(kT * delta.value)


def test_the_errors_are_those_of_many_sets(butane):
    sets = []
    for seed in range(40):
        torsions, samples, _, explored = draw(butane, 1500, seed=seed)
        row = find_conformers(butane, torsions, samples, explored, seed=1).rows[1]
        sets.append((row.flow.probability, row.energy, row.entropy))
    for estimates in zip(*sets, strict=True):
        values, errors = ([getattr(e, key) for e in estimates] for key in ("value", "error"))
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.4)


def test_the_entropy_is_that_of_the_choice(found):
    p = np.array(SHARES)
    assert abs(found.entropy.value + (p * np.log(p)).sum()) < 4.0 * found.entropy.error
    assert found.entropy.error < 0.01


def test_the_input_geometry_is_compared_with_its_conformer(butane, found):
    given = found.input
    assert given.conformer == "1" and given.u == butane.fingerprint.u_input
    assert abs(given.strain.value - (given.u - MEANS[0])) < 4.0 * given.strain.error < 0.1
    assert abs(given.free_energy.value + np.log(SHARES[0])) < 4.0 * given.free_energy.error
    assert given.thermal == 0.5 * (3 * 14 - 6)


def test_weights_make_the_ensemble(butane):
    """Gauche samples have the weight 1 / 10: 0.5 : 0.03 : 0.02."""
    torsions, samples, _, explored = draw(butane, 20_000, np.log([1.0, 0.1, 0.1]))
    found = find_conformers(butane, torsions, samples, explored, seed=1)
    for row, share in zip(found.rows, np.array([0.5, 0.03, 0.02]) / 0.55, strict=True):
        p = row.flow.probability
        assert abs(p.value - share) < 4.0 * p.error < 0.02
    # explored frames have equal weights
    explored_p = [row.explored.probability.value for row in found.rows]
    np.testing.assert_allclose(explored_p, SHARES, atol=0.02)


def test_conformers_with_few_effective_samples_are_not_listed(butane):
    torsions, samples, _, explored = draw(butane, 110, seed=2)  # about 55, 33 and 22 samples
    found = find_conformers(butane, torsions, samples, explored, seed=1)
    assert len(found.rows) == 2 and found.count == 3
    assert found.others.value == pytest.approx(SHARES[2], abs=0.1)
    text = " ".join(conformer_table(butane.kT, found, "dynamics"))
    assert "3 conformers have any weight; those that are not in the table" in text


def test_conformers_of_tiny_weights_are_not_listed():
    """The squares of such weights are zero in double precision."""
    conformer, weights = np.repeat([0, 1], [100, 1]), np.repeat([0.01, 1e-298], [100, 1])
    assert _choose_listed(conformer, weights) == [0]


def test_there_are_none_where_nothing_can_be_said(butane, shipped):
    torsions, samples, _, explored = draw(butane, 100, (-np.inf,) * 3)
    assert find_conformers(butane, torsions, samples, explored, seed=1) is None
    assert find_conformers(butane, {}, samples, explored, seed=1) is None
    # phi and psi have surfaces and regions
    samples.log_w[:] = 0.0
    alanine = shipped("alanine")
    backbone = find_torsions(alanine.pdb_text, "auto")
    assert list(backbone) == ["phi", "psi"]
    assert find_conformers(alanine, backbone, samples, explored, 1) is None


def test_linear_backbones_alone_have_no_conformers(shipped):
    """Side chains and torsions of a ring have."""
    alanine = shipped("alanine")
    names = alanine.atom_names
    backbone = list(find_torsions(alanine.pdb_text, "auto").values())
    assert are_of_linear_backbone(alanine, backbone)
    side = tuple(names.index(name) for name in ("N", "CA", "CB", "HB1"))
    assert not are_of_linear_backbone(alanine, [*backbone, side])
    ends = (names.index("CH3"), max(k for k, name in enumerate(names) if name == "C"))
    closed = dataclasses.replace(alanine, bonds=(*alanine.bonds, ends))
    assert not are_of_linear_backbone(closed, backbone)


@pytest.fixture(scope="module")
def diol():
    """(2R,3R)-butane-2,3-diol, whose halves are alike."""
    config = load_config(SYSTEMS / "molecules" / "butanediol.yaml")
    return load_molecule(config.molecule, config.folder)


def turn_hydroxyls(diol, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Set the torsions of both hydroxyl groups about their C-O bonds, in the same sense, rad."""
    names = {name: k for k, name in enumerate(diol.atom_names)}
    x = diol.positions
    for atoms, angles in ((("C1", "C2", "O1", "H5"), one), (("C4", "C3", "O2", "H7"), other)):
        quad = tuple(names[name] for name in atoms)
        turn = next(t for t in diol.torsions if set(t.bond) == set(quad[1:3]))
        now = torsion_angles(np.broadcast_to(x, (len(one), len(names), 3)), [quad])[:, 0]
        trial = turn_atoms(x, turn.bond, turn.moving, np.full(len(one), 0.1))
        sense = np.sign(np.sin(torsion_angles(trial, [quad])[:, 0] - now))
        x = turn_atoms(x, turn.bond, turn.moving, sense * (angles - now))
    return x


def test_forms_that_a_symmetry_exchanges_are_one_conformer(diol):
    generator, n = np.random.default_rng(0), 6000
    wells = np.radians([[60.0, 180.0], [180.0, 60.0], [180.0, 180.0]])
    centres = wells[generator.choice(3, n, p=(0.5, 0.2, 0.3))]
    x = turn_hydroxyls(diol, *generator.vonmises(centres, 100.0).T)
    u = generator.standard_normal(n)
    samples = SimpleNamespace(x=x, u=u, log_w=np.zeros(n), log_q=-u)
    torsions = find_torsions(diol.pdb_text, "auto", find_rotatable_torsions(diol))
    found = find_conformers(diol, torsions, samples, Explored(x, np.arange(n) % 4), seed=1)
    assert found.symmetries == 2 and found.count == 2
    assert [row.forms for row in found.rows] == [2, 1]
    populations = [row.flow.probability.value for row in found.rows]
    np.testing.assert_allclose(populations, [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose([r.explored.probability.value for r in found.rows], populations)
    # angles and geometry are those of the more populated form
    shown = torsion_angles(x[[found.rows[0].frame]], [torsions["C1-C2-O1-H5"]])[0, 0]
    assert shown == pytest.approx(np.radians(60.0), abs=0.5)
    text = "\n".join(conformer_table(diol.kT, found, "dynamics"))
    assert "forms" in text and "Exchanges of like atoms map the molecule onto itself" in text


def test_the_table_has_a_row_for_each_and_the_record_reads_back(butane, found):
    lines = conformer_table(butane.kT, found, "dynamics")
    assert [line[:5].strip() for line in lines[3:6]] == ["1", "2", "3"]
    text = "\n".join(lines)
    for words in ("C1-C2-C3-C4 (3)", "k sum p log(1/p)", "Strain of the input", "log(1/p):"):
        assert words in text
    assert Conformers.model_validate_json(found.model_dump_json()) == found
    assert conformer_table(butane.kT, None, "dynamics") == []


def test_the_sdf_holds_the_lowest_sample_of_each(butane, found, tmp_path):
    _, samples, angles, _ = draw(butane, 20_000)
    assert write_sdf(tmp_path, butane, found, samples.x) == []
    records = (tmp_path / "conformers.sdf").read_text().split("$$$$\n")
    assert records.pop() == "" and len(records) == 3
    for record, row in zip(records, found.rows, strict=True):
        lines = record.splitlines()
        assert lines[0] == f"butane, conformer {row.name}"
        x = np.array([[float(v) for v in line.split()[:3]] for line in lines[4:18]]) / 10.0
        quad = [find_rotatable_torsions(butane)[0]]
        # moved and turned as a whole, and rounded to 1e-5 nm
        assert torsion_angles(x[None], quad)[0, 0] == pytest.approx(angles[row.frame, 0], abs=2e-3)
        place = lines.index("> <population>")
        assert float(lines[place + 1]) == pytest.approx(row.flow.probability.value, rel=1e-5)
        near = np.abs(angles[:, 0] - angles[row.frame, 0]) < 0.3
        assert row.u == samples.u[row.frame] <= samples.u[near].min() + 1.0
