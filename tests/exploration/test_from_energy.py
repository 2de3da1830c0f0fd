"""A molecule from its energy alone: the force field's chart, and annealing against dynamics."""

import math
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import openmm
import pytest
import torch

from onestep_md.analysis.torsions import find_torsions, region_membership, torsion_angles
from onestep_md.config import load_config
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.exploration.chart_density import ChartBase, ChartEnergy
from onestep_md.exploration.from_energy import (
    _anneal_from_chart,
    build_force_field_chart,
)
from onestep_md.kinds import load_target
from onestep_md.stages import explore_or_load, open_pool
from onestep_md.targets.molecule import KB
from onestep_md.targets.terms import read_bonded_terms

SYSTEMS = Path(__file__).parents[2] / "systems"
LOG_Z = -195.328  # of alanine.yaml: BAR and one-step estimates of several runs, +- 0.01


@pytest.mark.parametrize("seed", [1, 2])
def test_a_funnel_is_followed_into_its_neck(seed):
    """Annealing from a Gaussian finds x_0 > -2; its standard deviation is 3 and its mean 0."""
    config = load_config(SYSTEMS / "funnel.yaml", ["exploration.particles=4000"], seed)
    target = load_target(config)
    evaluators = open_pool(config, [target], local=True, address=None)
    found = target.explore(config, evaluators, Mock())
    neck = found.frames[:, 0]
    assert found.evaluations == evaluators.evaluations
    assert abs(neck.mean()) < 0.4 and abs(neck.std() - 3.0) < 0.3 and neck.min() < -7.0


@pytest.fixture(scope="module")
def alanine():
    overrides = ["exploration.particles=400", "exploration.moves=6"]
    config = load_config(SYSTEMS / "alanine-energy.yaml", overrides)
    target = load_target(config)
    return config, target, open_pool(config, [target], local=True, address=None)


@pytest.mark.parametrize(
    ("system", "rotatable"),
    # phi, psi, three methyls; in the nucleoside glycosidic, hydroxymethyl, two hydroxyls, methyl
    [("alanine.yaml", 5), ("thymidine.yaml", 5)],
)
def test_rotatable_torsions_are_told_from_the_force_field(system, rotatable):
    molecule = load_target(load_config(SYSTEMS / system)).molecule
    chart = build_force_field_chart(molecule)
    assert chart.n_circular == rotatable
    assert chart.n_linear + chart.n_circular == 3 * len(molecule.elements) - 6


def test_puckers_are_within_reach():
    """The sugar of thymidine is placed wide enough for North and South, its base stays flat."""
    chart = build_force_field_chart(load_target(load_config(SYSTEMS / "thymidine.yaml")).molecule)
    names = [chart.coordinates.names[i] for i in chart.line.tolist()]
    width = dict(zip(names, chart.width.tolist(), strict=True))
    sugar, base = "flap C6-C3-C8-C1", "flap C21-N19-C22-C18"
    assert width[sugar] > 0.5 > 0.2 > width[base]


def test_terms_are_reduced_and_complete(alanine):
    molecule = alanine[1].molecule
    terms = read_bonded_terms(molecule)
    assert len(terms.bonds) == 21 and len(terms.angles) == 36
    lengths = [length for length, _ in terms.bonds.values()]
    assert 0.09 < min(lengths) and max(lengths) < 0.16
    # C=O, 570 kcal/mol/A^2 in 0.5 k x^2 doubled: 476976 kJ/mol/nm^2
    assert max(k for _, k in terms.bonds.values()) == pytest.approx(476976 / molecule.kT, rel=1e-6)
    assert terms.stiff == {frozenset((4, 6)), frozenset((10, 16))}  # the two peptide bonds


