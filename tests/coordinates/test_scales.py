"""Coordinates whose width depends on others: who depends on whom, both directions, the funnel."""

import math

import pytest
import torch

from onestep_md.coordinates.flat import FlatChart
from onestep_md.coordinates.scales import Scales

N = 8000


def hierarchy(seed: int) -> torch.Tensor:
    """Columns (N, 6): two log-widths, two with these widths, an outsider, a follower."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(N, 6, generator=g).double()
    wide = z[:, 2] * torch.exp(0.8 * z[:, 0] - 0.5)
    both = 0.3 + z[:, 3] * torch.exp(0.5 * z[:, 0] - 0.7 * z[:, 1])
    return torch.stack([z[:, 0], z[:, 1], wide, both, z[:, 4], z[:, 5] + 0.5 * z[:, 4]], dim=-1)


@pytest.mark.parametrize("seed", range(4))
def test_widths_are_found_with_their_slopes(seed):
    scales = Scales.fit(hierarchy(seed), single=list(range(6)))
    assert sorted(scales.parents.tolist()) == [0, 1] and scales.scaled.tolist() == [2, 3]
    slope = scales.slope[scales.parents.argsort()]
    expected = torch.tensor([[0.8, 0.5], [0.0, -0.7]]).double()
    # log |N(0, 1)| has the standard deviation pi / sqrt(8); five standard errors
    bound = 5.0 * math.pi / math.sqrt(8.0 * N)
    torch.testing.assert_close(slope, expected, rtol=0, atol=bound)
    torch.testing.assert_close(
        scales.level, torch.tensor([-0.5, 0.0]).double(), rtol=0, atol=5.0 / math.sqrt(2.0 * N)
    )
    # the narrow part determines the centre best
    torch.testing.assert_close(scales.centre, torch.tensor([0.0, 0.3]).double(), rtol=0, atol=0.02)


def test_columns_of_several_modes_are_left_alone():
    scales = Scales.fit(hierarchy(0), single=[1, 2, 3, 4, 5])
    assert scales.parents.tolist() == [1] and scales.scaled.tolist() == [3]


def test_a_bent_density_is_no_hierarchy():
    """The size of x and y go together where y = x^2 + noise, but x is a Gaussian of one width."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(N, dtype=torch.float64, generator=g)
    y = (x.square() - 1.0) / math.sqrt(2.0) + 0.1 * torch.randn(N, generator=g).double()
    scales = Scales.fit(torch.stack([x, y], dim=-1), single=[0, 1])
    assert scales.parents.numel() == scales.scaled.numel() == scales.slope.numel() == 0


def test_nothing_depends_on_anything():
    g = torch.Generator().manual_seed(1)
    scales = Scales.fit(torch.randn(N, 5, generator=g).double(), single=list(range(5)))
    s = torch.randn(7, 5, generator=g).double()
    y, log_det = scales(s)
    assert torch.equal(y, s) and torch.equal(log_det, torch.zeros(7).double())


def test_round_trip_and_log_determinant():
    scales = Scales.fit(hierarchy(2), single=list(range(6)))
    s = 3.0 * torch.randn(50, 6, generator=torch.Generator().manual_seed(3)).double()
    y, log_det = scales(s)
    back, again = scales.inverse(y)
    torch.testing.assert_close(back, s, rtol=0, atol=1e-11)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-12)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: scales(row[None])[0][0]))(s)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det)


def test_the_base_goes_on_where_no_sample_was():
    """A funnel known only by its mouth: the base holds the conditional widths of the neck."""
    g = torch.Generator().manual_seed(5)
    z = torch.randn(4 * N, 4, generator=g).double()
    z = z[z[:, 0] > -0.5]
    mouth = torch.cat([3.0 * z[:, :1], z[:, 1:] * torch.exp(1.5 * z[:, :1])], dim=-1)
    chart = FlatChart.fit(mouth)
    neck = torch.full((1,), -8.0).double()
    s = chart.from_x(torch.cat([neck, torch.zeros(3).double()])[None])[0].expand(1000, 4).clone()
    s[:, 1:] = torch.randn(1000, 3, generator=g).double()
    x, _ = chart.to_x(s)
    width = x[:, 1:].std(0).log()
    # exp(x_0 / 2); a slope of 1 % error is 0.04 off there
    torch.testing.assert_close(width, torch.full((3,), -4.0).double(), rtol=0, atol=0.2)


def test_noise_is_no_correlation():
    """Heavy tails of one common width, no correlations: the axes stay."""
    chart = FlatChart.fit(hierarchy(4)[:, :5])
    assert torch.equal(chart.mix, torch.diag(chart.mix.diagonal()))
