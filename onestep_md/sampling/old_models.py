"""Models of formats 1 and 2, whose charts were pickled objects: their facts, for `chart_of`.

The classes that these files name are stood in for by empty ones, so reading them runs no code and
does not depend on where the classes are today.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_PLACE = "onestep_md.coordinates."
_NAMES = (
    "cartesian.CartesianChart", "chart.MolecularChart", "flat.FlatChart",
    "internal.InternalCoordinates", "line_marginals.LineMarginals", "line_marginals.Half",
    "marginals.Marginals", "marginals.RareWells", "positions.PositionChart", "scales.Scales",
)  # fmt: skip
# the empty class that stands for each of them, by the last part of its name
_STAND_INS: dict[str, Any]
_STAND_INS = {name.split(".")[1]: type(name.split(".")[1], (nn.Module,), {}) for name in _NAMES}

# the only classes that may be made when a model of any format is read
PARTS: list[Any] = [set, *((_STAND_INS[name.split(".")[1]], _PLACE + name) for name in _NAMES)]


def old_chart_facts(chart: Any, elements: Sequence[str]) -> dict:
    """Name what a chart of format 1 or 2 is made of, as `chart_file.chart_facts` does.

    Args:
        chart: the stand-in, as it was read.
        elements: of the molecule; empty for a density.

    Raises:
        ValueError: no chart that can be converted.
    """
    if isinstance(chart, _STAND_INS["MolecularChart"]):
        rare_wells = chart.rare_wells.table
        marginals = chart.marginals
        return {
            "kind": "molecule",
            "coordinates": _coordinates(chart.coordinates, elements),
            **{name: getattr(chart, name) for name in ("circle", "centre", "slope")},
            **_whitening(chart),
            "density": marginals.density,
            "cdf": marginals.cdf,
            "log_emphasis": rare_wells,
        }
    if isinstance(chart, _STAND_INS["PositionChart"]):
        facts = {name: getattr(chart, name) for name in ("spread", "gather", "log_volume")}
        coordinates = _coordinates(chart.coordinates, elements)
        return {"kind": "positions", "coordinates": coordinates, **facts}
    if isinstance(chart, _STAND_INS["CartesianChart"]):
        facts = {name: getattr(chart, name) for name in ("basis", "space", "sigma")}
        return {"kind": "particles", **facts}
    if isinstance(chart, _STAND_INS["FlatChart"]) and hasattr(chart.marginals, "left"):
        marginals, scales = chart.marginals, chart.scales
        return {
            "kind": "flat",
            "centre": chart.centre,
            **_whitening(chart),
            **{name: getattr(marginals, name) for name in ("modal", "single", "tangled")},
            **{name: getattr(marginals.left, name) for name in ("nodes", "density")},
            **{name: getattr(scales, name) for name in ("parents", "scaled", "slope", "level")},
            "scale_centre": scales.centre,
        }
    raise ValueError("its chart is one of a format that is no longer read; train it again")


def _whitening(chart: Any) -> dict[str, Tensor]:
    return {name: getattr(chart, name) for name in ("mix", "unmix", "log_det_mix")}


def _coordinates(old: Any, elements: Sequence[str]) -> dict:
    """Name the facts of a z-matrix; format 1 has no straight rows, loose bonds or held bonds."""
    n = old.n_atoms
    free, fixed = old.bond_free, torch.full((n,), torch.nan, dtype=torch.float64)
    constrained = torch.ones(n - 1, dtype=torch.bool).index_fill(0, free, False)
    fixed[1:][constrained] = old.bond_fixed
    none = torch.zeros(max(0, n - 2), dtype=torch.bool)
    no_quads = torch.zeros(0, 4, dtype=torch.long)
    loose = getattr(old, "loose", torch.zeros(0, 2, dtype=torch.long)).tolist()
    lengths = getattr(old, "loose_length", torch.zeros(0)).tolist()
    return {
        **dict(zip(("atom", "bond_to", "angle_to", "torsion_to"), old.rows, strict=True)),
        "proper": _from_row(3, old.torsion_proper, n),
        "closing": _from_row(2, old.closing, n),
        "straight": _from_row(2, getattr(old, "straight", none), n),
        "fixed_length": fixed,
        "loose": [[i, j, length] for (i, j), length in zip(loose, lengths, strict=True)],
        "levels": [list(level[:2]) for level in old._levels],
        "labels": [f"{element}{i}" for i, element in enumerate(elements)],
        "centres": old.centres,
        "held_bonds": getattr(old, "held_bonds", no_quads),
        "held_cis": getattr(old, "held_cis", torch.zeros(0, dtype=torch.bool)),
    }


def _from_row(first: int, values: Tensor, n: int) -> Tensor:
    """A column (n,) of the z-matrix whose first rows have nothing."""
    column = torch.zeros(n, dtype=torch.bool)
    column[first:] = values
    return column
