"""The throughput model by hand, and against the pool with a target that sleeps."""

import math

import pytest

from onestep_md.benchmark import throughput
from onestep_md.benchmark.large_system import implicit_solvent_seconds
from onestep_md.benchmark.throughput_model import Throughput

COSTS = Throughput(frame=0.02, job=0.001, byte=1e-9, latency=0.002, atoms=100)


def test_batch_by_hand():
    # 96 frames on 4 evaluators: 0.48 s each, so 10 rounds of 0.05 s: 40 jobs of 2.4 frames
    evaluators = 10 * (2.4 * 0.02 + 0.001)
    assert COSTS.batch_seconds(96, 4) == pytest.approx(evaluators + 0.002)
    driver = 40 * 0.001 + 96 * 8 * 601 * 1e-9
    assert COSTS.driver_seconds(96, 4) == pytest.approx(driver)
    assert COSTS.driver_limit(96, 4) == pytest.approx(96 * 0.02 / driver)


def test_driver_bounds_a_batch_on_many_evaluators():
    workers = 4 * math.ceil(COSTS.driver_limit(4000, 1000))
    frames = 4 * workers
    driver = COSTS.driver_seconds(frames, workers)
    assert COSTS.batch_seconds(frames, workers) == pytest.approx(driver + 0.002)
    assert COSTS.driver_limit(frames, workers) < workers


def test_a_step_takes_as_long_as_the_slower_side():
    assert COSTS.step_seconds(96, 4, learner=3.0) == 3.0
    assert COSTS.step_seconds(96, 4, learner=0.1) == COSTS.batch_seconds(96, 4)


def test_cost_of_a_large_system_grows_with_its_pairs():
    small, large = implicit_solvent_seconds(200), implicit_solvent_seconds(1600)  # 64 x the pairs
    assert large > 8 * small > 0


@pytest.mark.cluster
def test_pool_takes_as_long_as_predicted(monkeypatch):
    pytest.importorskip("ray")
    from onestep_md.progress import Display

    for name, value in {"WORKERS": (1, 2), "SLOW_FRAMES": 60, "STEP_FRAMES": 20}.items():
        monkeypatch.setattr(throughput, name, value)
    with throughput.one_ray("local", 2):
        lines, ratio = throughput.slow_target_table(COSTS, Display())
    assert 1.5 < ratio < 2.2
    for line in lines[-2:]:
        _, batch, batch_seen, step, step_seen = (
            float(cell.strip(" s")) for cell in line.strip("|").split("|")
        )
        assert 0.9 < batch_seen / batch < 1.4
        assert 0.9 < step_seen / step < 1.4
