"""`benchmark replica-exchange`: both samplers keep their ensemble, and the table is complete."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openmm
import pytest
from commands import run_command
from openmm import app

from onestep_md.analysis.records.folder import write_results
from onestep_md.analysis.records.molecule import MoleculeResults, Region
from onestep_md.analysis.records.results import Cost
from onestep_md.analysis.torsions import torsion_angles
from onestep_md.benchmark import replica_exchange as module
from onestep_md.benchmark.replica_exchange import effective_samples
from onestep_md.config import load_config
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.estimate import Estimate, z_score
from onestep_md.estimators.evidence import evaluate_evidence
from onestep_md.estimators.free_energy import region_free_energies
from onestep_md.exploration.from_dynamics import domain_of
from onestep_md.exploration.replica_exchange import Plan, explore
from onestep_md.kinds import load_target
from onestep_md.results.molecule import dynamics_regions
from onestep_md.results.torsions import reported_torsions
from onestep_md.run_folder import keep_origin
from onestep_md.targets.evaluator import PotentialEvaluator
from onestep_md.targets.openmm_replica_exchange import Rounds, explore_by_openmm

MOLECULES = Path(__file__).parents[2] / "systems" / "molecules"
ETHANOL = MOLECULES / "ethanol.yaml"
SHORT = [
    "exploration.method=dynamics",
    "exploration.temperatures=[300, 420, 600]",
    "exploration.duration=60",
    "exploration.equilibration=2",
]
COLUMNS = 5  # one step, and two replica exchanges at equal CPU time and at equal energies


@pytest.fixture(scope="module")
def ethanol():
    config = load_config(ETHANOL, SHORT)
    return config, load_target(config)


def by_openmm(molecule, settings, frames):
    plan = Plan(settings, 0)
    rounds = Rounds(plan.frame_every, plan.frames_per_round, plan.discarded)
    return explore_by_openmm(
        molecule, "Reference", settings, rounds, 3, lambda kept, _: kept >= frames
    )


def mean_of(series, walkers):
    g = statistical_inefficiency(series, walkers)
    return Estimate(series.mean(), series.std() * math.sqrt(g / len(series)))


def test_openmm_keeps_the_ensemble_of_harmonic_wells_at_the_lowest_temperature(ethanol):
    config, target = ethanol
    molecule, stiffness = target.molecule, 2000.0  # kJ/mol/nm^2
    system, well = openmm.System(), openmm.CustomExternalForce("k*(x^2+y^2+z^2)/2")
    well.addGlobalParameter("k", stiffness)
    for k in range(len(molecule.elements)):
        system.addParticle(12.0)
        well.addParticle(k)
    system.addForce(well)
    wells = replace(molecule, system_xml=openmm.XmlSerializer.serialize(system))
    found = by_openmm(wells, config.changed("exploration", friction=5.0).dynamics, 800)
    u = 0.5 * stiffness / molecule.kT * (found.frames**2).sum((1, 2))
    mean, half_dimension = mean_of(u, found.replica), 1.5 * len(molecule.elements)
    # 80 ps are some 200 independent frames; at 420 K the mean is two fifths higher
    assert mean.error < 0.04 * half_dimension
    assert abs(z_score(mean, Estimate(half_dimension, 0.0))) < 4
    # u is Gamma(3 n / 2): its variance is its mean, of 200 frames known to a tenth
    assert u.var() == pytest.approx(half_dimension, rel=0.4)
    assert set(found.replica) == {0, 1, 2}


@pytest.fixture(scope="module")
def both(ethanol):
    """Frames of ethanol by OpenMM, and the exploration by this package, of 58 ps each."""
    config, target = ethanol
    molecule = target.molecule
    evaluators = SerialEvaluators(lambda: PotentialEvaluator(molecule, "Reference"), "Reference")
    ours = explore(molecule, evaluators, config.dynamics, 5, domain_of(molecule))
    return by_openmm(molecule, config.dynamics, len(ours.frames)), ours


def test_both_have_equal_populations_and_energies(ethanol, both):
    config, target = ethanol
    quads = reported_torsions(config, target.molecule)
    evaluator = PotentialEvaluator(target.molecule, "Reference")
    regions, means = [], []
    for found in both:
        angles = torsion_angles(found.frames, list(quads.values()))
        regions.append(dynamics_regions(config, list(quads), angles, found.replica, "anti"))
        means.append(mean_of(evaluator.evaluate(found.frames)[0], found.replica))
    for theirs, ours in zip(*regions, strict=True):
        assert theirs.probability.error < 0.12  # of 580 frames, some 60 independent
        assert abs(z_score(theirs.probability, ours.probability)) < 4
    assert max(mean.error for mean in means) < 0.5
    assert abs(z_score(*means)) < 4


def test_the_replica_of_a_frame_is_the_walker_that_it_moves_with(both):
    for found in both:
        # molecules that nothing holds fly apart, so that walkers are nanometres from each other
        moved = np.linalg.norm(np.diff(found.frames.mean(1), axis=0), axis=1)[200:]
        same = (np.diff(found.replica) == 0)[200:]
        assert moved[same].max() < 0.3 < np.median(moved[~same])


def test_both_count_their_energies_and_end_when_they_are_told(ethanol, both):
    config, target = ethanol
    plan, asked = Plan(config.dynamics, 0), []
    evaluators = SerialEvaluators(
        lambda: PotentialEvaluator(target.molecule, "Reference"), "Reference"
    )
    short = explore(
        target.molecule,
        evaluators,
        config.dynamics,
        5,
        enough=lambda *now: asked.append(now) or len(asked) == 3,
    )
    assert len(short.frames) == 3 * plan.frames_per_round == asked[-1][0]
    assert short.evaluations == asked[-1][1]
    np.testing.assert_array_equal(short.frames[0], both[1].frames[0])
    rounds = plan.discarded + len(both[0].frames) // plan.frames_per_round
    assert both[0].evaluations == rounds * 3 * (plan.steps + 1)


@pytest.fixture(scope="module")
def finished(ethanol, tmp_path_factory):
    """A folder of a run on ethanol whose samples are independent draws of its regions."""
    config, target = ethanol
    folder = tmp_path_factory.mktemp("finished")
    keep_origin(folder, config, target, {})
    generator = np.random.default_rng(0)
    drawn = generator.choice(3, size=20_000, p=[0.7, 0.15, 0.15])
    names = list(config.regions)
    rows = region_free_energies(
        names, drawn[:, None] == np.arange(3), np.zeros(len(drawn)), None, generator
    )
    regions = [
        Region(ranges=config.regions[row.name], flow={1: row}, explored=row) for row in rows
    ]
    cost = {"exploration": Cost(evaluations=10_000, seconds=2.0)}
    results = MoleculeResults(
        fingerprint=target.fingerprint.as_dict(),
        evidence=(evaluate_evidence(1, generator.normal(size=1000), seconds=0.5),),
        cost=cost | {"training": Cost(evaluations=10_000, seconds=2.0)},
        evidence_warnings=(),
        run_warnings=(),
        temperature=300.0,
        kT=target.molecule.kT,
        torsions=("t", "m1"),
        regions=tuple(regions),
        explored_by="dynamics",
        isomers=None,
        acceptance=(),
        distances={},
    )
    write_results(folder, results)
    record = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(record | {"cpus": 1}))
    return folder


def compare(*arguments, expect=0):
    return run_command("benchmark.__main__", "replica-exchange", *arguments, expect=expect)


def rows_of(text):
    cells = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in cells}


def test_the_table_has_all_rows_and_says_which_errors_are_scaled(finished):
    said = compare(finished, "--share", 0.25)
    assert said.startswith("machine: ")
    assert "4 s on 1 CPUs" in said and "at most 4 CPU seconds" in said
    assert "2.00e+04 energies" in said
    rows = rows_of(said)
    assert all(len(cells) == COLUMNS for cells in rows.values())
    assert rows["CPU seconds"][:3] == ["4", "1", "1"]
    assert rows["energies"][0] == "2.00e+04"
    for name in ("plus", "minus"):
        cells = rows[f"F({name}) - F(anti), kT"]
        assert "scaled" not in cells[0] and all("scaled" in cell for cell in cells[1:3])
    # p (1 - p) / d^2 of independent samples is their number, a median of 20,000 in 4 seconds
    assert float(rows["effective samples per CPU second"][0]) == pytest.approx(5000, rel=0.25)
    assert float(rows["the same of drawing alone"][0]) == pytest.approx(40_000, rel=0.25)
    assert "errors" in rows["largest difference from one step"][1]
    assert rows["frames of other isomers, left out"][1:3] == ["0.0 %", "0.0 %"]
    assert "not measured" in said.splitlines()[-1]


def test_a_whole_budget_has_nothing_scaled_and_energies_may_not_be_reached(finished, tmp_path):
    results = json.loads((finished / "results.json").read_text())
    results["cost"]["exploration"] = {"evaluations": 10**9, "seconds": 0.25}
    results["cost"]["training"] = {"evaluations": 0, "seconds": 0.25}
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "results.json").write_text(json.dumps(results))
    said = compare(tmp_path)
    assert "scaled" not in said
    assert rows_of(said)["CPU seconds"][3:] == ["not reached", "not reached"]


def test_frames_of_other_isomers_are_left_out_and_counted():
    config = load_config(MOLECULES / "butanediol.yaml", ["exploration.method=dynamics"])
    target = load_target(config)
    zero = SimpleNamespace(reference=next(iter(config.regions)))
    run = SimpleNamespace(config=config, target=target, one_step=[zero])
    noise = np.random.default_rng(2).normal(0.0, 0.002, (40, *target.molecule.positions.shape))
    frames = target.molecule.positions + noise
    frames[:10, :, 0] *= -1.0  # mirror images
    spent = module.Spent(frames=20, evaluations=20, seconds=1.0)
    column = module._column(run, "OpenMM", frames, np.zeros(40, dtype=int), spent, 0.5)
    assert column.outside == 0.5
    assert sum(region.n_samples_inside for region in column.regions) <= 10


def test_the_error_of_the_whole_budget_is_scaled_by_the_root():
    row = SimpleNamespace(delta_f=Estimate(1.0, 0.4), mark="")
    assert module._free_energy(row, 0.25) == "1.0 +- 0.4 (0.2 scaled)"
    assert module._free_energy(row) == "1.0 +- 0.4"


def test_effective_samples_are_those_of_independent_draws():
    generator = np.random.default_rng(1)
    drawn = generator.random((5000, 1)) < 0.3
    rows = region_free_energies(["a"], drawn, np.zeros(5000), None, generator, replicates=2000)
    # a variance by 2,000 replicates is known to 3 %
    assert effective_samples(rows) == pytest.approx(5000, rel=0.15)
    lost = replace(rows[0], probability=Estimate(0.3, math.inf))
    assert effective_samples([lost, lost, rows[0]]) == 0.0


@pytest.mark.parametrize("share", ["0", "-0.5", "1.5", "nan"])
def test_a_share_outside_of_the_budget_is_refused(finished, share):
    assert "--share" in compare(finished, f"--share={share}", expect=2)


def test_folders_that_cannot_be_compared_are_refused(finished, tmp_path, monkeypatch):
    assert "no such folder" in compare(tmp_path / "none", expect=6)
    (tmp_path / "config.yaml").write_bytes((finished / "config.yaml").read_bytes())
    assert "not finished" in compare(tmp_path, expect=6)
    results = json.loads((finished / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(results | {"regions": []}))
    assert "no free energies of regions" in compare(tmp_path, expect=6)
    results["cost"]["training"]["seconds"] = "NaN"
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "how long the run took" in compare(tmp_path, expect=6)
    monkeypatch.setattr(module, "read_results", lambda folder: SimpleNamespace(kind="density"))
    assert "a run on a density" in compare(finished, expect=6)


def test_an_openmm_without_replica_exchange_is_refused(finished, monkeypatch):
    monkeypatch.delattr(app, "ReplicaExchangeSampler")
    assert "came with 8.5" in compare(finished, expect=3)
