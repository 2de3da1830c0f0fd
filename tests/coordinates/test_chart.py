"""The molecular chart: round trips, exact volumes and forces, and what it flattens."""

import math

import pytest
import torch

from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.marginals import is_rotatable
from onestep_md.coordinates.ring_chart import fit_chart
from onestep_md.coordinates.zmatrix import build_zmatrix
from onestep_md.targets.evaluator import PotentialEvaluator


@pytest.fixture(scope="module")
def alanine(shipped):
    return shipped("alanine", "amber99sbildn.xml", "amber99_obc.xml")


@pytest.fixture(scope="module")
def coordinates(alanine):
    zmatrix = build_zmatrix(
        alanine.elements, alanine.bonds, alanine.constraints, alanine.positions
    )
    return InternalCoordinates(zmatrix)


def thermal_coordinates(coordinates, positions, n=4000):
    """Internal coordinates around the input geometry; phi and psi (by spread) turn freely."""
    generator = torch.Generator().manual_seed(0)
    q0, _ = coordinates.from_cartesian(torch.from_numpy(positions)[None])
    noise = torch.randn(n, coordinates.dim, generator=generator, dtype=torch.float64)
    first = coordinates.n_bonds + coordinates.n_angles
    scale = torch.full((coordinates.dim,), 0.05, dtype=torch.float64)
    scale[: coordinates.n_bonds] = 0.003
    proper = first + coordinates.torsion_proper.nonzero().squeeze(-1)
    q = q0 + noise * scale
    q[:, proper[:2]] = q0[:, proper[:2]] + 1.5 * noise[:, proper[:2]]
    q[:, first:] = torch.remainder(q[:, first:] + math.pi, 2 * math.pi) - math.pi
    return q, proper[:2] - first


@pytest.fixture(scope="module")
def chart(coordinates, alanine):
    q, _ = thermal_coordinates(coordinates, alanine.positions)
    return MolecularChart.fit(coordinates, q)


def test_rotatable_torsions_are_told_from_the_data(coordinates, alanine):
    q, turning = thermal_coordinates(coordinates, alanine.positions)
    found = is_rotatable(q[:, coordinates.n_bonds + coordinates.n_angles :])
    assert found.nonzero().squeeze(-1).tolist() == sorted(turning.tolist())


def test_round_trip(chart):
    s = chart.sample_base(200, torch.Generator().manual_seed(1))
    x, log_det = chart.to_x(s)
    back, again = chart.from_x(x)
    torch.testing.assert_close(back, s, rtol=0, atol=1e-8)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-8)


def test_log_det_is_that_of_the_dense_jacobian(chart, coordinates):
    """log|det dx/ds| = log|det dx/dq| + log|det dq/ds|, the second by autograd."""
    s = chart.sample_base(4, torch.Generator().manual_seed(2))
    for row in s:

        def internal(state):
            x, _ = chart.to_x(state[None])
            return coordinates.from_cartesian(x)[0][0]

        jacobian = torch.autograd.functional.jacobian(internal, row)
        _, log_dq = torch.linalg.slogdet(jacobian)
        x, log_det = chart.to_x(row[None])
        _, log_dx = coordinates.from_cartesian(x)
        torch.testing.assert_close(log_det[0], log_dq + log_dx[0], rtol=0, atol=1e-7)


def test_base_is_exact_for_a_harmonic_molecule(coordinates, alanine):
    q, _ = thermal_coordinates(coordinates, alanine.positions)
    chart = MolecularChart.fit(coordinates, q, power=1.0)
    x, _ = coordinates.to_cartesian(q)
    s, _ = chart.from_x(x)
    line, circle = s[:, : chart.n_linear], s[:, chart.n_linear :]
    assert line.mean(0).abs().max() < 1e-8
    torch.testing.assert_close(
        torch.cov(line.T), torch.eye(chart.n_linear).double(), rtol=0, atol=1e-6
    )
    # flattened up to the smoothing kernel and the floor: each quarter holds a quarter
    for column in circle.T:
        share = torch.histc(column, bins=4, min=-math.pi, max=math.pi) / len(column)
        assert (share - 0.25).abs().max() < 0.03


def test_stiff_coordinates_follow_the_torsions(coordinates, alanine):
    """A shift of up to five widths with the first rotatable torsion is taken out."""
    q, turning = thermal_coordinates(coordinates, alanine.positions)
    torsion = q[:, coordinates.n_bonds + coordinates.n_angles + int(turning[0])]
    q[:, 0] += 0.015 * torch.cos(torsion)
    chart = MolecularChart.fit(coordinates, q)
    x, _ = coordinates.to_cartesian(q)
    line = chart.from_x(x)[0][:, 0]
    residual = torch.corrcoef(torch.stack([line, torch.cos(torsion)]))[0, 1]
    assert residual.abs() < 0.2  # 0.96 without the regression; the ridge leaves a little
    torch.testing.assert_close(line.std(), torch.ones(()).double(), rtol=0.02, atol=0)


