"""Charts as named facts, tensors, numbers and texts, for `model.pt`.

The file names no class and no module, so it survives every change of the code; reading it runs
nothing.
"""

import numpy as np
import torch

from onestep_md.coordinates.base import Chart, Whitening
from onestep_md.coordinates.cartesian import CartesianChart
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.flat import FlatChart
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.line_marginals import LineMarginals
from onestep_md.coordinates.marginals import Marginals, RareWells
from onestep_md.coordinates.positions import PositionChart
from onestep_md.coordinates.ring_chart import RingChart
from onestep_md.coordinates.ring_closure import RingClosure
from onestep_md.coordinates.scales import Scales
from onestep_md.coordinates.zmatrix import ZMatrix

_ROWS = (
    "atom", "bond_to", "angle_to", "torsion_to", "proper", "closing", "straight", "fixed_length",
)  # fmt: skip


def chart_facts(chart: Chart) -> dict:
    """Name what a chart is made of, for `chart_of`."""
    if isinstance(chart, MolecularChart):
        return {
            "kind": "molecule",
            "coordinates": _coordinates_facts(chart.coordinates),
            "circle": chart.circle,
            "centre": chart.centre,
            "slope": chart.slope,
            **_whitening_facts(chart),
            "density": chart.marginals.density,
            "cdf": chart.marginals.cdf,
            "log_emphasis": chart.rare_wells.table,
            "closure": dict(chart.closure.named_buffers()) if chart.closure else None,
        }
    if isinstance(chart, RingChart):
        return {
            "kind": "rings",
            "molecular": chart_facts(chart.molecular),
            "shares": chart.shares,
            "torsions": chart.torsions,
            "means": chart.means,
            "widths": chart.widths,
            "emphasis": chart.emphasis,
        }
    if isinstance(chart, PositionChart):
        return {
            "kind": "positions",
            "coordinates": _coordinates_facts(chart.coordinates),
            "spread": chart.spread,
            "gather": chart.gather,
            "log_volume": chart.log_volume,
        }
    if isinstance(chart, CartesianChart):
        space = chart.space
        return {"kind": "particles", "basis": chart.basis, "space": space, "sigma": chart.sigma}
    if isinstance(chart, FlatChart):
        marginals, scales = chart.marginals, chart.scales
        return {
            "kind": "flat",
            "centre": chart.centre,
            **_whitening_facts(chart),
            "modal": marginals.modal,
            "single": marginals.single,
            "tangled": marginals.tangled,
            "nodes": marginals.left.nodes,
            "density": marginals.left.density,
            "parents": scales.parents,
            "scaled": scales.scaled,
            "slope": scales.slope,
            "scale_centre": scales.centre,
            "level": scales.level,
        }
    raise TypeError(f"no file format for {type(chart).__name__}")


def chart_of(facts: dict) -> Chart:
    """Make the chart whose facts these are.

    Raises:
        KeyError, ValueError: these are the facts of no chart.
    """
    kind = facts["kind"]
    if kind == "molecule":
        return _molecular_chart_of(facts)
    if kind == "rings":
        molecular = facts["molecular"] if "molecular" in facts else _stack(facts["conformers"])
        names = ("shares", "torsions", "means", "widths", "emphasis")
        return RingChart(_molecular_chart_of(molecular), *(facts[name] for name in names))
    if kind == "positions":
        coordinates = _coordinates_of(facts["coordinates"])
        return PositionChart(coordinates, facts["spread"], facts["gather"], facts["log_volume"])
    if kind == "particles":
        return CartesianChart(facts["basis"], facts["space"], facts["sigma"])
    if kind == "flat":
        marginals = LineMarginals(
            *(facts[name] for name in ("modal", "single", "tangled", "nodes", "density"))
        )
        scales = Scales(
            *(facts[name] for name in ("parents", "scaled", "slope", "scale_centre", "level"))
        )
        return FlatChart(facts["centre"], _whitening_of(facts), marginals, scales)
    raise ValueError(f"unknown kind of chart: {kind}")


def _molecular_chart_of(facts: dict) -> MolecularChart:
    if facts["centre"].ndim == 1:
        facts = _stack([facts])
    return MolecularChart(
        _coordinates_of(facts["coordinates"]),
        facts["circle"],
        facts["centre"],
        facts["slope"],
        _whitening_of(facts),
        Marginals(facts["density"], facts["cdf"]),
        RareWells(facts["log_emphasis"]),
        RingClosure(**facts["closure"]) if facts.get("closure") else None,  # none in older files
    )


def _stack(charts: list[dict]) -> dict:
    """Join the facts of conformers that have a chart each, as in files of 2026-11 and before."""

    def stacked(parts: list[dict], names: tuple[str, ...]) -> dict:
        return {
            **parts[0],
            **{name: torch.stack([part[name] for part in parts]) for name in names},
        }

    facts = stacked(charts, ("centre", "mix", "unmix", "log_det_mix"))
    closures = [chart["closure"] for chart in charts if chart.get("closure")]
    if closures:
        facts["closure"] = stacked(closures, ("offset", "lever", "linear", "quadratic"))
    return facts


def _whitening_facts(chart: MolecularChart | FlatChart) -> dict:
    return {"mix": chart.mix, "unmix": chart.unmix, "log_det_mix": chart.log_det_mix}


def _whitening_of(facts: dict) -> Whitening:
    return Whitening(facts["mix"], facts["unmix"], facts["log_det_mix"])


def _coordinates_facts(coordinates: InternalCoordinates) -> dict:
    zmatrix, domain = coordinates.zmatrix, coordinates.domain
    return {
        **{name: torch.as_tensor(getattr(zmatrix, name)) for name in _ROWS},
        "loose": [list(bond) for bond in zmatrix.loose],
        "levels": [list(level) for level in zmatrix.levels],
        "labels": list(zmatrix.labels),
        "centres": domain.centres,
        "held_bonds": domain.held_bonds,
        "held_cis": domain.held_cis,
    }


def _coordinates_of(facts: dict) -> InternalCoordinates:
    rows = {name: np.asarray(facts[name]) for name in _ROWS}
    zmatrix = ZMatrix(
        **rows,
        loose=tuple((i, j, length) for i, j, length in facts["loose"]),
        levels=tuple((start, stop) for start, stop in facts["levels"]),
        labels=tuple(facts["labels"]),
    )
    held = (facts[name].tolist() for name in ("centres", "held_bonds", "held_cis"))
    return InternalCoordinates(zmatrix, *held)
