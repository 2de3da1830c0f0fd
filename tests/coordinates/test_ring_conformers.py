"""Conformers of rings by frames: none is empty, and few frames freeze no direction."""

import pytest
import torch

from onestep_md.coordinates.ring_conformers import estimate_covariances, find_conformers


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("frames", [5, 40, 300])
def test_every_conformer_has_frames(seed, frames):
    generator = torch.Generator().manual_seed(seed)
    centres = 6.2 * torch.rand(6, 3, generator=generator, dtype=torch.float64) - 3.1
    spread = 0.1 + torch.rand((), generator=generator)  # up to wells that overlap
    chosen = torch.randint(6, (frames,), generator=generator)
    noise = torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    label, means = find_conformers(centres[chosen] + spread * noise)
    counts = torch.bincount(label, minlength=len(means))
    assert means.isfinite().all() and len(counts) == len(means)
    assert (counts >= min(8, int(counts.max()))).all()


def test_two_wells_are_two_conformers():
    generator = torch.Generator().manual_seed(0)
    second = torch.arange(500) % 4 == 0
    torsions = torch.where(second, 1.0, -1.0)[:, None].double().expand(-1, 2)
    torsions = torsions + 0.1 * torch.randn(500, 2, generator=generator, dtype=torch.float64)
    label, means = find_conformers(torsions)
    assert (label.bool() == second).all()
    torch.testing.assert_close(
        means, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).double(), rtol=0, atol=0.03
    )


def test_few_frames_leave_every_direction_its_width():
    """Thirty frames of 20 coordinates of a ring, and 3,000 of another conformer."""
    generator = torch.Generator().manual_seed(1)
    label = (torch.arange(3030) >= 3000).long()
    residual = 0.1 * torch.randn(3030, 25, generator=generator, dtype=torch.float64)
    weight = torch.full((3030,), 1.0 / 3030, dtype=torch.float64)
    in_ring = torch.arange(25) < 20
    for covariance in estimate_covariances(residual, label, weight, in_ring):
        widths = torch.linalg.eigvalsh(covariance).sqrt()
        assert 0.05 < widths.min() and widths.max() < 0.2


def test_each_conformer_has_its_own_directions_and_others_follow():
    generator = torch.Generator().manual_seed(2)
    n = 20_000
    label = torch.arange(n) % 2
    wide, narrow, rest = torch.randn(3, n, generator=generator, dtype=torch.float64)
    # the sum is stiff in one conformer, the difference in the other one
    sign = torch.where(label == 0, 1.0, -1.0).double()
    ring = torch.stack([wide + 0.01 * narrow, sign * (0.01 * narrow - wide)], dim=1)
    other = 0.5 * ring[:, :1] + 0.1 * rest[:, None]
    weight = torch.full((n,), 1.0 / n, dtype=torch.float64)
    in_ring = torch.tensor([True, True, False])
    found = estimate_covariances(torch.cat([ring, other], -1), label, weight, in_ring)
    for covariance, correlation in zip(found, (-1.0, 1.0), strict=True):
        (a, ab, ax), (_, b, _), (_, _, x) = covariance.tolist()
        assert ab / (a * b) ** 0.5 == pytest.approx(correlation, abs=0.01)
        assert ax / a == pytest.approx(0.5, abs=0.02)
        assert x == pytest.approx(0.25 * a + 0.01, abs=0.02)