def test_rare_wells_are_visited_more_often_than_dynamics_does(coordinates, alanine):
    q, turning = thermal_coordinates(coordinates, alanine.positions)
    column = coordinates.n_bonds + coordinates.n_angles + int(turning[0])
    q[:, column] = 0.2 * torch.randn(len(q), generator=torch.Generator().manual_seed(8)).double()
    q[:40, column] += 2.5  # 1 %: emphasised by sqrt(0.1 / 0.01)
    chart = MolecularChart.fit(coordinates, q, power=1.0)
    s = chart.sample_base(20_000, torch.Generator().manual_seed(9))
    k = chart.circle.tolist().index(column)
    rare = chart.angle_decoder(s[:, chart.n_linear :])[:, k] > 1.25
    boosted = 0.01 * math.sqrt(10.0)
    assert (
        abs(rare.double().mean() - boosted / (boosted + 0.99)) < 0.01
    )  # the floor of the marginal included
    boost = chart.log_emphasis(s)
    # a few of them are on the barrier, where the emphasis may change
    assert ((boost[rare] - 0.5 * math.log(10.0)).abs() < 0.01).double().mean() > 0.9
    assert (boost[~rare] == 0).double().mean() > 0.9


def test_puckers_are_told_from_the_data(coordinates, alanine):
    """Two wells of a torsion that never turns, and a bond that follows: half a turn is not needed.

    The likelihood is that of the base: s drawn from it is as likely as frames can be.
    """
    q, turning = thermal_coordinates(coordinates, alanine.positions)
    first = coordinates.n_bonds + coordinates.n_angles
    assert sorted(fit_chart(coordinates, q, ()).circle.tolist()) == sorted(
        (first + turning).tolist()
    )
    stiff = coordinates.torsion_proper.nonzero().squeeze(-1)[2]
    side = torch.where(torch.arange(len(q)) % 3 == 0, 1.0, -1.0).double()
    q[:, first + stiff] += 0.5 * side
    q[:, 0] += 0.01 * side
    chart = fit_chart(coordinates, q, ())
    assert set(chart.circle.tolist()) == {*(first + turning).tolist(), int(first + stiff)}
    plain, puckered = (
        MolecularChart.fit(coordinates, q, puckers, power=1.0)
        for puckers in (frozenset(), frozenset({int(stiff)}))
    )
    assert puckered.log_likelihood(q).mean() > plain.log_likelihood(q).mean() + 1.0
    x, log_det = chart.to_x(chart.sample_base(500, torch.Generator().manual_seed(10)))
    again, log_dx = coordinates.from_cartesian(x)
    s, _ = chart.from_x(x)
    torch.testing.assert_close(
        chart.log_likelihood(again), chart.log_base(s) - log_det + log_dx, rtol=0, atol=1e-7
    )


def test_base_density_is_normalised_by_construction(chart):
    s = chart.sample_base(1000, torch.Generator().manual_seed(3))
    line = torch.distributions.Normal(0.0, 1.0).log_prob(s[:, : chart.n_linear]).sum(-1)
    expected = line - chart.n_circular * math.log(2 * math.pi)
    torch.testing.assert_close(chart.log_base(s), expected)


def test_states_outside_the_chart_have_no_volume(chart):
    s = chart.sample_base(3, torch.Generator().manual_seed(4))
    s[1, : chart.n_linear] *= 1e4
    x, log_det = chart.to_x(s)
    assert log_det[1] == -torch.inf
    assert torch.isfinite(log_det[[0, 2]]).all()
    assert (chart.pull_back(s, torch.ones_like(x))[1] == 0).all()


def test_pull_back_is_the_gradient_of_the_log_density(chart, alanine):
    evaluator = PotentialEvaluator(alanine, "Reference")
    s = 0.3 * chart.sample_base(2, torch.Generator().manual_seed(5))

    def log_p(state):
        x, log_det = chart.to_x(state)
        return log_det - torch.from_numpy(evaluator.evaluate(x.numpy())[0])

    x, _ = chart.to_x(s)
    force = chart.pull_back(s, torch.from_numpy(evaluator.evaluate(x.numpy())[1]))
    for k in (0, 7, 30, chart.n_linear - 1, chart.n_linear, chart.n_linear + 1):
        step = torch.zeros_like(s)
        step[:, k] = 1e-5
        numeric = (log_p(s + step) - log_p(s - step)) / 2e-5
        torch.testing.assert_close(force[:, k], numeric, rtol=1e-4, atol=1e-3)


def test_forces_of_frames_in_any_orientation(chart, alanine):
    evaluator = PotentialEvaluator(alanine, "Reference")
    s = 0.3 * chart.sample_base(3, torch.Generator().manual_seed(6))
    x, _ = chart.to_x(s)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, 3, dtype=torch.float64))
    turn = turn * torch.linalg.det(turn)[:, None, None]
    moved = x @ turn + 1.7
    expected = chart.pull_back(s, torch.from_numpy(evaluator.evaluate(x.numpy())[1]))
    grad = torch.from_numpy(evaluator.evaluate(moved.numpy())[1])
    torch.testing.assert_close(
        chart.pull_back_frames(s, moved, grad), expected, rtol=1e-6, atol=1e-5
    )
