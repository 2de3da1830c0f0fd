"""Error bars of annealed samples, which share ancestors: as wide as the estimates scatter."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onestep_md.config import load_config
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.evidence import bar, eubo
from onestep_md.estimators.free_energy import dynamics_free_energies
from onestep_md.exploration.from_energy import anneal_density, as_exploration
from onestep_md.sampling.model import _training_frames

GMM9 = Path(__file__).parents[2] / "systems" / "gmm9.yaml"
SEEDS, PARTICLES = 40, 1200
MEANS = np.array([[-4.0, -4.0, -4.0], [4.0, 4.0, 4.0], [4.0, -4.0, 4.0]])
VARIANCES, SHARES = np.array([0.4, 0.6, 0.3]), np.array([0.5, 0.3, 0.2])
OTHER_SHARES = np.array([0.2, 0.3, 0.5])  # of a flow that has everything right but these


def log_parts(x: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Log-density (n, 3) of the weighted Gaussians at x."""
    square = ((x[:, None] - MEANS) ** 2).sum(axis=2)
    return np.log(shares) - 1.5 * np.log(2 * np.pi * VARIANCES) - 0.5 * square / VARIANCES


def log_w(x: np.ndarray) -> np.ndarray:
    """Log weight (n,) of a flow with the other shares."""
    target, flow = (np.logaddexp.reduce(log_parts(x, s), axis=1) for s in (SHARES, OTHER_SHARES))
    return target - flow


class Mixture:
    """Evaluators of the mixture with the shares SHARES; log Z = 0."""

    evaluations = 0

    def evaluate(self, x):
        parts = log_parts(x, SHARES)
        log_p = np.logaddexp.reduce(parts, axis=1)
        pull = (np.exp(parts - log_p[:, None]) / VARIANCES)[:, :, None] * (x[:, None] - MEANS)
        return -log_p, pull.sum(axis=1)


@pytest.fixture(scope="module")
def explorations():
    """One annealing of every seed."""
    display = SimpleNamespace(say=lambda text: None, advance=lambda fraction, message: None)
    overrides = [f"exploration.particles={PARTICLES}", "exploration.moves=4"]
    return [
        as_exploration(
            anneal_density(load_config(GMM9, overrides, seed=seed), 3, Mixture(), display), 0
        )
        for seed in range(SEEDS)
    ]


def test_islands_are_the_walkers_and_lie_side_by_side(explorations):
    for found in explorations:
        assert (np.diff(found.replica) >= 0).all() and len(np.unique(found.replica)) == 16
    # copies of one ancestor are in the same mode: neighbours agree more often than strangers do
    modes = [log_parts(found.frames, SHARES).argmax(axis=1) for found in explorations]
    assert np.mean([(mode[1:] == mode[:-1]).mean() for mode in modes]) > (SHARES**2).sum() + 0.1


def test_populations_scatter_as_their_error_bars_say(explorations):
    z, naive = [], []
    for found in explorations:
        inside = log_parts(found.frames, SHARES).argmax(axis=1)[:, None] == np.arange(3)
        generator = np.random.default_rng(0)
        regions = dynamics_free_energies(["a", "b", "c"], inside, found.replica, "a", generator)
        z.append([(r.probability.value - p) / r.probability.error
                  for r, p in zip(regions, SHARES, strict=True)])  # fmt: skip
        naive.append((inside.mean(axis=0) - SHARES) / np.sqrt(SHARES * (1 - SHARES) / PARTICLES))
    assert np.abs(np.mean(z, axis=0)).max() < 4 / np.sqrt(SEEDS)
    second_moments = np.square(z).mean(axis=0)
    assert (second_moments > 0.5).all() and (second_moments < 2.0).all()
    assert np.square(naive).mean() > 2.0  # particles counted as independent


def test_eubo_and_bar_scatter_as_their_error_bars_say(explorations):
    divergence = float((SHARES * np.log(SHARES / OTHER_SHARES)).sum())
    z, naive = [], []
    for seed, found in enumerate(explorations):
        held_out = ~_training_frames(found.replica, True)
        values, islands = log_w(found.frames[held_out]), found.replica[held_out]
        generator = np.random.default_rng(seed)
        mode = generator.choice(3, 2000, p=OTHER_SHARES)
        noise = generator.standard_normal((2000, 3)) * np.sqrt(VARIANCES[mode])[:, None]
        g = statistical_inefficiency(values, islands)
        upper, both = eubo(values, g), bar(log_w(MEANS[mode] + noise), values, g, islands)
        z.append([(upper.value - divergence) / upper.error, both.value / both.error])
        naive.append((upper.value - divergence) / eubo(values).error)
    second_moments = np.square(z).mean(axis=0)
    assert (second_moments > 0.5).all() and (second_moments < 2.0).all()
    assert np.square(naive).mean() > 2.0
