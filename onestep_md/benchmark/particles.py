"""The table of `python -m onestep_md.benchmark particles`: one-step samples beside published ones.

The published samplers of particles take 200 to 1000 evaluations of their network for a sample and
give it no weight, so their counterpart is the row `raw`. Those of the molecule have weights.
"""

import json
from pathlib import Path

from onestep_md.estimators.estimate import ESS_NOTE, stored_ess, stored_forward, stored_text

# aligned W2 and E-W2 of ASBS, arXiv 2506.22565, table 2
PUBLISHED = {"dw4": (0.43, 0.20), "lj13_f1": (1.59, 1.99), "lj55_f1": (4.00, 28.1)}
# T-W2, E-W2 and ESS (%) of samplers trained on simulations, by the evaluations of a sample
PUBLISHED_MOLECULES = dict.fromkeys(
    ("alanine-cartesian", "alanine-gaussian"),
    {
        "FALCON-A, 4 to 16": (0.180, 0.512, 9.7),
        "ECNF++, hundreds": (0.189, 0.914, 27.5),
        "SBG, one": (0.439, 0.873, 3.0),
    },
)


def evidence_lines(name: str, results: dict) -> list[str]:
    """A Markdown row for every K of a finished run."""
    evaluations = sum(results["evaluations"].values())
    minutes = sum(results["seconds"].values()) / 60.0
    return [
        f"| {name} | {row['steps']} | {stored_ess(row)} | {stored_forward(row)} | "
        f"{stored_text(row['log_z'])} | {stored_text(row['elbo'])} | {stored_text(row['eubo'])} | "
        f"{row['negative_determinants']}/{row['checked']} | {_show(row['round_trip'], '.0e')} | "
        f"{evaluations:.2g} | {minutes:.0f} |"
        for row in results["evidence"]
    ]


def distance_lines(name: str, results: dict) -> list[str]:
    """A Markdown row for raw, reweighted and annealed samples, and the published one."""
    lines = [
        f"| {name} | {kind}, {row['coupled']} samples | {_show(row['w2'], '.2f')} | "
        f"{_show(row['energy_w2'], '.3g')} | {_show(row['mean_energy'], '.2f')} +- "
        f"{_show(row['d_mean_energy'], '.2f')} | {_show(row['virial'], '.1f')} +- "
        f"{_show(row['d_virial'], '.1f')} |"
        for kind, row in results["particles"].items()
    ]
    w2, energy_w2 = PUBLISHED[name]
    return [*lines, f"| {name} | ASBS | {w2:.2f} | {energy_w2:.3g} | | |"]


def molecule_lines(name: str, results: dict) -> list[str]:
    """A Markdown row for raw, reweighted and explored conformations, and the published ones."""
    (one,) = (row for row in results["evidence"] if row["steps"] == 1)
    ess = {"reweighted": stored_ess(one)}
    lines = [
        f"| {name} | {kind} | {_show(row['torsion_w2'], '.3f')} | "
        f"{_show(row['energy_w2'], '.3g')} | "
        f"{ess.get(kind, '')} |"
        for kind, row in results["distances"].items()
    ]
    others = PUBLISHED_MOLECULES.get(name, {}).items()
    return lines + [
        f"| {name} | {kind} | {torsion:.3f} | {energy:.3g} | {value:.1f} % |"
        for kind, (torsion, energy, value) in others
    ]


def _show(value: float | None, form: str) -> str:
    """A number that a run may not have: JSON has no nan and no infinity."""
    return "-" if value is None else format(value, form)


_TABLES = (
    (
        "evidence",
        "| system | K | ESS | forward ESS | log Z | ELBO | EUBO | det <= 0 | round trip | "
        "evaluations | min |",
        evidence_lines,
    ),
    ("particles", "| system | K = 1 | aligned W2 | E-W2 | mean energy | virial |", distance_lines),
    ("distances", "| molecule | K = 1 | T-W2 (rad) | E-W2 | ESS |", molecule_lines),
)


def write_table(folders: dict[str, Path], path: Path) -> list[str]:
    """Write the Markdown tables of finished runs, by the names of their systems; their lines."""
    runs = {name: json.loads((at / "results.json").read_text()) for name, at in folders.items()}
    lines: list[str] = []
    for key, head, rows in _TABLES:
        # particles have one, molecules the other
        found = [row for name, run in runs.items() if key in run for row in rows(name, run)]
        if found:
            between = [""] if lines else []
            lines += [*between, head, "|" + "---|" * (head.count("|") - 1), *found]
    if any("* %" in line for line in lines):
        lines += ["", f"{ESS_NOTE}."]
    path.write_text("\n".join(lines) + "\n")
    return lines
