"""Coordinates with several modes: which they are, both directions of the map, its density."""

import math

import pytest
import torch

from onestep_md.coordinates.flat import FlatChart
from onestep_md.coordinates.line_marginals import LineMarginals

N = 8000


def wells(share, width, generator):
    """Samples (N,) of two Gaussians at -1 and 1."""
    side = torch.where(torch.rand(N, generator=generator) < share, -1.0, 1.0).double()
    return side + width * torch.randn(N, generator=generator).double()


def columns(seed=0):
    """Unit-variance columns: two wells, one Gaussian, heavy tails, three narrow wells, uniform."""
    g = torch.Generator().manual_seed(seed)
    normal = torch.randn(N, 4, generator=g).double()
    three = torch.randint(3, (N,), generator=g).double() + 0.02 * normal[:, 3]
    x = [wells(0.3, 0.3, g), normal[:, 1], normal[:, 2] * torch.exp(1.5 * normal[:, 0]), three]
    x = torch.stack([*x, torch.rand(N, generator=g).double()], dim=-1)
    return (x - x.mean(0)) / x.std(0)


@pytest.fixture(scope="module")
def marginals():
    return LineMarginals.fit(columns())


@pytest.mark.parametrize("seed", range(4))
def test_only_what_has_several_modes_is_flattened(seed):
    assert LineMarginals.fit(columns(seed)).modal.tolist() == [0, 3]


def test_wells_that_go_together_are_left_to_the_flow():
    g = torch.Generator().manual_seed(3)
    corner = torch.randint(3, (N,), generator=g)  # three of four corners
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]).double()[corner]
    x = x + 0.1 * torch.randn(N, 2, generator=g).double()
    x = torch.cat([x, wells(0.4, 0.1, g)[:, None]], dim=-1)
    marginals = LineMarginals.fit((x - x.mean(0)) / x.std(0))
    assert marginals.modal.tolist() == [2] and marginals.tangled
    assert not LineMarginals.fit(columns()).tangled
    assert FlatChart.fit(x).is_multimodal and not FlatChart.fit(columns()).is_multimodal


def test_nothing_to_flatten():
    one_mode = LineMarginals.fit(columns()[:, 1:3])
    y, log_slope = one_mode.quantile(torch.zeros(5, 0).double())
    assert one_mode.modal.numel() == 0 and y.shape == log_slope.shape == (5, 0)


def test_round_trip_and_slope_far_into_the_tails(marginals):
    s = torch.linspace(-12.0, 12.0, 2000).double()[:, None].repeat(1, 2).requires_grad_()
    y, log_slope = marginals.quantile(s)
    (slope,) = torch.autograd.grad(y.sum(), s)
    torch.testing.assert_close(slope.log(), log_slope, rtol=0, atol=1e-11)
    assert (y.diff(dim=0) > 0).all()
    back, again = marginals.cumulative(y)
    torch.testing.assert_close(back, s, rtol=0, atol=1e-10)
    torch.testing.assert_close(again, log_slope, rtol=0, atol=1e-9)


def test_the_density_is_normalised(marginals):
    y = torch.linspace(-40.0, 40.0, 400_001).double()
    s, log_slope = marginals.cumulative(y[:, None].expand(-1, 2))
    log_p = -0.5 * s.square() - 0.5 * math.log(2.0 * math.pi) - log_slope
    torch.testing.assert_close(
        torch.trapezoid(log_p.exp(), y, dim=0), torch.ones(2).double(), rtol=0, atol=1e-6
    )


def test_samples_have_the_populations_of_the_wells(marginals):
    generator = torch.Generator().manual_seed(5)
    y, _ = marginals.quantile(torch.randn(100_000, 2, generator=generator).double())
    data = columns()[:, marginals.modal]
    for k in (0, 1):
        for level in (0.1, 0.25, 0.5, 0.9):
            edge = data[:, k].quantile(level)
            # two standard errors of the data and then some for the bandwidth
            assert abs(float((y[:, k] < edge).double().mean()) - level) < 0.02


def test_a_product_of_wells_is_exact_in_the_base():
    """ESS of the base alone, against the density that the samples are drawn from."""
    g = torch.Generator().manual_seed(1)
    x = torch.stack([wells(0.4, 0.1, g) for _ in range(4)], dim=-1)
    chart = FlatChart.fit(x)
    s = chart.sample_base(20_000, g)
    drawn, log_det = chart.to_x(s)
    scaled = -0.5 * ((drawn[..., None] - torch.tensor([-1.0, 1.0])) / 0.1).square()
    share = torch.tensor([0.4, 0.6]).double()
    log_p = torch.logsumexp(scaled + share.log(), -1) - math.log(0.1 * math.sqrt(2.0 * math.pi))
    w = torch.exp(log_p.sum(-1) + log_det - chart.log_base(s))
    assert float(w.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(w.sum() ** 2 / w.square().sum()) / len(w) > 0.9


def test_flat_chart_round_trip_and_force():
    chart = FlatChart.fit(columns() @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 4.0, 1.0])).double())
    s = chart.sample_base(50, torch.Generator().manual_seed(2))
    x, log_det = chart.to_x(s)
    back, again = chart.from_x(x)
    torch.testing.assert_close(back, s, rtol=0, atol=1e-9)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-9)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: chart.to_x(row[None])[0][0]))(s[:5])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[:5])
    # u = |x|^2 / 2
    point = s.clone().requires_grad_()
    moved, volume = chart.to_x(point)
    (force,) = torch.autograd.grad((volume - 0.5 * moved.square().sum(-1)).sum(), point)
    torch.testing.assert_close(chart.pull_back(s, x), force)


