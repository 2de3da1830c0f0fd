"""T-W2 and E-W2 of a molecule's samples."""

import math

import numpy as np
import pytest

from onestep_md.estimators.distances import TorsionSamples, compare_torsions, torus_w2


def samples(angles, u=None, log_w=None):
    n = len(angles)
    return TorsionSamples(
        angles, np.zeros(n) if u is None else u, np.zeros(n) if log_w is None else log_w
    )


def test_a_common_turn_is_the_distance_also_across_the_cut():
    angles = np.random.default_rng(0).uniform(-math.pi, math.pi, (300, 2))
    # a turn by 0.01 is nearer than any other partner
    turned = (angles + [0.003, 0.004] + math.pi) % (2.0 * math.pi) - math.pi
    assert torus_w2(angles, np.random.default_rng(1).permutation(turned)) == pytest.approx(0.005)
    assert torus_w2(angles, angles + 2.0 * math.pi) == pytest.approx(0.0, abs=1e-12)


def test_single_points_are_as_far_as_the_shorter_way_round():
    a, b = np.array([[3.0, 0.0]]), np.array([[-3.0, 1.0]])
    assert torus_w2(a, b) == pytest.approx(math.hypot(2.0 * math.pi - 6.0, 1.0))


def test_weights_move_samples_to_the_target():
    generator = np.random.default_rng(2)
    target = samples(generator.normal(0.0, 0.3, (4000, 1)), generator.normal(0.0, 1.0, 4000))
    wide = generator.normal(0.0, 0.6, (4000, 1))
    log_w = -0.5 * wide[:, 0] ** 2 * (1 / 0.3**2 - 1 / 0.6**2)
    u = generator.normal(0.0, 1.0, 4000)
    raw = compare_torsions(samples(wide, u), target, generator)
    reweighted = compare_torsions(samples(wide, u, log_w), target, generator)
    # W2 of two normal densities of one mean is the difference of their widths
    assert raw.torsion_w2 == pytest.approx(0.3, abs=0.03)
    assert reweighted.torsion_w2 < 0.05
    assert raw.energy_w2 < 0.1 and raw.coupled == 2000


def test_samples_without_weight_need_no_energy():
    angles = np.zeros((100, 1))
    u, log_w = np.zeros(100), np.zeros(100)
    u[::2], log_w[::2] = np.inf, -np.inf
    target, generator = samples(angles), np.random.default_rng(0)
    assert compare_torsions(samples(angles, u, log_w), target, generator).energy_w2 == 0.0
    raw = compare_torsions(samples(angles, u), target, generator)
    assert raw.energy_w2 == math.inf


def test_without_torsions_there_is_only_the_energy():
    found = compare_torsions(
        samples(np.zeros((50, 0))), samples(np.zeros((60, 0))), np.random.default_rng(0)
    )
    assert math.isnan(found.torsion_w2) and found.energy_w2 == 0.0
