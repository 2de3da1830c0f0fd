"""Surfaces and profiles against densities known in closed form."""

import numpy as np
import pytest

from onestep_md.analysis.figures.conformations import (
    _cut_at_180,
    free_energy_surface,
    is_ramachandran,
    torsion_pairs,
    torsion_profile,
)
from onestep_md.analysis.figures.style import symbol


def test_profile_of_a_von_mises_density_within_its_band():
    generator = np.random.default_rng(0)
    kappa, n = 1.5, 20_000
    angle = generator.vonmises(0.0, kappa, n)
    profile, low, high = torsion_profile(angle, np.ones(n), np.arange(n), generator)
    middles = (np.arange(60) + 0.5) / 60 * 2 * np.pi - np.pi
    exact = -kappa * np.cos(middles)
    error = 0.5 * (high - low)
    # both are known up to a constant, fixed here by the mean
    z = ((profile - profile.mean()) - (exact - exact.mean())) / error
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.4
    assert np.abs(z).max() < 4.5


def test_weights_turn_one_profile_into_another():
    generator = np.random.default_rng(1)
    n = 20_000
    angle = generator.uniform(-np.pi, np.pi, n)
    weights = np.exp(1.5 * np.cos(angle))
    profile, low, high = torsion_profile(angle, weights, np.arange(n), generator)
    exact = -1.5 * np.cos((np.arange(60) + 0.5) / 60 * 2 * np.pi - np.pi)
    z = ((profile - profile.mean()) - (exact - exact.mean())) / (0.5 * (high - low))
    assert np.abs(z).max() < 4.5


def test_blocks_widen_the_band_of_correlated_frames():
    generator = np.random.default_rng(2)
    angle = np.repeat(generator.vonmises(0.0, 1.0, 2000), 25)
    n = len(angle)
    _, low, high = torsion_profile(angle, np.ones(n), np.arange(n), generator)
    _, low_b, high_b = torsion_profile(angle, np.ones(n), np.arange(n) // 500, generator)
    assert np.median(high_b - low_b) > 2.5 * np.median(high - low)


def test_empty_bins_are_left_out():
    profile, _, _ = torsion_profile(
        np.zeros(100), np.ones(100), np.arange(100), np.random.default_rng(0)
    )
    assert np.isfinite(profile).sum() == 1


def test_surface_is_periodic_and_finds_the_minimum():
    generator = np.random.default_rng(3)
    angles = np.stack(
        [generator.vonmises(np.pi, 8.0, 20_000), generator.vonmises(0.5, 8.0, 20_000)], axis=1
    )
    surface = free_energy_surface(angles, np.ones(20_000))
    row, column = np.unravel_index(np.nanargmin(surface), surface.shape)
    size = len(surface)
    assert abs((row + 0.5) / size * 360 - 180 - np.degrees(0.5)) < 12
    assert min(column, size - column) / size * 360 < 12
    assert np.isnan(surface[:, size // 2]).all()
    # the density wraps through 180 degrees, so the two edges continue each other
    seen = np.isfinite(surface[:, 0]) & np.isfinite(surface[:, -1]) & (surface[:, 0] < 4)
    assert np.abs(surface[seen, 0] - surface[seen, -1]).max() < 0.5


@pytest.mark.parametrize(
    ("limits", "pieces"),
    [
        ((-120, -40), [(-120, -40)]),
        ((170, -170), [(170, 180), (-180, -170)]),
        ((-180, 180), [(-180, 180)]),
        ((200, 260), [(-160, -100)]),
        ((90, 180), [(90, 180)]),
    ],
)
def test_wrapping_ranges_are_cut(limits, pieces):
    assert _cut_at_180(limits) == pieces


def test_only_backbone_pairs_are_ramachandran():
    residues = torsion_pairs(("phi_2", "psi_2", "chi_2", "phi_3", "psi_3"))
    assert residues == [("phi_2", "psi_2"), ("phi_3", "psi_3")] and is_ramachandran(residues)
    assert torsion_pairs(("phi", "psi")) == [("phi", "psi")]
    other = torsion_pairs(("chi", "gamma", "delta"))
    assert other == [("chi", "gamma")] and not is_ramachandran(other)
    assert torsion_pairs(("chi",)) == [] and not is_ramachandran([])


def test_symbols():
    assert [symbol(n) for n in ("phi", "psi_12", "alpha-R", "C5/PII")] == [
        "φ",
        "ψ₁₂",
        "α-R",
        "C5/PII",
    ]
