"""Marginals of torsions: densities, their exact inverse, and the emphasis of rare wells."""

import math

import pytest
import torch

from onestep_md.coordinates.angle_decoder import AngleDecoder
from onestep_md.coordinates.base import wrap
from onestep_md.coordinates.marginals import Marginals, RareWells, is_rotatable, smooth_density


def wells(*centres_and_counts, width=0.15, seed=0):
    """Angles (frames, 1) in narrow wells, wrapped."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        centre + width * torch.randn(count, 1, generator=generator, dtype=torch.float64)
        for centre, count in centres_and_counts
    ]
    return torch.remainder(torch.cat(parts) + math.pi, 2 * math.pi) - math.pi


def equal(angles):
    return torch.full((len(angles),), 1.0 / len(angles), dtype=torch.float64)


def test_rare_second_well_makes_a_torsion_rotatable():
    assert not is_rotatable(wells((0.0, 10_000)))
    assert is_rotatable(wells((0.0, 9_950), (3.0, 50)))


def test_a_torsion_at_the_cut_of_the_circle_is_still_stiff():
    assert not is_rotatable(wells((math.pi, 10_000)))


@pytest.mark.parametrize("bandwidth", [0.05, 0.1, 0.5])
def test_smoothed_densities_integrate_to_one(bandwidth):
    angles = torch.cat([wells((3.0, 5000)), wells((0.0, 5000), width=2.0)], dim=-1)
    density = smooth_density(angles, equal(angles), bandwidth)
    mass = density.sum(-1) * 2 * math.pi / density.shape[-1]
    torch.testing.assert_close(mass, torch.ones(2).double())
    assert (density >= 0).all()


def test_weights_count_like_copies():
    angles = wells((0.0, 100), (2.0, 50))
    weight = torch.where(torch.arange(150) < 100, 1.0, 3.0).double()
    copies = torch.cat([angles, angles[100:], angles[100:]])
    torch.testing.assert_close(
        smooth_density(angles, weight / weight.sum(), 0.1),
        smooth_density(copies, equal(copies), 0.1),
    )


def test_quantile_and_cumulative_are_inverse_with_the_density_as_slope():
    angles = torch.cat([wells((3.0, 900), (0.5, 100)), wells((0.0, 1000), width=2.0)], dim=-1)
    marginals = Marginals.fit(angles, equal(angles))
    s = (torch.rand(500, 2, generator=torch.Generator().manual_seed(1)).double() - 0.5) * 6.2
    s.requires_grad_()
    angle, log_density = marginals.quantile(s)
    back, again = marginals.cumulative(angle)
    torch.testing.assert_close(back, s, rtol=0, atol=1e-9)
    torch.testing.assert_close(again, log_density, rtol=0, atol=1e-9)
    (slope,) = torch.autograd.grad(angle.sum(), s)
    torch.testing.assert_close(slope, torch.exp(-log_density), rtol=1e-8, atol=0)
    # no angle is out of reach: the floor holds everywhere
    assert marginals.density.min() > 0.009 / (2 * math.pi)


def test_a_power_of_the_density_leaves_barriers_wide():
    angles = wells((-1.5, 900), (1.5, 100))
    density = smooth_density(angles, equal(angles), 0.1)[0]
    root = density.sqrt() / (density.sqrt().sum() * 2 * math.pi / 512)
    flat = Marginals.fit(angles, equal(angles), power=0.5).density[0]
    torch.testing.assert_close(flat[:-1], 0.99 * root + 0.01 / (2 * math.pi))


def test_rare_wells_are_emphasised_by_the_root_of_their_rarity():
    angles = wells((-1.5, 9900), (1.0, 100))
    rare = RareWells.fit(angles)
    probe = torch.tensor([[-1.5], [1.0], [-1.2], [1.2]], dtype=torch.float64)
    expected = math.log(math.sqrt(0.1 / 0.01))
    torch.testing.assert_close(
        rare.log_emphasis(probe),
        torch.tensor([0.0, expected, 0.0, expected]).double(),
        rtol=0,
        atol=0.01,
    )


def test_a_well_across_the_cut_of_the_circle_is_one_well():
    rare = RareWells.fit(wells((math.pi, 9600), (0.0, 400)))
    probe = torch.tensor([[3.1], [-3.1], [0.0]], dtype=torch.float64)
    emphasis = rare.log_emphasis(probe)
    assert emphasis[0] == emphasis[1] == 0.0
    assert abs(emphasis[2] - 0.5 * math.log(2.5)) < 0.02


def test_equal_wells_and_single_wells_get_no_emphasis():
    methyl = wells((-2.0, 1000), (0.094, 1000), (2.189, 1000))
    for angles in (methyl, wells((1.0, 3000)), wells((0.0, 3000), width=3.0)):
        assert (RareWells.fit(angles).log_emphasis(angles) <= 0.1).all()


def test_a_rigid_molecule_has_no_marginals():
    angles = torch.zeros(50, 0, dtype=torch.float64)
    assert smooth_density(angles, equal(angles), 0.1).shape == (0, 512)
    marginals = Marginals.fit(angles, equal(angles))
    for angle, log_density in (marginals.quantile(angles), marginals.cumulative(angles)):
        assert angle.shape == log_density.shape == (50, 0)
    assert (RareWells.fit(angles).log_emphasis(angles) == 0).all()


def test_emphases_of_several_torsions_multiply():
    angles = torch.cat([wells((-1.5, 990), (1.0, 10)), wells((0.0, 900), (2.5, 100))], dim=-1)
    rare = RareWells.fit(angles)
    single = [
        RareWells.fit(angles[:, k : k + 1]).log_emphasis(angles[:, k : k + 1]) for k in (0, 1)
    ]
    torch.testing.assert_close(rare.log_emphasis(angles), single[0] + single[1])


@pytest.fixture
def decoded():
    """Marginals of two torsions, one of them with an almost empty barrier, and their decoder."""
    generator = torch.Generator().manual_seed(3)
    wide = 2.0 * torch.randn(500, 1, generator=generator, dtype=torch.float64)
    narrow = wells((-1.0, 300), (2.0, 200), width=0.1)
    marginals = Marginals.fit(wrap(torch.cat([wide, narrow], -1)), equal(narrow))
    return marginals, AngleDecoder(marginals)


def test_networks_see_the_torsions_of_the_chart(decoded):
    marginals, decoder = decoded
    s = (6.2831 * (torch.arange(20_000, dtype=torch.float64)[:, None] + 0.5) / 20_000) - 3.1415
    exact = marginals.quantile(s.expand(-1, 2))[0]
    torch.testing.assert_close(decoder(s.expand(-1, 2)), exact, rtol=0, atol=2e-3)
    assert (decoder(s.expand(-1, 2)).diff(dim=0) > 0).all()
    single = decoder(s.expand(-1, 2).float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=3e-3)


def test_the_slope_that_networks_see_is_that_of_the_value(decoded):
    _, decoder = decoded
    generator = torch.Generator().manual_seed(4)
    s = (6.2 * torch.rand(50, 2, generator=generator, dtype=torch.float64) - 3.1).requires_grad_()
    assert torch.autograd.gradcheck(decoder, s, eps=1e-7, atol=1e-4)
    tangent = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    _, pushed = torch.func.jvp(decoder, (s,), (tangent,))
    (slope,) = torch.autograd.grad(decoder(s).sum(), s)
    torch.testing.assert_close(pushed, slope * tangent)
    # volume consistency differentiates the tangent once more
    (bend,) = torch.autograd.grad(pushed.sum(), s)
    h = 1e-6
    ahead, behind = (
        torch.func.jvp(decoder, ((s + turn).detach(),), (tangent,))[1] for turn in (h, -h)
    )
    torch.testing.assert_close(bend, (ahead - behind) / (2 * h), rtol=1e-3, atol=1e-3)


def test_a_state_that_is_no_number_is_seen_as_none(decoded):
    _, decoder = decoded
    seen = decoder(torch.tensor([[math.nan, math.inf], [0.0, 1.0]]))
    assert seen[0].isnan().all() and seen[1].isfinite().all()


def test_both_ends_of_the_circle_are_one_torsion(decoded):
    _, decoder = decoded
    ends = torch.tensor([[-math.pi], [math.pi - 1e-9], [math.pi], [3 * math.pi]])
    seen = decoder(ends.double().expand(-1, 2))
    torch.testing.assert_close(torch.cos(seen), torch.full_like(seen, -1.0), rtol=0, atol=1e-9)
