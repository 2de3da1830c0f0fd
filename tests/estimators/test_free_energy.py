"""Region free energies against known populations: error bars must cover the truth."""

import numpy as np
import pytest
from scipy.stats import norm

from onestep_md.analysis.records.molecule import Region
from onestep_md.estimators.free_energy import dynamics_free_energies, region_free_energies
from onestep_md.results.molecule import free_energy_table

M, S = 0.3, 0.8
NAMES = ["middle", "left", "right"]
EDGES = (-0.4, 1.1)
TRUTH = np.array(
    [
        norm.cdf(EDGES[1], M, S) - norm.cdf(EDGES[0], M, S),
        norm.cdf(EDGES[0], M, S),
        norm.sf(EDGES[1], M, S),
    ]
)


def in_regions(x: np.ndarray) -> np.ndarray:
    left, right = x < EDGES[0], x > EDGES[1]
    return np.stack([~left & ~right, left, right], axis=1)


def two_state_chains(chains: int, n: int, rare: float, rho: float, seed: int) -> np.ndarray:
    """Stationary bool chains (chains, n), True with probability `rare`, correlations rho^t."""
    generator = np.random.default_rng(seed)
    states = np.empty((chains, n), dtype=bool)
    states[:, 0] = generator.random(chains) < rare
    for t in range(1, n):
        # stay with probability rho, else draw afresh
        fresh = generator.random(chains) < rare
        states[:, t] = np.where(generator.random(chains) < rho, states[:, t - 1], fresh)
    return states


def two_regions(state: np.ndarray) -> np.ndarray:
    return np.stack([~state, state], axis=1)


def rows(flow, explored) -> list[Region]:
    """Regions of a run, as its results hold them."""
    pairs = zip(flow, explored, strict=True)
    return [Region(ranges={}, flow={1: one_step}, explored=other) for one_step, other in pairs]


def test_weighted_samples_cover_the_known_populations():
    z_delta, z_probability = [], []
    for seed in range(150):
        generator = np.random.default_rng(seed)
        x = generator.standard_normal(1500)
        log_w = -0.5 * ((x - M) / S) ** 2 + 0.5 * x**2
        found = region_free_energies(NAMES, in_regions(x), log_w, None, generator)
        assert {f.reference for f in found} == {"middle"}
        z_delta += [
            (found[i].delta_f.value - np.log(TRUTH[0] / TRUTH[i])) / found[i].delta_f.error
            for i in (1, 2)
        ]
        z_probability += [
            (f.probability.value - p) / f.probability.error
            for f, p in zip(found, TRUTH, strict=True)
        ]
    for z in (np.array(z_delta), np.array(z_probability)):
        assert abs(z.mean()) < 0.25
        assert 0.7 < z.var() < 1.35
        assert 0.6 < np.mean(np.abs(z) < 1) < 0.76
        assert np.mean(np.abs(z) < 2) > 0.91


def test_equal_weights_give_the_binomial_error():
    generator = np.random.default_rng(0)
    inside = two_regions(generator.random(5000) < 0.2)
    found = region_free_energies(["a", "b"], inside, np.zeros(5000), "a", generator, 1000)
    p = inside[:, 1].mean()
    assert found[1].probability.value == pytest.approx(p)
    assert found[1].probability.error == pytest.approx(np.sqrt(p * (1 - p) / 5000), rel=0.1)
    # var(log p/(1-p)) = 1 / (n p (1 - p))
    assert found[1].delta_f.error == pytest.approx(1 / np.sqrt(5000 * p * (1 - p)), rel=0.1)
    assert found[1].n_samples_inside == inside[:, 1].sum()


