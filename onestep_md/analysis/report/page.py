"""One self-contained report.html and its figures, from the files of a finished run folder.

Its text is in the templates, its judgement in `verdict`, its figures in `drawing`. Everything is
inlined, so that the page can be mailed, printed and opened without a network.
"""

import base64
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from onestep_md.analysis import numbers
from onestep_md.analysis.conformer_text import ANGLE_NAMES, describe_conformers, name_angle
from onestep_md.analysis.figures import conformations, style
from onestep_md.analysis.figures.densities import MOST_MARGINALS
from onestep_md.analysis.records.folder import read_record
from onestep_md.analysis.records.molecule import Region
from onestep_md.analysis.report.density_rules import misses_modes
from onestep_md.analysis.report.drawing import draw_figures, draw_molecule
from onestep_md.analysis.report.rules import failed_columns
from onestep_md.analysis.report.verdict import judge
from onestep_md.estimators.estimate import ESS_NOTE, Estimate, disagree, z_score
from onestep_md.estimators.limits import ENOUGH_SAMPLES
from onestep_md.files import replacing, write_text

_NAMES = {  # of keys of the fingerprint and the environment
    "temperature": "temperature (K)",
    "u_input": "input energy (kT)",
    "argv": "command",
    "pdb": "PDB",
    "cpus": "CPU cores",
    "log_z": "known log Z",
    "dim": "dimensions",
}


def write_report(run_folder: Path) -> Path:
    """Draw the figures and write report.html.

    Args:
        run_folder: folder of a finished run.

    Returns:
        path of the page.

    Raises:
        RunFolderError: the folder has no finished run.
    """
    folder = Path(run_folder)
    run = read_record(folder)
    (folder / "figures").mkdir(exist_ok=True)
    figures = {
        name: _save(figure, folder / "figures" / f"{name}.png")
        for name, figure in draw_figures(run)
    }
    structure, missing = draw_molecule(run)
    if structure:
        write_text(folder / "figures" / "structure.svg", structure)
    template = _make_environment().get_template(f"{run.results.kind}.html")
    page = template.render(
        run=run,
        results=run.results,
        verdict=judge(run.results),
        figures=figures,
        structure=Markup(structure),
        without_structure=missing,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _save(figure: Figure, path: Path) -> str:
    """Save a figure and return the bytes of the file in base64."""
    with replacing(path) as aside:
        figure.savefig(aside, dpi=style.DPI)
    return base64.b64encode(path.read_bytes()).decode()


def _make_environment() -> Environment:
    """Make the environment of the templates, with their filters and rules."""
    environment = Environment(
        loader=PackageLoader("onestep_md.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "compact": numbers.compact,
        "count": numbers.count,
        "duration": numbers.duration,
        "estimate": numbers.estimate,
        "name_angle": name_angle,
        "number": numbers.number,
        "percent": numbers.percent,
        "printable": _format_facts,
        "pale": _grey_dash,
        "prose": _render_prose,
        "ranges": _format_ranges,
        "symbol": style.symbol,
        "typeset": numbers.typeset,
        "zip": zip,
    }
    environment.tests["finite"] = math.isfinite
    environment.globals |= {
        "describe_conformers": describe_conformers,
        "disagree": disagree,
        "failed_columns": failed_columns,
        "misses_modes": misses_modes,
        "style": style,
        "viewer_script": _read_viewer,
        "z_score": z_score,
        "Estimate": Estimate,
        "ANGLE_NAMES": ANGLE_NAMES,
        "BLOCKS": conformations.BLOCKS,
        "DASH": numbers.DASH,
        "ENOUGH_SAMPLES": ENOUGH_SAMPLES,
        "ESS_NOTE": ESS_NOTE,
        "MOST_MARGINALS": MOST_MARGINALS,
    }
    return environment


def _render_prose(text: str) -> Markup:
    """Render plain text as HTML; `commands` in back quotes become code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _grey_dash(text: str) -> str:
    """Render a dash that stands for no number in grey, and all else as it is."""
    return Markup('<span class="none">{}</span>').format(text) if text == numbers.DASH else text


def _format_facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Format facts as rows (name, text) of a table."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = _NAMES.get(key, str(key).replace("_", " "))
        if isinstance(value, dict):
            rows.append((name, ", ".join(f"{k} {v}" for k, v in value.items())))
        elif isinstance(value, list):
            rows.append((name, " ".join(str(item) for item in value)))
        elif value is not None:
            rows.append((name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return rows


def _read_viewer() -> Markup:
    """Read 3Dmol.js (Rego and Koes, Bioinformatics 31, 1322 (2015)), which needs no network."""
    return Markup((Path(__file__).parent / "viewer" / "3Dmol-min.js").read_text("utf-8"))


def _format_ranges(region: Region) -> str:
    """Format as `φ −120…−40°, ψ 20…110°`."""
    return ", ".join(
        f"{style.symbol(name)} {low:g}…{high:g}°".replace("-", "−")
        for name, (low, high) in region.ranges.items()
    )
