"""The table of `python -m onestep_md.benchmark particles`: one-step samples beside published ones.

The published samplers of particles take 200 to 1000 evaluations of their network for a sample and
give it no weight, so their counterpart is the row `raw`. Those of the molecule have weights.
"""

from pathlib import Path

from onestep_md.analysis.records.density import DensityResults
from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.records.molecule import MoleculeResults
from onestep_md.analysis.records.results import Results
from onestep_md.benchmark.cells import cell
from onestep_md.estimators.estimate import ESS_NOTE, percent_text

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


def evidence_lines(name: str, results: Results) -> list[str]:
    """Format a Markdown row for every K of a finished run."""
    return [
        f"| {name} | {row.steps} | {percent_text(row.reverse_ess, row.ess_error_known)} | "
        f"{percent_text(row.forward_ess)} | {row.log_z.format('')} | {row.elbo.format('')} | "
        f"{row.eubo.format('')} | {row.negative_determinants}/{row.checked} | "
        f"{cell(row.round_trip, '.0e')} | {results.evaluations:.2g} | "
        f"{results.seconds / 60.0:.0f} |"
        for row in results.evidence
    ]


def distance_lines(name: str, results: Results) -> list[str]:
    """Format Markdown rows of raw, reweighted and annealed samples, and the published one."""
    if not isinstance(results, DensityResults) or not results.particles:
        return []
    lines = [
        f"| {name} | {kind}, {row.coupled} samples | {cell(row.w2, '.2f')} | "
        f"{cell(row.energy_w2, '.3g')} | {cell(row.mean_energy, '.2f')} +- "
        f"{cell(row.d_mean_energy, '.2f')} | {cell(row.virial, '.1f')} +- "
        f"{cell(row.d_virial, '.1f')} |"
        for kind, row in results.particles.items()
    ]
    w2, energy_w2 = PUBLISHED[name]
    return [*lines, f"| {name} | ASBS | {w2:.2f} | {energy_w2:.3g} | | |"]


def molecule_lines(name: str, results: Results) -> list[str]:
    """Format Markdown rows of raw, reweighted and explored conformations and published ones."""
    if not isinstance(results, MoleculeResults):
        return []
    one = results.headline
    ess = {"reweighted": percent_text(one.reverse_ess, one.ess_error_known)}
    lines = [
        f"| {name} | {kind} | {cell(row.torsion_w2, '.3f')} | {cell(row.energy_w2, '.3g')} | "
        f"{ess.get(kind, '')} |"
        for kind, row in results.distances.items()
    ]
    others = PUBLISHED_MOLECULES.get(name, {}).items()
    return lines + [
        f"| {name} | {kind} | {torsion:.3f} | {energy:.3g} | {value:.1f} % |"
        for kind, (torsion, energy, value) in others
    ]


_TABLES = (
    (
        "| system | K | ESS | forward ESS | log Z | ELBO | EUBO | det <= 0 | round trip | "
        "evaluations | min |",
        evidence_lines,
    ),
    ("| system | K = 1 | aligned W2 | E-W2 | mean energy | virial |", distance_lines),
    ("| molecule | K = 1 | T-W2 (rad) | E-W2 | ESS |", molecule_lines),
)


def write_table(folders: dict[str, Path], path: Path) -> list[str]:
    """Write the Markdown tables of finished runs by the names of their systems; return lines."""
    runs = {name: read_results(folder) for name, folder in folders.items()}
    lines: list[str] = []
    for head, rows in _TABLES:
        found = [row for name, results in runs.items() for row in rows(name, results)]
        if found:
            between = [""] if lines else []
            lines += [*between, head, "|" + "---|" * (head.count("|") - 1), *found]
    if any("* %" in line for line in lines):
        lines += ["", f"{ESS_NOTE}."]
    path.write_text("\n".join(lines) + "\n")
    return lines