@pytest.mark.parametrize(
    ("walkers", "length", "rho"), [(1, 4000, 0.8), (1, 1000, 0.9), (6, 300, 0.9), (20, 60, 0.9)]
)
def test_dynamics_error_bars_cover_in_spite_of_correlation(walkers, length, rho):
    rare, seeds = 0.25, 150
    chains = two_state_chains(seeds * walkers, length, rare, rho, seed=1)
    ids = np.repeat(np.arange(walkers), length)
    generator = np.random.default_rng(2)
    z, naive = [], []
    for series in chains.reshape(seeds, -1):
        inside = two_regions(series)
        found = dynamics_free_energies(["a", "b"], inside, ids, "a", generator)[1].delta_f
        z.append((found.value - np.log((1 - rare) / rare)) / found.error)
        p = series.mean()
        naive.append(
            (found.value - np.log((1 - rare) / rare)) * np.sqrt(p * (1 - p) * series.size)
        )
    z = np.array(z)
    assert abs(z.mean()) < 0.4
    assert 0.6 < z.var() < 1.5
    assert np.mean(np.abs(z) < 1) > 0.58
    assert np.mean(np.abs(z) < 2) > 0.88
    # treating the frames as independent would be far off: the variance of these is about g
    assert np.var(naive) > 3


def test_frames_that_are_each_their_own_walker_count_as_independent():
    probabilities, n, seeds = [0.7, 0.25, 0.05], 2000, 100
    generator = np.random.default_rng(13)
    truth = np.log(probabilities[0] / np.array(probabilities[1:]))
    z, ratio = [], []
    for _ in range(seeds):
        region = generator.choice(3, n, p=probabilities)
        inside = region[:, None] == np.arange(3)
        found = dynamics_free_energies(["a", "b", "c"], inside, np.arange(n), "a", generator)
        error = np.array([region.delta_f.error for region in found[1:]])
        z.append((np.array([region.delta_f.value for region in found[1:]]) - truth) / error)
        # var(log n_i - log n_0) = 1 / n_i + 1 / n_0 for multinomial counts
        counts = inside.sum(axis=0)
        ratio.append(error / np.sqrt(1.0 / counts[1:] + 1.0 / counts[0]))
    assert np.mean(ratio, axis=0) == pytest.approx(1.0, abs=0.03)
    assert np.all(np.abs(np.var(z, axis=0) - 1.0) < 0.45)


@pytest.mark.parametrize("explored_by", ["dynamics", "annealing"])
def test_the_table_names_the_exploration(explored_by):
    generator = np.random.default_rng(14)
    inside = two_regions(generator.random(1000) < 0.2)
    flow = region_free_energies(["a", "b"], inside, np.zeros(1000), "a", generator)
    explored = dynamics_free_energies(["a", "b"], inside, np.arange(1000), "a", generator)
    lines = free_energy_table(2.5, rows(flow, explored), explored_by)
    assert lines[1] == f"free energies relative to a (one step, reweighted | {explored_by})"
    assert len(lines) == 5 and "z = " in lines[4]
    assert free_energy_table(2.5, [], explored_by) == []


def test_block_errors_have_the_known_size():
    # n / g = 53 leaves blocks of under three g; without the two corrections in the code the
    # variance would come out a quarter too small
    rare, rho, n = 0.25, 0.9, 1000
    g = (1 + rho) / (1 - rho)
    truth = rare * (1 - rare) * (g - (g**2 - 1) / (2 * n)) / n
    generator = np.random.default_rng(8)
    errors = [
        dynamics_free_energies(["a", "b"], two_regions(x), None, "a", generator)[
            1
        ].probability.error
        for x in two_state_chains(250, n, rare, rho, seed=9)
    ]
    assert np.mean(np.square(errors)) / truth == pytest.approx(1.0, abs=0.12)


def test_the_order_in_which_walkers_are_stored_does_not_matter():
    chains = two_state_chains(6, 400, 0.25, 0.9, seed=11)

    def run(series, ids):
        generator = np.random.default_rng(12)
        return dynamics_free_energies(["a", "b"], two_regions(series), ids, "a", generator)[1]

    one_after_the_other = run(chains.ravel(), np.repeat(np.arange(6), 400))
    in_time_order = run(chains.T.ravel(), np.tile(np.arange(6), 400))
    assert in_time_order.delta_f.error == pytest.approx(one_after_the_other.delta_f.error)


def test_walkers_stuck_in_different_regions_widen_the_error():
    generator = np.random.default_rng(3)
    stuck = np.repeat([0, 1, 0, 0, 1, 0, 0, 1], 500).astype(bool)
    found = dynamics_free_energies(
        ["a", "b"], two_regions(stuck), np.repeat(np.arange(8), 500), None, generator
    )[1]
    # eight coins: var(log p/(1-p)) = 1 / (8 p (1 - p)), a standard error of 0.73
    assert found.delta_f.error > 0.6


