"""Densities that are linear in cells: their integral is that of quadrature, and is inverted."""

import pytest
import torch

from onestep_md.coordinates.piecewise import Cells, cell_masses


@pytest.fixture
def table():
    """Densities at the nodes of cells, (2, 9), of which one is zero, and widths (2, 8)."""
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(2, 9, generator=generator, dtype=torch.float64)
    density[1, 4] = 0.0
    return density, 0.1 + torch.rand(2, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("even", [False, True])
def test_cells_integrate_like_quadrature_and_are_inverted(table, even):
    density, width = table
    width = 0.3 if even else width
    start = torch.zeros(2, 1, dtype=torch.float64)
    cdf = torch.cat([start, cell_masses(density, width).cumsum(-1)], dim=-1)
    index = torch.arange(8).repeat(2, 1)
    cells = Cells.take(index, cdf, density, width)
    xi = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)[1:-1, None, None].expand(-1, 8, 2)
    cumulative, p = cells.integrate(xi)
    torch.testing.assert_close(p, torch.lerp(density[:, :-1].T, density[:, 1:].T, xi))
    # the trapezoidal rule is exact for what is linear
    from_start = torch.cumulative_trapezoid(p * cells.width, xi, dim=0)
    torch.testing.assert_close(cumulative[1:] - cumulative[0], from_start)
    torch.testing.assert_close(cells.integrate(torch.ones(8, 2).double())[0], cdf[:, 1:].T)
    again, q = cells.invert(cumulative)
    torch.testing.assert_close(again, xi, rtol=0, atol=1e-9)
    torch.testing.assert_close(q, p, rtol=0, atol=1e-9)
