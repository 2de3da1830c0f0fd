"""Independence Metropolis-Hastings against what is known of its target."""

import numpy as np
import pytest

from onestep_md.estimators.chain import independence_chain


def test_a_chain_of_wide_gaussian_proposals_samples_the_narrow_one(n=40_000, width=1.5):
    generator = np.random.default_rng(1)
    x = width * generator.normal(size=n + 1)
    log_w = -0.5 * x**2 + 0.5 * (x / width) ** 2
    path, acceptance = independence_chain(log_w, generator)
    chain = x[path]
    assert abs(chain.mean()) < 0.03 and abs(chain.var() - 1.0) < 0.03
    # E[min(1, w' / w)] for x ~ p and x' ~ q, by other samples of both
    here, there = generator.normal(size=n), width * generator.normal(size=n)
    weights = [np.exp(-0.5 * y**2 + 0.5 * (y / width) ** 2) for y in (here, there)]
    assert acceptance == pytest.approx(np.minimum(1.0, weights[1] / weights[0]).mean(), abs=0.01)


def test_equal_weights_are_always_accepted_and_none_never():
    generator = np.random.default_rng(0)
    path, acceptance = independence_chain(np.zeros(5), generator)
    assert path.tolist() == [1, 2, 3, 4] and acceptance == 1.0
    path, acceptance = independence_chain(np.array([0.0, -np.inf, -np.inf]), generator)
    assert path.tolist() == [0, 0] and acceptance == 0.0
    path, _ = independence_chain(np.array([-np.inf, -np.inf, 3.0]), generator)
    assert path.tolist() == [0, 2]