def test_too_short_a_run_gives_no_error_bar():
    generator = np.random.default_rng(4)
    once = np.arange(1000) > 600
    found = dynamics_free_energies(["a", "b"], two_regions(once), None, None, generator)
    assert found[1].delta_f.error == np.inf and found[1].probability.error == np.inf
    assert found[0].delta_f.value == 0.0 and found[0].delta_f.error == 0.0


def test_regions_seen_never_or_hardly():
    generator = np.random.default_rng(5)
    inside = np.zeros((2000, 3), dtype=bool)
    inside[:, 0] = True
    inside[7, 1] = True
    weighted = region_free_energies(
        ["a", "once", "never"], inside, np.zeros(2000), None, generator
    )
    dynamics = dynamics_free_energies(["a", "once", "never"], inside, None, None, generator)
    for found in (weighted, dynamics):
        assert found[1].delta_f.value == pytest.approx(np.log(2000))
        assert found[1].delta_f.error == np.inf
        assert found[2].delta_f.value == np.inf
        assert found[2].probability.value == 0.0
        assert 1 / 2000 <= found[2].probability.error < 1 / 200
        assert found[2].delta_f.format() == "inf kT"


def test_regions_tell_what_their_samples_are_worth():
    generator = np.random.default_rng(15)
    n = 20_000
    inside = two_regions(np.arange(n) % 100 == 0)  # 200 samples in the second
    log_w = 0.3 * generator.standard_normal(n)
    log_w[:1000:100] += 4.0  # ten of them hold nearly all weight there
    names, zeros = ["a", "rare"], np.zeros(n)
    many, few = region_free_energies(names, inside, log_w, "a", generator)
    w = np.exp(log_w[inside[:, 1]])
    assert few.effective == pytest.approx(w.sum() ** 2 / np.square(w).sum())
    assert few.few and few.mark == "FEW SAMPLES" and few.effective < 20 < few.n_samples_inside
    assert many.mark == "" and many.effective == pytest.approx(n * 0.91, rel=0.03)
    # equal weights: as many as there are, and no tail
    equal = region_free_energies(names, inside, zeros, "a", generator)[1]
    assert equal.effective == pytest.approx(200) and equal.mark == ""
    dynamics = dynamics_free_energies(names, inside, np.arange(n), "a", generator)
    assert dynamics[1].effective == pytest.approx(200, rel=0.1)
    lines = free_energy_table(2.5, rows([many, few], dynamics), "dynamics")
    assert lines[-1].endswith("FEW SAMPLES") and "SAMPLES" not in lines[-2]
    tail = np.where(inside[:, 1], -0.9 * np.log(generator.random(n)), 0.0)
    heavy = region_free_energies(names, inside, tail - 3.0, "a", generator)[1]
    assert heavy.mark in ("FEW SAMPLES", "HEAVY TAIL")


def test_samples_without_any_weight_have_no_free_energies():
    inside = two_regions(np.arange(100) < 20)
    found = region_free_energies(
        ["a", "b"], inside, np.full(100, -np.inf), None, np.random.default_rng(0)
    )
    for region in found:
        assert region.delta_f.format_kt_and_kj(2.5) == "no estimate" and region.few
    assert [region.n_samples_inside for region in found] == [80, 20]


def test_the_reference_can_be_named_and_a_mistake_is_refused():
    generator = np.random.default_rng(6)
    inside = two_regions(generator.random(1000) < 0.2)
    found = region_free_energies(["a", "b"], inside, np.zeros(1000), "b", generator)
    assert found[0].delta_f.value < 0 and found[0].reference == "b"
    assert found[1].delta_f.format() == "0 +- 0 kT"
    with pytest.raises(ValueError, match="inside"):
        region_free_energies(["a"], inside, np.zeros(1000), None, generator)


def test_the_generator_makes_it_repeatable():
    inside = two_regions(np.random.default_rng(7).random(1000) < 0.2)

    def run(seed):
        weighted = region_free_energies(
            ["a", "b"], inside, np.zeros(1000), None, np.random.default_rng(seed)
        )
        return weighted, dynamics_free_energies(
            ["a", "b"], inside, None, None, np.random.default_rng(seed)
        )

    assert run(1) == run(1)
    assert run(1) != run(2)
