"""Replica exchange against closed forms on harmonic wells, and its promises on real dynamics."""

import functools
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import betainc

from onestep_md.config import MoleculeTarget
from onestep_md.errors import RunFolderError, TargetError
from onestep_md.exploration import replica_exchange as module
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.replica_exchange import explore
from onestep_md.targets.evaluator import PotentialEvaluator, SegmentResult
from onestep_md.targets.molecule import load_molecule

SYSTEMS = Path(__file__).parents[2] / "systems"
TARGET = 300.0


def reference(molecule):
    """Factory of evaluators on the Reference platform."""
    return functools.partial(PotentialEvaluator, molecule, "Reference")


def settings(**changes):
    values = {
        "temperatures": (300.0, 450.0, 700.0),
        "duration": 1.0,
        "equilibration": 0.2,
        "timestep": 2.0,
        "exchange_interval": 0.1,
        "frame_interval": 0.05,
        "friction": 1.0,
    }
    return SimpleNamespace(**(values | changes))


class Wells:
    """u = |x|^2 / 2 and exact, but sluggish, dynamics: an Ornstein-Uhlenbeck step per round."""

    memory = 0.7

    def __init__(self, fail=lambda segment: False):
        self.fail, self.segments = fail, []

    def map_segments(self, segments):
        self.segments += segments
        return [self.run(segment) for segment in segments]

    def run(self, segment):
        x = segment.positions
        if self.fail(segment):
            none = np.zeros((0, *x.shape))
            return SegmentResult(x, 0 * x, np.inf, none, none[:, 0, 0], none, 1, False)
        noise = np.random.default_rng(segment.seed).normal(size=x.shape)
        width = np.sqrt((1 - self.memory**2) * segment.temperature / TARGET)
        x = self.memory * x + width * noise
        u = 0.5 * (x**2).sum()
        return SegmentResult(x, noise, u, x[None], np.array([u]), x[None], 1, True)


def wells(evaluators, rounds=200, atoms=2, seed=0, **changes):
    well = SimpleNamespace(positions=np.full((atoms, 3), 0.5), torsions=())
    changes = {"duration": 0.1 * rounds, "frame_interval": 0.1, "equilibration": 2.0} | changes
    return explore(well, evaluators, settings(**changes), seed)


def test_exchange_rates_and_distributions_are_those_of_harmonic_wells():
    rounds, half_dimension = 8000, 3.0
    dynamics = Wells()
    result = wells(dynamics, rounds)
    # By detailed balance the mean acceptance is twice the chance that the colder replica has
    # the higher energy; energies are Gamma(d/2, T), so that is an incomplete beta function.
    t = np.array([300.0, 450.0, 700.0])
    expected = 2 * betainc(half_dimension, half_dimension, t[:-1] / (t[:-1] + t[1:]))
    # 4000 attempts each, correlated over about 3: one standard error is 0.013
    np.testing.assert_allclose(result.exchange_acceptance, expected, atol=0.04)
    # Starts of segments at temperature T are samples of T: u is Gamma(3) times T / T_0.
    for temperature in t:
        x = np.array([s.positions for s in dynamics.segments if s.temperature == temperature])
        u = 0.5 * (x[50:] ** 2).sum((1, 2)) * TARGET / temperature
        assert u.mean() == pytest.approx(half_dimension, abs=0.15)
        assert u.var() == pytest.approx(half_dimension, rel=0.15)


def test_walkers_are_permuted_and_all_reach_the_bottom():
    result = wells(Wells(), 400)
    assert set(result.replica) == {0, 1, 2}
    assert len(result.replica) == len(result.frames) == len(result.u) == 380


def test_pairs_alternate_and_velocities_follow_the_temperature():
    dynamics = Wells()
    wells(dynamics, 30)
    swaps = 0
    for k in range(1, 30):
        before, after = dynamics.segments[3 * k - 3 : 3 * k], dynamics.segments[3 * k : 3 * k + 3]
        ends = [dynamics.run(segment) for segment in before]
        source = [
            next(i for i in range(3) if np.array_equal(ends[i].positions, segment.positions))
            for segment in after
        ]
        untouched = 2 if (k - 1) % 2 == 0 else 0
        assert source[untouched] == untouched
        swaps += source != [0, 1, 2]
        for segment, i in zip(after, source, strict=True):
            scale = np.sqrt(segment.temperature / before[i].temperature)
            np.testing.assert_allclose(segment.velocities, scale * ends[i].velocities)
    assert swaps > 5


