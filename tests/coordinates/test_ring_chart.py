"""The chart of rings with several conformers: exact volumes, labels, and rings that close."""

import math
from pathlib import Path

import pytest
import torch

from onestep_md.config import load_config
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.ring_chart import RingChart, fit_chart
from onestep_md.kinds import load_target
from onestep_md.sampling.chart_file import chart_facts, chart_of

SYSTEMS = Path(__file__).parents[2] / "systems" / "molecules"
SHARE = 0.3  # of the second chair


@pytest.fixture(scope="module")
def molecule():
    return load_target(load_config(SYSTEMS / "methylcyclohexane.yaml")).molecule


def make_frames(coordinates, positions, rings, n=4000):
    """Two chairs, the input and the one of opposite ring torsions; and which one each frame is."""
    generator = torch.Generator().manual_seed(0)
    q0, _ = coordinates.from_cartesian(torch.from_numpy(positions)[None])
    first = coordinates.n_bonds + coordinates.n_angles
    scale = torch.full((coordinates.dim,), 0.05, dtype=torch.float64)
    scale[: coordinates.n_bonds] = 0.003
    scale[:first][coordinates.n_bonds :][coordinates.closing] = 0.003
    in_ring = torch.isin(coordinates.members, torch.tensor(rings[0])).all(-1)
    second = torch.rand(n, generator=generator) < SHARE
    q = q0.expand(n, -1).clone()
    flipped = (torch.arange(coordinates.dim) >= first) & in_ring
    q[:, flipped] = torch.where(second[:, None], -1.0, 1.0) * q[:, flipped]
    q += scale * torch.randn(n, coordinates.dim, generator=generator, dtype=torch.float64)
    q[:, first:] = torch.remainder(q[:, first:] + math.pi, 2 * math.pi) - math.pi
    return q, second


@pytest.fixture(scope="module")
def frames(coordinates, molecule, rings):
    return make_frames(coordinates, molecule.positions, rings)


@pytest.fixture(scope="module")
def chart(coordinates, frames, rings):
    chart = fit_chart(coordinates, frames[0], rings)
    assert isinstance(chart, RingChart)
    return chart


def test_conformers_and_their_shares_are_those_of_the_frames(chart, frames):
    _, second = frames
    share = second.double().mean()
    torch.testing.assert_close(
        chart.shares, torch.stack([1 - share, share]), rtol=0, atol=1e-12
    )  # neither is rare
    assert chart.n_linear + chart.n_circular == chart.coordinates.dim + 1


def test_it_is_likelier_than_independent_torsions(chart, frames, coordinates):
    q, _ = frames
    turning = torch.zeros(coordinates.n_torsions, dtype=torch.bool)
    turning[chart.torsions - coordinates.n_bonds - coordinates.n_angles] = True
    one = MolecularChart.fit(coordinates, q, frozenset(turning.nonzero().squeeze(-1).tolist()))
    assert chart.log_likelihood(q).mean() > one.log_likelihood(q).mean() + 0.4


def test_base_samples_are_these_two_conformers(chart, frames):
    q, second = frames
    s = chart.sample_base(4000, torch.Generator().manual_seed(1))
    x, log_det = chart.to_x(s)
    assert log_det.isfinite().double().mean() > 0.99
    drawn, _ = chart.coordinates.from_cartesian(x)
    seen = chart.angle_decoder(s[:, chart.n_linear :])[
        :, chart.angle_sources == chart.n_circular - 1
    ]
    own = (seen == chart.means[1]).all(-1)
    assert ((seen == chart.means[0]).all(-1) | own).all()
    for label, chosen in ((0, ~second), (1, second)):
        inside = (own == bool(label)) & log_det.isfinite()
        torch.testing.assert_close(
            drawn[inside][:, chart.torsions].mean(0), q[chosen][:, chart.torsions].mean(0),
            rtol=0, atol=0.02,
        )  # fmt: skip


def test_round_trip(chart):
    s = chart.sample_base(200, torch.Generator().manual_seed(2))
    torch.testing.assert_close(chart.recover(s), s, rtol=0, atol=1e-8)
    x, log_det = chart.to_x(s)
    back, again = chart.from_x(x)
    # chairs are so far apart that the label that is drawn is the label that was
    torch.testing.assert_close(back[:, :-1], s[:, :-1], rtol=0, atol=1e-8)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-8)


def test_the_volume_is_that_of_the_dense_jacobian(chart):
    s = chart.sample_base(6, torch.Generator().manual_seed(3))
    along = torch.randn(6, *2 * s.shape[1:], generator=torch.Generator().manual_seed(4)).double()
    expected = chart.to_x(s)[1] + torch.linalg.slogdet(along)[1]
    torch.testing.assert_close(chart.dense_log_det(s, along), expected, rtol=0, atol=1e-8)


