"""The table of `python -m onestep_md.benchmark densities`: measured rows beside published ones."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onestep_md.analysis.records.density import DensityRecord
from onestep_md.analysis.records.folder import AnyRecord, read_record
from onestep_md.benchmark.cells import cell
from onestep_md.estimators.estimate import ESS_NOTE
from onestep_md.estimators.weights import resample

# best published figures at ONE step: ESS, |error of log Z| (arXiv 2502.07579, tables 1 and 2)
PUBLISHED = {
    "gmm9": (0.3395, 1.0743),
    "funnel": (1.4e-4, 1.3316),
    "mw54": (0.0442, 1.0966),
    "mw52": (5.7e-5, 63.72),
}
_TRANSPORT_SAMPLES = 2000


@dataclass(frozen=True)
class Row:
    """One K of one target and method, the means over its seeds; nan where one is not known."""

    target: str
    method: str
    steps: int
    seeds: int
    ess: float
    ess_error: float  # standard deviation over the seeds; the standard error of a single one
    ess_error_known: bool  # the latter is too small where the weights lack a fourth moment
    log_z_error: float  # mean |estimate - known|
    log_z_expected: float  # standard error of one estimate, root mean square
    elbo: float  # mean of ELBO - known log Z; the ELBO itself where that is not known
    eubo: float
    transport: float  # squared 2-Wasserstein distance of the resampled samples
    evaluations: float
    seconds: float


def collect(target: str, method: str, folders: list[Path]) -> list[Row]:
    """Make the rows of finished runs of one target with several seeds."""
    runs = [read_record(folder) for folder in folders]
    zero = runs[0].results.known_log_z.value
    known = math.isfinite(zero)
    rows = []
    for i, first in enumerate(runs[0].results.evidence):
        evidence = [run.results.evidence[i] for run in runs]
        ess = np.array([row.ess for row in evidence])
        log_z = np.array([row.log_z.value for row in evidence])
        errors = np.array([row.log_z.error for row in evidence])
        bounds = np.array([[row.elbo.value, row.eubo.value] for row in evidence])
        elbo, eubo = (bounds - (zero if known else 0.0)).mean(axis=0)
        rows.append(
            Row(
                target=target,
                method=method,
                steps=first.steps,
                seeds=len(runs),
                ess=float(ess.mean()),
                ess_error=float(ess.std(ddof=1)) if len(ess) > 1 else first.ess_error,
                ess_error_known=len(ess) > 1 or first.ess_error_known,
                log_z_error=float(np.abs(log_z - zero).mean()),
                log_z_expected=float(np.sqrt(np.square(errors).mean())),
                elbo=float(elbo),
                eubo=float(eubo),
                transport=float(np.mean([_compute_transport(run, first.steps) for run in runs])),
                evaluations=float(np.mean([run.results.evaluations for run in runs])),
                seconds=float(np.mean([run.results.seconds for run in runs])),
            )
        )
    return rows


def write_table(rows: list[Row], path: Path) -> list[str]:
    """Write path.csv and path.md; return the Markdown lines."""
    lines = [
        "| target | method | K | seeds | ESS | log Z error, expected | ELBO | EUBO | W2^2 "
        "| evaluations | s | published one-step: ESS, error |",
        "|" + "---|" * 12,
    ]
    for row in rows:
        published = PUBLISHED.get(row.target) if row.steps == 1 else None
        beside = "" if published is None else f"{published[0]:.2g}, {published[1]:.3g}"
        lines.append(
            f"| {row.target} | {row.method} | {row.steps} | {row.seeds} | "
            f"{row.ess:.3f} +- {row.ess_error:.3f}{'' if row.ess_error_known else '*'} | "
            f"{cell(row.log_z_error, '.4f')}, {cell(row.log_z_expected, '.4f')} | "
            f"{cell(row.elbo, '.3f')} | {cell(row.eubo, '.3f')} | "
            f"{cell(row.transport, '.3f')} | {row.evaluations:.2g} | {row.seconds:.0f} | "
            f"{beside} |"
        )
    lines.append("")
    lines.append(
        "Means over the seeds; the +- of the ESS is the standard deviation over them, of a single "
        "one its standard error. The expected log Z error is the standard error of one run. ELBO "
        "and EUBO are minus the known log Z, where it is known. A dash: not known, or no estimate."
    )
    if not all(row.ess_error_known for row in rows):
        lines += ["", f"{ESS_NOTE}."]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    with path.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(Row.__dataclass_fields__)
        writer.writerows([getattr(row, name) for name in Row.__dataclass_fields__] for row in rows)
    return lines


def _compute_transport(run: AnyRecord, steps: int) -> float:
    """Compute the squared 2-Wasserstein distance to as many exact samples; needs POT."""
    if not isinstance(run, DensityRecord) or not run.results.exact_samples:
        return math.nan
    try:
        import ot
    except ImportError:  # the `bench` extra
        return math.nan
    samples, generator = run.steps[steps], np.random.default_rng(0)
    if not samples.has_weights:
        return math.nan
    drawn = resample(samples.log_w, _TRANSPORT_SAMPLES, generator)
    ours = samples.x[generator.permutation(drawn)]
    return float(ot.emd2([], [], ot.dist(ours, run.target_x[:_TRANSPORT_SAMPLES])))
