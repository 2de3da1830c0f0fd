"""Large rings close to second order, by a map of known inverse and volume."""

from pathlib import Path

import pytest
import torch

from onestep_md.config import load_config
from onestep_md.coordinates.base import Whitening
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.marginals import Marginals, RareWells
from onestep_md.coordinates.ring_closure import (
    find_closure,
    find_dependent_angles,
    measure_angles,
)
from onestep_md.kinds import load_target
from onestep_md.sampling.chart_file import chart_facts, chart_of

SYSTEMS = Path(__file__).parents[2] / "systems"


@pytest.fixture(scope="module")
def molecule():
    """A ring of fifteen atoms."""
    return load_target(load_config(SYSTEMS / "cyclic-pentapeptide.yaml")).molecule


@pytest.fixture(scope="module")
def middle(coordinates, molecule):
    return coordinates.from_cartesian(torch.from_numpy(molecule.positions)[None])[0]


@pytest.fixture(scope="module")
def line(coordinates):
    return torch.arange(coordinates.dim)


@pytest.fixture(scope="module")
def closure(coordinates, middle, line, rings):
    return find_closure(coordinates, middle, line, rings)


@pytest.fixture(scope="module")
def chart(coordinates, middle, closure):
    """Every coordinate on the line, with widths of thermal bonds, angles and torsions."""
    first = coordinates.n_bonds + coordinates.n_angles
    width = torch.full((coordinates.dim,), 0.15, dtype=torch.float64)
    width[:first], width[: coordinates.n_bonds] = 0.03, 0.003
    width[coordinates.n_bonds : first][coordinates.closing] = 0.003
    width[closure.bound] = 0.03
    none = torch.zeros(0, dtype=torch.float64)
    return MolecularChart(
        coordinates,
        torch.zeros(0, dtype=torch.long),
        middle,
        torch.zeros(0, coordinates.dim, dtype=torch.float64),
        Whitening(*(part[None] for part in Whitening.from_covariance(torch.diag(width**2)))),
        Marginals.fit(none.reshape(5, 0), torch.full((5,), 0.2, dtype=torch.float64)),
        RareWells.fit(none.reshape(5, 0)),
        closure,
    )


def deviations(coordinates, closure, scale, n=200):
    """Random deviations of all coordinates, ring torsions by `scale`, with y = 0."""
    first = coordinates.n_bonds + coordinates.n_angles
    width = torch.full((coordinates.dim,), scale, dtype=torch.float64)
    width[:first] = 0.1 * scale
    noise = torch.randn(
        n, coordinates.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    noise[:, closure.bound] = 0.0
    return width * noise


def close(closure, moved):
    return closure.close(moved, torch.zeros(len(moved), dtype=torch.long))


def one_conformer_facts(chart):
    """Facts as files of November 2026 hold them, in which no chart has several conformers."""

    def first(facts, *names):
        return {**facts, **{name: facts[name][0] for name in names}}

    facts = first(chart_facts(chart), "centre", "mix", "unmix", "log_det_mix")
    closure = first(facts["closure"], "offset", "lever", "linear", "quadratic")
    return {**facts, "closure": closure}


def test_three_angles_of_a_ring_are_no_coordinates(coordinates, rings):
    (ring,) = rings
    triples = find_dependent_angles(coordinates, ring)
    assert len(triples) == 3 and all(set(triple) <= set(ring) for triple in triples)
    # in a row, about the atom that closes the ring
    assert len({atom for triple in triples for atom in triple}) == 5


def test_dependent_angles_stay_to_second_order(coordinates, middle, line, rings, closure):
    triples = find_dependent_angles(coordinates, rings[0])
    start = measure_angles(coordinates.to_cartesian(middle)[0], triples)
    bent = []
    for scale in (0.04, 0.02):
        moved = middle + close(closure, deviations(coordinates, closure, scale))
        angles = measure_angles(coordinates.to_cartesian(moved)[0], triples)
        bent.append((angles - start).square().mean().sqrt())
    assert 6.0 < bent[0] / bent[1] < 10.0  # of third order: 8


def test_angles_follow_their_coordinates(coordinates, middle, rings, closure):
    triples = find_dependent_angles(coordinates, rings[0])
    start = measure_angles(coordinates.to_cartesian(middle)[0], triples)
    y = 0.01 * torch.eye(3, dtype=torch.float64)
    moved = torch.zeros(3, coordinates.dim, dtype=torch.float64)
    moved[:, closure.bound] = y
    angles = measure_angles(coordinates.to_cartesian(middle + close(closure, moved))[0], triples)
    torch.testing.assert_close(angles - start, y, rtol=0, atol=5e-4)


def test_open_inverts_close_in_each_conformer(coordinates, line, middle, rings, closure):
    offset = 0.1 * torch.randn(
        2, coordinates.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    both = find_closure(coordinates, middle.expand(2, -1), line, rings).shifted(offset)
    moved = deviations(coordinates, closure, 0.5)
    moved[:, closure.bound] = 0.1
    conformer = torch.arange(len(moved)) % 2
    closed = both.close(moved, conformer)
    torch.testing.assert_close(both.open(closed, conformer), moved, rtol=0, atol=1e-11)
    for c in range(2):
        alone = close(closure.shifted(offset[c : c + 1]), moved[conformer == c])
        torch.testing.assert_close(closed[conformer == c], alone, rtol=0, atol=1e-12)


def test_the_volume_of_a_chart_is_that_of_its_dense_jacobian(chart):
    s = chart.sample_base(5, torch.Generator().manual_seed(2))
    x, log_det = chart.to_x(s)
    assert log_det.isfinite().any()
    inside = log_det.isfinite()
    eye = torch.eye(s.shape[1], dtype=torch.float64).expand(int(inside.sum()), -1, -1)
    dense = chart.dense_log_det(s[inside], eye)
    torch.testing.assert_close(log_det[inside], dense, rtol=0, atol=1e-8)
    back, log_det_back = chart.from_x(x[inside])
    torch.testing.assert_close(back, s[inside], rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det_back, log_det[inside], rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", [chart_facts, one_conformer_facts])
def test_a_file_holds_it(chart, form):
    again = chart_of(form(chart))
    s = chart.sample_base(5, torch.Generator().manual_seed(3))
    for own, other in zip(chart.to_x(s), again.to_x(s), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


def test_small_rings_have_none(coordinates, middle, line):
    assert find_closure(coordinates, middle, line, [range(6)]) is None
    assert find_closure(coordinates, middle, line, []) is None