def test_weights_of_labels_have_a_mean_of_one(coordinates, frames, rings):
    """For the density sum_c pi_c N_c(x) itself, where conformers, here of a methyl, overlap."""
    q = frames[0][~frames[1]]
    first = coordinates.n_bonds + coordinates.n_angles
    in_ring = torch.isin(coordinates.members, torch.tensor(rings[0])).all(-1)
    methyl = first + (coordinates.torsion_proper & ~in_ring[first:]).nonzero()[-1]
    noise = torch.randn(len(q), generator=torch.Generator().manual_seed(10)).double()
    angle = torch.where(torch.arange(len(q)) % 3 == 0, 0.8, -0.8) + 0.4 * noise
    q = q.index_copy(1, methyl, angle[:, None])
    turning = torch.zeros(coordinates.dim, dtype=torch.bool).index_fill(0, methyl, True)
    chart = RingChart.fit(coordinates, q, turning, turning, rings)
    s = chart.sample_base(20_000, torch.Generator().manual_seed(5))
    x, log_det = chart.to_x(s)
    drawn, log_dx = coordinates.from_cartesian(x)
    log_w = chart.log_likelihood(drawn) - log_dx + log_det - chart.log_base(s)
    w = log_w.exp()
    assert w.std() > 0.05
    assert abs(w.mean() - 1.0) < 4.0 * w.std() / len(w) ** 0.5


def test_redrawn_labels_leave_the_molecule_as_it_is(chart):
    s = chart.sample_base(500, torch.Generator().manual_seed(6))
    again = chart.redraw(s, torch.Generator().manual_seed(7))
    assert (again[:, -1] != s[:, -1]).all()
    torch.testing.assert_close(chart.to_x(again)[0], chart.to_x(s)[0], rtol=0, atol=1e-8)


def test_forces_are_gradients_of_the_log_density(chart):
    generator = torch.Generator().manual_seed(8)
    s = chart.sample_base(3, generator)
    grad_u = torch.randn(3, chart.coordinates.n_atoms, 3, generator=generator).double()
    force = chart.pull_back(s, grad_u)
    direction = torch.randn(s.shape, generator=generator).double()
    direction[:, -1] = 0.0  # along the label the density is a step function

    def log_p(state):
        x, log_det = chart.to_x(state)
        return log_det - (x * grad_u).sum((1, 2))

    h = 1e-5
    slope = (log_p(s + h * direction) - log_p(s - h * direction)) / (2 * h)
    torch.testing.assert_close((force * direction).sum(-1), slope, rtol=1e-4, atol=1e-4)
    assert (force[:, -1] == 0).all()


def test_rare_conformers_are_emphasised(chart, coordinates, frames, rings):
    q, second = frames
    kept = torch.cat([(~second).nonzero().squeeze(-1), second.nonzero().squeeze(-1)[:250]])
    turning = torch.zeros(coordinates.dim, dtype=torch.bool).index_fill(0, chart.torsions, True)
    in_ring = torch.isin(coordinates.members, torch.tensor(rings[0])).all(-1)
    chart = RingChart.fit(coordinates, q[kept], turning, in_ring, rings)
    share = 250 / len(kept)
    boosted = math.sqrt(0.1 / share) * share
    assert chart.shares[1] == pytest.approx(boosted / (boosted + 1 - share), abs=1e-9)
    s, _ = chart.from_x(coordinates.to_cartesian(q[kept])[0])
    emphasis = chart.log_emphasis(s)
    assert (emphasis[:-250] == 0).all()
    torch.testing.assert_close(
        emphasis[-40:], torch.full((40,), 0.5 * math.log(0.1 / share)).double()
    )


def test_no_states_are_no_conformations(chart):
    x, log_det = chart.to_x(chart.sample_base(0, torch.Generator()))
    assert (x.shape, log_det.shape) == ((0, chart.coordinates.n_atoms, 3), (0,))
    assert chart.from_x(x)[0].shape == (0, chart.n_linear + chart.n_circular)


def test_a_file_holds_it(chart):
    s = chart.sample_base(50, torch.Generator().manual_seed(9))
    again = chart_of(chart_facts(chart))
    for first, second in zip(chart.to_x(s), again.to_x(s), strict=True):
        assert torch.equal(first, second)


def test_files_with_a_chart_of_each_conformer_are_read(chart):
    facts = chart_facts(chart)
    joint = facts.pop("molecular")
    names = ("centre", "mix", "unmix", "log_det_mix")
    each = [{**joint, **{name: joint[name][c] for name in names}} for c in range(2)]
    s = chart.sample_base(50, torch.Generator().manual_seed(9))
    again = chart_of({**facts, "conformers": each})
    for first, second in zip(chart.to_x(s), again.to_x(s), strict=True):
        assert torch.equal(first, second)


def test_rings_of_one_conformer_have_no_label(coordinates, frames, rings):
    q, second = frames
    assert isinstance(fit_chart(coordinates, q[~second], rings), MolecularChart)
    assert isinstance(fit_chart(coordinates, q, ()), MolecularChart)