# ---- small modes


def minor(share, distance, width, laplace=False):
    """Samples (N, 1) of N(0, 1) and of a small mode, log p and its slope as functions of x."""
    g = torch.Generator().manual_seed(7)
    away = torch.randn(N, generator=g).double()
    if laplace:
        away = away.sign() * torch.empty(N).double().exponential_(1.0, generator=g)
    small = torch.rand(N, generator=g) < share
    x = torch.where(small, distance + width * away, torch.randn(N, generator=g).double())

    def log_p(x):
        y = (x[:, 0] - distance) / width
        height = -y.abs() - math.log(2.0) if laplace else -0.5 * (y * y + math.log(2 * math.pi))
        parts = [
            -0.5 * (x[:, 0].square() + math.log(2 * math.pi)) + math.log(1 - share),
            height - math.log(width) + math.log(share),
        ]
        return torch.logsumexp(torch.stack(parts, -1), -1)

    def slope(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(log_p(x).sum(), x)[0]

    return x[:, None], log_p, slope


@pytest.mark.parametrize(
    ("share", "distance", "width", "laplace"),
    [
        (0.003, 15.0, 1.0, False),
        (0.01, 60.0, 1.0, False),
        (0.01, 400.0, 1.0, False),
        (0.019, 12.0, 1.0, False),
        (0.02, 12.0, 0.2, False),
        (0.03, 40.0, 4.0, True),
        (0.05, 7.0, 0.7, False),
    ],
)
def test_a_small_mode_is_in_the_base(share, distance, width, laplace):
    x, log_p, slope = minor(share, distance, width, laplace)
    assert int((x > distance / 2).sum()) < 1.5 * share * N
    chart = FlatChart.fit(x, None, -slope(x))
    assert chart.marginals.modal.tolist() == [0]
    s = chart.sample_base(20_000, torch.Generator().manual_seed(1))
    drawn, log_det = chart.to_x(s)
    w = torch.exp(log_p(drawn) + log_det - chart.log_base(s))
    error = float(w.std()) / len(w) ** 0.5
    assert float(w.mean()) == pytest.approx(1.0, abs=4 * error) and error < 0.01
    assert float(w.sum() ** 2 / w.square().sum()) / len(w) > 0.9
    assert float(w[drawn[:, 0] > distance / 2].mean()) > 0.5


def families(x, copies):
    """Samples of which each has many relatives beside it in the order, within 0.05."""
    g = torch.Generator().manual_seed(2)
    return x.repeat_interleave(copies) + 0.05 * torch.randn(len(x) * copies, generator=g).double()


def test_relatives_somewhere_in_a_heavy_tail_are_no_mode():
    g = torch.Generator().manual_seed(3)
    normal = torch.randn(3, N // 20, 8, generator=g).double()
    for t in (normal[0] / normal[1:].square().mean(0).sqrt()).T:  # two degrees of freedom
        y = families(t, 20)
        width = y.std()
        force = -3.0 * y / (2.0 + y * y) * width
        assert LineMarginals.fit(((y - y.mean()) / width)[:, None], force[:, None]).single == [0]


def test_a_small_mode_of_few_families_is_told_by_its_forces():
    g = torch.Generator().manual_seed(4)
    normal = torch.randn(2, N, generator=g).double()
    small = torch.zeros(N, dtype=torch.bool)
    small[1000:1100] = small[5200:5260] = True  # two islands of many
    x = torch.where(small, 12.0 + normal[0], normal[1])
    force = torch.where(small, -normal[0], -normal[1]) * x.std()
    y = ((x - x.mean()) / x.std())[:, None]
    assert LineMarginals.fit(y, force[:, None]).modal.tolist() == [0]
    assert LineMarginals.fit(y).single == [0]


def test_small_modes_that_go_together_are_left_to_the_flow():
    g = torch.Generator().manual_seed(5)
    small = torch.rand(N, generator=g) < 0.03
    normal = torch.randn(N, 3, generator=g).double()
    x = normal.clone()
    x[small, :2] += 10.0
    y = (x - x.mean(0)) / x.std(0)
    marginals = LineMarginals.fit(y, -normal * x.std(0))
    assert marginals.tangled and marginals.single == [2]
