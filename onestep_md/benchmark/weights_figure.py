"""One figure: log Z and ELBO against the number of steps, by kind of weight."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator

from onestep_md.analysis.figures import style
from onestep_md.files import replacing

_LOOKS = {
    "exact": ("exact determinant", style.REWEIGHTED, "o"),
    "trace": ("first-order trace, as published", style.RAW, "s"),
    "path": ("diffusion path", style.DYNAMICS, "^"),
}
_LINEAR = 1.0  # nats either side of zero; beyond, the axis is logarithmic


def draw_weight_kinds(values: dict, known: float | None, folder: Path) -> Path:
    """Write weight_kinds.png.

    Args:
        values: kind -> K -> {"log_z": [value, error], "elbo": [value, error]}, in nats.
        known: log Z, if it is known.
        folder: where the figure goes.
    """
    figure, axes = style.new_figure(3.6, 1, 2)
    for ax, quantity, title in (
        (axes[0, 0], "elbo", "ELBO"),
        (axes[0, 1], "log_z", "log Z from the mean weight"),
    ):
        for kind, row in values.items():
            label, colour, marker = _LOOKS[kind]
            steps = np.array(list(row))
            value, error = np.array([row[k][quantity] for k in steps]).T
            shown = np.isfinite(value)
            ax.errorbar(
                steps[shown], value[shown], error[shown], marker=marker, color=colour, label=label
            )
        if known is not None:
            ax.axhline(known, color=style.MUTED, ls="--", lw=1, label="known log Z")
        ax.set_xscale("log", base=2)
        ax.set_xticks(steps, [str(k) for k in steps])
        style.label(ax, "steps K", "nats", title)
        # first-order estimates of a trained flow are far above the differences between the others
        ax.set_yscale("symlog", linthresh=_LINEAR)
        ticks = SymmetricalLogLocator(base=10.0, linthresh=_LINEAR, subs=(1.0, 2.0, 5.0))
        ax.yaxis.set_major_locator(ticks)
        ax.yaxis.set_major_formatter(ScalarFormatter())
        ax.margins(y=0.1)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    place = "outside lower center"
    style.legend(figure, handles=handles, labels=labels, loc=place, ncols=len(labels))
    folder.mkdir(exist_ok=True)
    path = folder / "weight_kinds.png"
    with replacing(path) as aside:
        figure.savefig(aside, dpi=style.DPI)
    return path