def test_frames_of_the_lowest_temperature_carry_their_energies():
    result = wells(Wells())
    np.testing.assert_allclose(result.u, 0.5 * (result.frames**2).sum((1, 2)))
    np.testing.assert_array_equal(result.grad_u, result.frames)
    assert result.evaluations == 3 * 200


def test_failed_segments_restart_from_the_last_good_state_and_are_counted():
    failing = {30, 31, 100}
    dynamics = Wells(fail=lambda segment: len(dynamics.segments) // 3 in failing)
    result = wells(dynamics, 150)
    assert result.restarts == 9
    # map_segments appends before it runs, so round k is the one at which 3 (k + 1) are listed
    failed = dynamics.segments[29 * 3 : 30 * 3]
    again, third = dynamics.segments[30 * 3 : 31 * 3], dynamics.segments[31 * 3 : 32 * 3]
    starts = {segment.positions.tobytes() for segment in failed}
    assert {segment.positions.tobytes() for segment in third} == starts
    assert all(segment.velocities is None for segment in [*again, *third])
    assert [s.timestep for s in (failed[0], again[0], third[0])] == [2.0, 1.0, 0.5]
    assert not {s.seed for s in failed} & {s.seed for s in again}


def test_a_replica_that_keeps_failing_is_a_target_error():
    with pytest.raises(TargetError, match="replica at 700 K failed 7 times"):
        wells(Wells(fail=lambda segment: segment.temperature == 700.0))


@pytest.fixture(scope="module")
def alanine():
    target = MoleculeTarget(
        pdb="alanine.pdb",
        forcefield=("amber99sbildn.xml", "amber99_obc.xml"),
        system=None,
        constraints="none",
        held="amides",
        temperature=TARGET,
    )
    return load_molecule(target, SYSTEMS)


@pytest.fixture(scope="module")
def serial(alanine):
    from onestep_md.distributed.pool import open_evaluators

    return open_evaluators(reference(alanine), "Reference", None, True, None, 60.0)


@pytest.fixture(scope="module")
def explored(alanine, serial):
    return explore(alanine, serial, settings(), seed=3)


def assert_equal(a, b):
    for f in fields(Exploration):
        np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)


def test_real_dynamics_keeps_exact_energies_and_counts(alanine, explored, serial):
    assert explored.frames.shape == (16, 22, 3)
    u, grad_u = PotentialEvaluator(alanine, "Reference").evaluate(explored.frames)
    np.testing.assert_allclose(explored.u, u, rtol=0, atol=1e-9)
    np.testing.assert_allclose(explored.grad_u, grad_u, rtol=0, atol=1e-6)
    # 10 rounds x 3 replicas x (50 steps + one evaluation per frame)
    assert explored.evaluations == serial.evaluations == 10 * 3 * 52


def test_same_seed_same_result_other_seed_another(alanine, serial, explored):
    assert_equal(explore(alanine, serial, settings(), seed=3), explored)
    assert not np.array_equal(explore(alanine, serial, settings(), seed=4).u, explored.u)


@pytest.mark.cluster
def test_ray_gives_the_same_exploration_and_ends_with_the_pool(alanine, explored):
    ray = pytest.importorskip("ray")
    from onestep_md.distributed.pool import open_evaluators

    before = ray.is_initialized()
    pool = open_evaluators(reference(alanine), "Reference", 2, False, None, 60.0)
    try:
        assert_equal(explore(alanine, pool, settings(), seed=3), explored)
        assert pool.evaluations == explored.evaluations
    finally:
        pool.close()
    assert ray.is_initialized() == before


def test_progress_ends_at_one(alanine, serial):
    heard = []
    explore(alanine, serial, settings(), 3, progress=lambda *args: heard.append(args))
    assert heard[-1][0] == 1.0 and "1/1 ps x 3 replicas" in heard[-1][1]


def test_cache_round_trip_and_refusals(tmp_path, explored, monkeypatch):
    path = tmp_path / "exploration.npz"
    explored.save(path, "this target")
    assert_equal(Exploration.load(path, "this target"), explored)
    with pytest.raises(TargetError, match="another target"):
        Exploration.load(path, "that target")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.np, "savez", full)
        with pytest.raises(RunFolderError, match="No space left"):
            replace(explored, restarts=5).save(path, "this target")
    assert Exploration.load(path, "this target").restarts == explored.restarts
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunFolderError, match="Delete it"):
        Exploration.load(path, "this target")
