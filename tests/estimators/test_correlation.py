"""Statistical inefficiency of series with known correlation, and how frames are cut."""

import numpy as np
import pytest
from scipy.signal import lfilter

from onestep_md.estimators.correlation import (
    contiguous_blocks,
    statistical_inefficiency,
    thin,
)


def autoregressive(generator: np.random.Generator, n: int, rho: float) -> np.ndarray:
    noise = generator.standard_normal(n) * np.sqrt(1 - rho**2)
    noise[0] = generator.standard_normal()
    return lfilter([1.0], [1.0, -rho], noise)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9, 0.98])
def test_inefficiency_of_an_autoregressive_chain(rho):
    truth = (1 + rho) / (1 - rho)
    found = [
        statistical_inefficiency(autoregressive(np.random.default_rng(seed), 40_000, rho))
        for seed in range(10)
    ]
    assert np.mean(found) == pytest.approx(truth, rel=0.1)


def test_walkers_are_not_joined():
    generator = np.random.default_rng(0)
    chains = [autoregressive(generator, 5000, 0.9) for _ in range(4)]
    together = statistical_inefficiency(np.concatenate(chains), np.repeat(np.arange(4), 5000))
    assert together == pytest.approx(19.0, rel=0.25)
    # frames in time order, one of each walker after the other: the same series
    mixed = statistical_inefficiency(np.stack(chains, 1).ravel(), np.tile(np.arange(4), 5000))
    assert mixed == pytest.approx(together)


def test_stuck_walkers_are_worth_one_sample_each():
    # each walker is quiet, but sits in a basin of its own
    generator = np.random.default_rng(1)
    series = np.repeat([0.0, 1.0, 0.0, 1.0], 250) + 0.01 * generator.standard_normal(1000)
    g = statistical_inefficiency(series, np.repeat(np.arange(4), 250))
    assert 150 < g < 260


def test_series_without_variation_or_with_infinities():
    assert statistical_inefficiency(np.full(50, 2.0)) == 1.0
    assert statistical_inefficiency(np.full(50, np.inf)) == 1.0
    series = autoregressive(np.random.default_rng(2), 5000, 0.9)
    clean = statistical_inefficiency(series)
    series[series.argmax()] = np.inf
    assert statistical_inefficiency(series) == pytest.approx(clean, rel=0.02)


def test_thinning_keeps_every_gth_frame_of_each_walker():
    walkers = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])
    assert thin(9, 1.0).tolist() == list(range(9))
    assert thin(9, 2.5).tolist() == [0, 3, 6]
    assert thin(9, 2.0, walkers).tolist() == [0, 1, 4, 5, 8]
    with pytest.raises(ValueError, match="walkers"):
        thin(8, 2.0, walkers)


def test_blocks_are_contiguous_and_stay_within_walkers():
    walkers = np.repeat([5, 2], [10, 3])
    block, cut = contiguous_blocks(13, 4.0, walkers)
    assert cut
    # walker 2 is shorter than a block and stays whole; walker 5 gives two halves
    assert block.tolist() == [1] * 5 + [2] * 5 + [0] * 3
    assert contiguous_blocks(13, 50.0, walkers)[1] is False
