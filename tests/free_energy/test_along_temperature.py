"""Thermodynamics along temperature: where its numbers are from, its files, table and figure."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onestep_md.analysis.figures.thermodynamics import thermodynamics_figure
from onestep_md.analysis.records.thermodynamics import (
    read_along_temperature,
    write_along_temperature,
)
from onestep_md.config import load_config
from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.exploration.explored import Exploration
from onestep_md.free_energy.along_temperature import compute_thermodynamics, write_thermodynamics
from onestep_md.free_energy.compute import Comparison
from onestep_md.free_energy.states import State
from onestep_md.free_energy.table import thermodynamics_lines
from onestep_md.kinds.molecule import MoleculeTarget
from onestep_md.sampling.bridge import Bridged
from onestep_md.sampling.draw import Samples
from onestep_md.targets.molecule import KB

N, DIM, OWN = 4000, 60, 300.0
HALVES = ["regions.left={phi: [-180, 0]}", "regions.right={phi: [0, 180]}"]


@pytest.fixture(scope="module")
def config():
    return load_config(Path(__file__).parents[2] / "systems" / "alanine.yaml", HALVES)


@pytest.fixture(scope="module")
def target(shipped):
    return MoleculeTarget(shipped("alanine"))


def harmonic_samples(x, seed):
    """Samples that know U = |y|^2 / 2 of 60 coordinates exactly, in units of kT of the run."""
    y = np.random.default_rng(seed).standard_normal((len(x), DIM))
    u = 0.5 * (y**2).sum(axis=1)
    log_q = -u - 0.5 * DIM * np.log(2.0 * np.pi)
    zeros = np.zeros(len(x))
    return Samples(x, u, log_q, -u - log_q, zeros, zeros, 0.0)


def log_z(temperature: float) -> float:
    return 0.5 * DIM * np.log(2.0 * np.pi * temperature / OWN)


@pytest.fixture(scope="module")
def compared(config, target):
    """Four temperatures: the run's own, a reweighted one, a bridged one, and one too far away."""
    kelvin = {"own": OWN, "310K": 310.0, "350K": 350.0, "900K": 900.0}
    states = [State(name, target, OWN / t, t) for name, t in kelvin.items()]
    states.insert(2, State("other", SimpleNamespace(), 1.0, 300.0))
    used = ["reweighting", "reweighting", "reweighting", "bridge", None]
    names = [s.name for s in states]
    numbers = [Estimate(log_z(s.temperature), 0.01) for s in states]
    numbers[-1] = no_estimate("its islands disagree")
    rows = zip(names, used, numbers, strict=True)
    found = [SimpleNamespace(name=name, used=u, log_z=z) for name, u, z in rows]
    x = np.repeat(target.molecule.positions[None], N, axis=0)
    samples = harmonic_samples(x, 1)
    moved = harmonic_samples(x, 2)  # exp(-u) whatever the temperature: reduced energies
    island = np.repeat(np.arange(16), N // 16)
    unused = np.zeros(1)
    bridged = Bridged(x, moved.u, moved.log_q, island, np.arange(N), numbers[3], unused, unused, 0)
    comparison = Comparison(SimpleNamespace(states=found), np.zeros((5, N)), {"350K": bridged})
    return states, samples, comparison


def test_samples_are_reweighted_and_particles_of_bridges_averaged(config, target, compared):
    found = compute_thermodynamics(config, target, *compared, exploration=None, seed=0)
    assert [at.temperature for at in found.temperatures] == [300.0, 310.0, 350.0, 900.0]
    assert [at.used for at in found.temperatures] == ["reweighting", "reweighting", "bridge", None]
    for at in found.temperatures[:3]:
        free_energy = -KB * (at.temperature * log_z(at.temperature) - OWN * log_z(OWN))
        energy = 0.5 * DIM * KB * (at.temperature - OWN)
        row = at.molecule
        rows = [(row.free_energy, free_energy), (row.energy, energy)]
        rows += [(row.entropy, energy - free_energy), (row.heat_capacity, 0.5 * DIM * KB)]
        for number, truth in rows:
            assert abs(number.value - truth) < 4.0 * number.error + 1e-9
    far = found.temperatures[-1]
    for row in (far.molecule, *far.regions):
        assert row.energy.reason == row.free_energy.reason == "its islands disagree"


def test_a_region_that_holds_everything_differs_in_nothing_from_the_molecule(
    config, target, compared
):
    found = compute_thermodynamics(config, target, *compared, exploration=None, seed=0)
    names = [row.name for row in found.temperatures[0].regions]
    assert names == list(config.regions) and {"left", "right"} <= set(names)
    for at in found.temperatures[:3]:
        rows = {row.name: row for row in at.regions}
        full, empty = ("left", "right") if not rows["left"].energy.reason else ("right", "left")
        assert abs(rows[full].free_energy.value) < 1e-9
        assert abs(rows[full].energy.value) < 1e-9
        assert rows[full].heat_capacity == at.molecule.heat_capacity
        assert rows[empty].energy.reason.startswith("0.0 effective")


def test_the_file_gives_back_what_was_written(config, target, compared, tmp_path):
    found = compute_thermodynamics(config, target, *compared, exploration=None, seed=0)
    write_along_temperature(tmp_path, found)
    again = read_along_temperature(tmp_path)
    assert again.model_dump_json() == found.model_dump_json()
    (tmp_path / "thermodynamics.json").write_text('{"format": 2}')
    with pytest.raises(RunFolderError):
        read_along_temperature(tmp_path)
    with pytest.raises(RunFolderError, match="missing"):
        read_along_temperature(tmp_path / "nothing")


def test_the_table_has_a_line_for_everything_and_a_reason_where_there_is_none(
    config, target, compared
):
    found = compute_thermodynamics(config, target, *compared, exploration=None, seed=0)
    lines = thermodynamics_lines(found)
    rows = 4 * (1 + len(config.regions))
    assert (
        sum("reweighting" in line or "bridge" in line or line.endswith("-") for line in lines)
        == rows
    )
    assert any("900  molecule" in line and "its islands disagree" in line for line in lines)
    drawn = thermodynamics_figure(found)
    assert len(drawn.axes) == 8


def test_the_replica_exchange_of_the_run_stands_beside(config, target, compared):
    ladder = np.array([300.0, 320.0, 350.0, 400.0])
    # U of 60 harmonic coordinates has the Gamma distribution, in kT of the lowest temperature
    u = np.random.default_rng(3).gamma(0.5 * DIM, 1.0, (3000, len(ladder))) * ladder / OWN
    u[:40, 1] = np.nan  # failed segments
    zeros = np.zeros(0)
    explored = Exploration(zeros, zeros, zeros, zeros, ladder, zeros, 0, 0, u)
    states, samples, comparison = compared
    comparison = Comparison(
        SimpleNamespace(
            states=comparison.results.states,
            difference=lambda first, _: {"310K": Estimate(log_z(310.0) - log_z(OWN), 0.02),
                                         "350K": Estimate(log_z(350.0) - log_z(OWN), 0.02)}[first],
        ),
        comparison.log_w,
        comparison.bridges,
    )  # fmt: skip
    found = compute_thermodynamics(config, target, states, samples, comparison, explored, seed=0)
    assert [row.temperature for row in found.exchange] == [310.0, 350.0]  # 900 K is beyond
    for row in found.exchange:
        truths = (log_z(row.temperature) - log_z(OWN), 0.5 * DIM * KB * row.temperature,
                  0.5 * DIM * KB)  # fmt: skip
        for pair, truth in zip(
            (row.delta_log_z, row.energy, row.heat_capacity), truths, strict=True
        ):
            for number in pair:
                assert abs(number.value - truth) < 4.0 * number.error
    text = "\n".join(thermodynamics_lines(found))
    assert "by the run's replica exchange" in text and "\n    310 " in text


def test_nothing_is_written_without_another_temperature(config, compared, tmp_path):
    states, samples, comparison = compared
    said = SimpleNamespace(say=pytest.fail)
    write_thermodynamics(
        tmp_path, config, [states[0], states[2]], samples, comparison, None, 0, said
    )
    assert not list(tmp_path.iterdir())
