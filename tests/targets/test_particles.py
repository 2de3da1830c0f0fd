"""Identical particles: energies against ordered pairs, symmetries, the virial."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from onestep_md.config.types import PARTICLES
from onestep_md.targets.densities import build_density
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.particles import DoubleWellParticles, LennardJones


def points(target, n, scale=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, target.dim, generator=generator, dtype=torch.float64)


def test_dw4_against_ordered_pairs_of_particles():
    target = DoubleWellParticles()
    x = points(target, 6, scale=3.0)
    for row, log_p in zip(target.positions(x).numpy(), target.log_prob(x).tolist(), strict=True):
        energy = 0.0
        for i, j in permutations(range(4), 2):
            r = math.dist(row[i], row[j])
            energy += (0.9 * (r - 4) ** 4 - 4 * (r - 4) ** 2) / 2
        assert log_p == pytest.approx(-energy, rel=1e-12)


def test_dw4_coordinates_are_orthonormal_and_mean_free():
    target = DoubleWellParticles()
    x = points(target, 6)
    positions = target.positions(x)
    assert positions.shape == (6, 4, 2) and positions.mean(1).abs().max() < 1e-14
    torch.testing.assert_close(positions.square().sum((1, 2)), x.square().sum(1))
    torch.testing.assert_close(target.coordinates(positions + 7.0), x)


def test_dw4_mean_energy_of_a_short_chain():
    # Published test set of 10,000: mean -22.450, standard deviation 1.90. Metropolis from here:
    # 500 chains of 1500 steps, the first third left out.
    target = DoubleWellParticles()
    generator = torch.Generator().manual_seed(3)
    x, energies = points(target, 500, scale=2.0), []
    log_p = target.log_prob(x)
    for step in range(1500):
        move = x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        new = target.log_prob(move)
        accept = torch.rand(len(x), generator=generator).log() < new - log_p
        x, log_p = torch.where(accept[:, None], move, x), torch.where(accept, new, log_p)
        if step >= 500:
            energies.append(-log_p)
    energies = torch.stack(energies)
    assert abs(energies.mean() + 22.45) < 0.15
    assert abs(energies.std() - 1.90) < 0.15


def test_dw4_gradient_is_finite_where_particles_coincide():
    u, grad_u = DensityEvaluator(DoubleWellParticles).evaluate(np.zeros((1, 6)))
    assert u[0] == pytest.approx(6 * (0.9 * 256 - 64)) and np.isfinite(grad_u).all()


# ---- clusters


@pytest.mark.parametrize("n", [13, 55])
def test_lennard_jones_against_ordered_pairs(n):
    target = LennardJones(n)
    x = points(target, 3, scale=0.9)
    assert (target.name, target.dim) == (f"lj{n}_f1", 3 * (n - 1))
    for row, log_p in zip(target.positions(x).numpy(), target.log_prob(x).tolist(), strict=True):
        centre = row.mean(axis=0)
        energy = sum(0.5 * math.dist(particle, centre) ** 2 for particle in row)
        for i, j in permutations(range(n), 2):
            r = math.dist(row[i], row[j])
            energy += r**-12 - 2.0 * r**-6
        assert log_p == pytest.approx(-energy, rel=1e-10)


def test_lennard_jones_pair_has_its_minimum_at_one():
    # two particles at distance r: u = 2 (r^-12 - 2 r^-6) + r^2 / 4
    target, r = LennardJones(2), torch.tensor([0.9, 1.0, 1.5], dtype=torch.float64)
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    x = target.coordinates(
        torch.stack([0.5 * r[:, None] * direction, -0.5 * r[:, None] * direction], 1)
    )
    expected = 2.0 * (r**-12 - 2.0 * r**-6) + r**2 / 4.0
    torch.testing.assert_close(target.log_prob(x), -expected)


@pytest.mark.parametrize("name", PARTICLES)
def test_virial_by_its_formula(name):
    """Of the derivative of u with the scale, x . grad u; its mean over exp(-u) is dim."""
    target = build_density(name, None)
    x = points(target, 4, scale=2.0)
    _, grad_u = DensityEvaluator(lambda: target).evaluate(x.numpy())
    distances = target.squared_distances(x).sqrt()
    if name == "dw4":
        stretch = distances - 4.0
        expected = (distances * (3.6 * stretch**3 - 8.0 * stretch)).sum(-1)
    else:
        expected = (24.0 * (distances**-6 - distances**-12)).sum(-1) + x.square().sum(-1)
    np.testing.assert_allclose((x.numpy() * grad_u).sum(1), expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", PARTICLES)
def test_particles_may_be_turned_reflected_and_exchanged(name):
    target = build_density(name, None)
    x = points(target, 4, scale=1.5)
    turn, _ = torch.linalg.qr(torch.randn(target.space, target.space, dtype=torch.float64))
    order = torch.randperm(target.n)
    moved = target.coordinates((target.positions(x) @ turn.T)[:, order] + 3.0)
    torch.testing.assert_close(target.log_prob(moved), target.log_prob(x))


def test_coinciding_particles_have_infinite_energy():
    u, grad_u = DensityEvaluator(lambda: LennardJones(13)).evaluate(np.zeros((2, 36)))
    assert np.isposinf(u).all() and not grad_u.any()


@pytest.mark.parametrize("target", [DoubleWellParticles(), LennardJones(5)], ids=lambda t: t.name)
def test_images_are_as_likely_and_lie_anywhere(target):
    x = points(target, 1, scale=2.0).expand(4000, -1)
    images = target.draw_images(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(target.log_prob(images), target.log_prob(x))
    # no direction and no particle is preferred: every coordinate has its share of the length
    share = images.square().mean(0) / images.square().mean()
    assert (share - 1.0).abs().max() < 0.1
    assert images.mean(0).abs().max() < 0.1 * images.std()
    volume = torch.linalg.det(target.positions(images)[:, : target.space])
    assert 0.4 < (volume > 0).double().mean() < 0.6
