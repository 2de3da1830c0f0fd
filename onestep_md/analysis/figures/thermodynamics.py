"""The figure of free energy, energy, entropy and heat capacity along temperature."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onestep_md.analysis.figures import style
from onestep_md.analysis.records.thermodynamics import AlongTemperature
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.thermodynamics import Thermodynamics

_QUANTITIES = (
    ("F", "kJ/mol", "free_energy"),
    ("U", "kJ/mol", "energy"),
    ("TS", "kJ/mol", "entropy"),
    ("$C_v$", "J/(mol K)", "heat_capacity"),
)
_PER_KELVIN = 1000.0  # J per kJ


def thermodynamics_figure(results: AlongTemperature) -> Figure:
    """Draw F, U, TS and C_v against T, of the molecule above and of its regions below."""
    regions = len(results.temperatures[0].regions)
    rows = 2 if regions else 1
    figure, axes = style.new_figure(2.6 * rows, rows, 4)
    kelvin = np.array([point.temperature for point in results.temperatures])
    _draw_row(axes[0], kelvin, [point.molecule for point in results.temperatures], style.DYNAMICS)
    for k in range(regions):
        _draw_row(axes[1], kelvin, [point.regions[k] for point in results.temperatures], f"C{k}")
    titles = [f"Molecule, less that at {results.own:g} K", "Regions, less the molecule"][:rows]
    for row, title in zip(axes, titles, strict=True):
        for ax, (name, unit, _) in zip(row, _QUANTITIES, strict=True):
            style.label(ax, "T (K)", f"{name} ({unit})", title if ax is row[0] else "")
    if regions:
        figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center",
                      ncols=min(regions, 6), fontsize=style.FONT - 0.5, frameon=False)  # fmt: skip
    return figure


def _draw_row(
    axes: Sequence[Axes], kelvin: np.ndarray, rows: Sequence[Thermodynamics], colour: str
) -> None:
    """Draw one quantity per panel; temperatures without an estimate are left out."""
    for ax, (_, _, field) in zip(axes, _QUANTITIES, strict=True):
        estimates: list[Estimate] = [getattr(row, field) for row in rows]
        scale = _PER_KELVIN if field == "heat_capacity" else 1.0
        value = scale * np.array([estimate.value for estimate in estimates])
        error = scale * np.array([estimate.error for estimate in estimates])
        error = np.where(np.isfinite(error), error, 0.0)
        ax.errorbar(kelvin, value, yerr=error, fmt="o-", ms=3.5, lw=1.3, capsize=2.5,
                    color=colour, label=rows[0].name)  # fmt: skip