def test_chart_round_trip_and_log_det(alanine):
    chart = build_force_field_chart(alanine[1].molecule)
    s = chart.sample_base(20, torch.Generator().manual_seed(0))
    x, log_det = chart.to_x(s)
    back, again = chart.from_x(x)
    torch.testing.assert_close(back, s, rtol=0, atol=1e-8)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-8)
    # dq/ds is diagonal: the width of every line coordinate, 1 / (2 pi p) for angles
    q, log_dq = chart.coordinates.from_cartesian(x)
    _, log_density = chart.marginals.cumulative(q[:, chart.circle])
    expected = chart.width.log().sum() - log_density.sum(-1)
    torch.testing.assert_close(log_det - log_dq, expected)


def test_energy_in_the_chart_has_the_gradient_of_finite_differences(alanine):
    _, target, evaluators = alanine
    chart = build_force_field_chart(target.molecule)
    energy = ChartEnergy(chart, evaluators)
    s = 0.3 * chart.sample_base(2, torch.Generator().manual_seed(1)).numpy()
    s[:, chart.n_linear :] += 2.0
    _, gradient = energy.evaluate(s)
    for k in (0, 30, chart.n_linear - 1, chart.n_linear, s.shape[1] - 1):
        step = np.zeros_like(s)
        step[:, k] = 1e-5
        numeric = (energy.evaluate(s + step)[0] - energy.evaluate(s - step)[0]) / 2e-5
        np.testing.assert_allclose(gradient[:, k], numeric, rtol=1e-4, atol=1e-3)


def test_states_outside_the_chart_have_infinite_energy_and_no_gradient(alanine):
    _, target, evaluators = alanine
    chart = build_force_field_chart(target.molecule)
    s = np.zeros((2, chart.n_linear + chart.n_circular))
    s[1, 0] = -1e4  # a bond of negative length
    u, gradient = ChartEnergy(chart, evaluators).evaluate(s)
    assert np.isfinite(u[0]) and u[1] == np.inf and not gradient[1].any()


def test_base_of_the_chart_is_normalised(alanine):
    chart = build_force_field_chart(alanine[1].molecule)
    base = ChartBase(chart)
    s = base.sample(500, np.random.default_rng(0))
    u, gradient = base.evaluate(s)
    torch.testing.assert_close(-torch.from_numpy(u), chart.log_base(torch.from_numpy(s)))
    assert not gradient[:, chart.n_linear :].any() and np.isinf(base.width[-1])


def test_annealing_finds_every_basin_and_the_normaliser_without_dynamics(alanine):
    config, target, evaluators = alanine
    before = evaluators.evaluations
    found = target.explore(config, evaluators, Mock())
    assert evaluators.evaluations - before == found.evaluations
    torsions = find_torsions(target.molecule.pdb_text, "auto")
    angles = torsion_angles(found.frames, list(torsions.values()))
    regions = region_membership(angles, list(torsions), config.regions)
    share = dict(zip(config.regions, regions.mean(0), strict=True))
    # replica exchange: 0.54, 0.06, 0.35, 0.015, 0.004; one standard error is up to 0.04 here
    assert 0.38 < share["C5/PII"] < 0.70
    assert 0.20 < share["alphaR"] < 0.50
    assert 0.01 < share["C7eq"] < 0.14
    u = evaluators.evaluate(found.frames)[0]
    np.testing.assert_allclose(u, found.u)
    assert math.isfinite(u.mean()) and abs(u.mean() + 23.8) < 1.5


