"""Wells of torsions of weighted samples, against mixtures whose wells are known."""

import numpy as np
import pytest

from onestep_md.coordinates.wells import Wells

CENTRES = np.radians([-65.0, 65.0, 180.0])


def draw(n: int, shares, width: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Angles (n,) of a mixture of wells, and which each is from."""
    generator = np.random.default_rng(seed)
    well = generator.choice(len(shares), n, p=shares)
    return generator.vonmises(CENTRES[well], width**-2), well


def uniform(n: int) -> np.ndarray:
    return np.full(n, 1.0 / n)


def test_three_wells_are_told_apart_one_of_them_through_the_cut():
    angles, well = draw(5000, (0.2, 0.3, 0.5))
    wells = Wells.fit(angles[:, None], uniform(5000), [1])
    number = wells.number(angles[:, None])[:, 0]
    assert wells.counts.tolist() == [3]
    first = {number[well == k][0] for k in range(3)}
    agree = [number[k] == number[well == well[k]][0] for k in range(5000)]
    assert len(first) == 3 and np.mean(agree) > 0.999


def test_weights_decide_what_is_a_well():
    """Samples without weight are nowhere, and their angles still have a number."""
    angles, well = draw(5000, (0.4, 0.3, 0.3))
    weight = np.where(well == 0, 0.0, 1.0)
    wells = Wells.fit(angles[:, None], weight / weight.sum(), [1])
    assert wells.counts.tolist() == [2]
    assert set(wells.number(angles[:, None])[:, 0]) == {0, 1}


@pytest.mark.parametrize(
    ("barrier", "n", "count"), [(0.2, 40_000, 1), (1.0, 40_000, 3), (0.5, 300, 1), (4.0, 300, 3)]
)
def test_low_barriers_and_those_within_their_errors_are_none(barrier, n, count):
    """Of U = barrier / 2 (1 + cos 3t) in kT, by n trials; the smoothing takes a sixth away."""
    generator = np.random.default_rng(1)
    t = generator.uniform(-np.pi, np.pi, n)
    kept = generator.random(len(t)) < np.exp(-0.5 * barrier * (1.0 + np.cos(3.0 * t)))
    assert Wells.fit(t[kept][:, None], uniform(int(kept.sum())), [1]).counts.tolist() == [count]


def test_a_uniform_torsion_has_one_well():
    for seed in range(5):
        t = np.random.default_rng(seed).uniform(-np.pi, np.pi, (500, 1))
        assert Wells.fit(t, uniform(500), [1]).counts.tolist() == [1]


def test_turns_that_exchange_like_atoms_lead_to_the_same_well():
    """A methyl group has three wells as it is, and one modulo a third of a turn."""
    turned, _ = draw(3000, (1 / 3, 1 / 3, 1 / 3), 0.1)
    angles = np.stack([turned, turned], axis=1)
    wells = Wells.fit(angles, uniform(3000), [1, 3])
    assert wells.counts.tolist() == [3, 1]
    centre = wells.mean(np.radians([[10.0, 10.0], [30.0, 150.0]]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(centre, [20.0, 20.0], atol=1e-9)


def test_no_torsion_has_no_wells():
    wells = Wells.fit(np.zeros((10, 0)), uniform(10), [])
    assert wells.number(np.zeros((4, 0))).shape == (4, 0)