@pytest.fixture(scope="module")
def slow_torsion(tmp_path_factory):
    """H-O-O-H whose wells, cis and trans, are 0.7 kT apart behind 32 kT; its folder and log Z."""
    folder = tmp_path_factory.mktemp("slow")
    system, kt = openmm.System(), KB * 300.0
    for mass in (1.0, 16.0, 16.0, 1.0):
        system.addParticle(mass)
    bond, angle = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for i, length in enumerate((0.1, 0.14, 0.1)):
        bond.addBond(i, i + 1, length, 3e5)
    for i in range(2):
        angle.addAngle(i, i + 1, i + 2, 1.8, 400.0)
    torsion = openmm.PeriodicTorsionForce()
    torsion.addTorsion(0, 1, 2, 3, 2, np.pi, 40.0)
    torsion.addTorsion(0, 1, 2, 3, 1, 0.0, 0.35 * kt)
    for force in (bond, angle, torsion):
        system.addForce(force)
    (folder / "mol.xml").write_text(openmm.XmlSerializer.serialize(system))
    x = np.array([[-0.02, 0.097, 0], [0, 0, 0], [0.14, 0, 0], [0.16, -0.097, 0]]) * 10
    lines = [
        f"HETATM{i + 1:5d}  {name}  HOH A   1    {p[0]:8.3f}{p[1]:8.3f}{p[2]:8.3f}  1.00  0.00"
        f"          {name[0]:>2}"
        for i, (name, p) in enumerate(zip(("H1", "O1", "O2", "H2"), x, strict=True))
    ]
    links = ["CONECT    1    2", "CONECT    2    3", "CONECT    3    4", "END"]
    text = "\n".join([*lines, *links]).replace("HOH", "LIG")
    (folder / "mol.pdb").write_text(text + "\n")
    (folder / "mol.yaml").write_text(
        "target: {pdb: mol.pdb, system: mol.xml, temperature: 300.0}\n"
        "sample: {torsions: {t: [0, 1, 2, 3]}}\n"
    )
    # independent coordinates: r^2 exp(-k (r - r0)^2 / 2), sin(a) exp(-k (a - a0)^2 / 2)
    bonds, bends = kt / 3e5, kt / 400.0
    log_z = sum(np.log((r**2 + bonds) * np.sqrt(2 * np.pi * bonds)) for r in (0.1, 0.14, 0.1))
    log_z += 2 * np.log(np.sin(1.8) * np.exp(-bends / 2) * np.sqrt(2 * np.pi * bends))
    phi = np.linspace(-np.pi, np.pi, 20000, endpoint=False)
    v = 40.0 / kt * (1 - np.cos(2 * phi)) + 0.35 * (1 + np.cos(phi))
    p = np.exp(-v) * 2 * np.pi / len(phi)
    return folder, log_z + np.log(p.sum()), p[np.abs(phi) < np.pi / 2].sum() / p.sum()


@pytest.mark.parametrize("method", ["annealing", "dynamics"])
def test_both_wells_of_a_torsion_behind_a_high_barrier_are_explored(slow_torsion, method):
    folder, log_z, cis = slow_torsion
    overrides = [f"exploration.method={method}"]
    if method == "annealing":
        overrides += ["exploration.particles=2000", "exploration.snapshots=1"]
    else:
        overrides += ["exploration.duration=60"]
    config = load_config(folder / "mol.yaml", overrides)
    target = load_target(config)
    molecule = target.molecule
    assert find_molecule_isomers(molecule).line() == "held: nothing; sampled: 1 torsion"
    evaluators = open_pool(config, [target], local=True, address=None)
    (folder / method).mkdir()
    found, _ = explore_or_load(config, target, evaluators, folder / method, Mock())
    angles = torsion_angles(found.frames, [(0, 1, 2, 3)])[:, 0]
    assert (np.abs(angles) < np.pi / 2).mean() == pytest.approx(cis, abs=0.06)
    if method == "annealing":
        found = _anneal_from_chart(
            build_force_field_chart(molecule), config, evaluators, 2, Mock()
        )
        assert abs(found.log_z - log_z) < 4 * found.d_log_z < 0.2


def test_a_held_torsion_is_in_one_well_and_its_log_z_too(slow_torsion):
    folder, log_z, cis = slow_torsion
    overrides = ["target.held=conjugated", "exploration.method=annealing"]
    config = load_config(folder / "mol.yaml", [*overrides, "exploration.particles=2000"])
    target = load_target(config)
    molecule = target.molecule
    assert (
        find_molecule_isomers(molecule).line() == "held: 1 trans conjugated bond; sampled: nothing"
    )
    evaluators = open_pool(config, [target], local=True, address=None)
    found = _anneal_from_chart(build_force_field_chart(molecule), config, evaluators, 1, Mock())
    assert abs(found.log_z - log_z - np.log(1 - cis)) < 4 * found.d_log_z < 0.2
