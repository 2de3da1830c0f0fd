"""The table of `python -m onestep_md.benchmark densities`: measured rows beside published ones."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    """One K of one target and method, the means over its seeds."""

    target: str
    method: str
    steps: int
    seeds: int
    ess: float
    ess_error: float  # standard deviation over the seeds; of a single one its standard error
    ess_error_known: bool  # the latter is too small where the weights lack a fourth moment
    log_z_error: float | None  # mean |estimate - known|
    log_z_expected: float  # standard error of one estimate, root mean square
    elbo: float | None  # mean of ELBO - known log Z; the ELBO itself where that is not known
    eubo: float | None
    transport: float | None  # squared 2-Wasserstein distance of the resampled samples
    evaluations: float
    seconds: float


def collect(target: str, method: str, folders: list[Path]) -> list[Row]:
    """Rows of finished runs of one target with several seeds."""
    runs = [json.loads((folder / "results.json").read_text()) for folder in folders]
    known = runs[0]["fingerprint"]["log_z"]
    zero = 0.0 if known is None else known
    rows = []
    for i, first in enumerate(runs[0]["evidence"]):
        evidence = [run["evidence"][i] for run in runs]
        ess = _numbers([row["ess"] for row in evidence])
        errors = _numbers([row["log_z"]["error"] for row in evidence])
        transports = [_transport(folder, first["steps"], run["exact_samples"])
                      for folder, run in zip(folders, runs, strict=True)]  # fmt: skip
        rows.append(
            Row(
                target=target,
                method=method,
                steps=first["steps"],
                seeds=len(runs),
                ess=float(ess.mean()),
                ess_error=float(
                    ess.std(ddof=1) if len(ess) > 1 else _numbers([first["ess_error"]])[0]
                ),
                ess_error_known=len(ess) > 1 or first.get("ess_error_known", True),
                log_z_error=None if known is None else float(
                    np.abs(_numbers([row["log_z"]["value"] for row in evidence]) - known).mean()
                ),
                log_z_expected=float(np.sqrt(np.square(errors).mean())),
                elbo=_mean([_minus(row["elbo"]["value"], zero) for row in evidence]),
                eubo=_mean([_minus(_value(row["eubo"]), zero) for row in evidence]),
                transport=_mean(transports),
                evaluations=float(np.mean([sum(run["evaluations"].values()) for run in runs])),
                seconds=float(np.mean([sum(run["seconds"].values()) for run in runs])),
            )
        )  # fmt: skip
    return rows


def write_table(rows: list[Row], path: Path) -> list[str]:
    """Write path.csv and path.md; returns the Markdown lines."""
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
            f"{_show(row.log_z_error, '.4f')}, {_show(row.log_z_expected, '.4f')} | "
            f"{_show(row.elbo, '.3f')} | {_show(row.eubo, '.3f')} | "
            f"{_show(row.transport, '.3f')} | {row.evaluations:.2g} | {row.seconds:.0f} | "
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


def _transport(folder: Path, steps: int, exact: bool) -> float | None:
    """Squared 2-Wasserstein distance to exact samples, both of finite size; needs POT."""
    if not exact:
        return None
    try:
        import ot
    except ImportError:  # the `bench` extra
        return None
    generator = np.random.default_rng(0)
    with np.load(folder / "steps.npz") as arrays:
        x, log_w = arrays[f"k{steps}_x"], arrays[f"k{steps}_log_w"]
        target = arrays["target_x"][:_TRANSPORT_SAMPLES]
    if not np.isfinite(log_w).any():
        return None
    ours = x[generator.permutation(resample(log_w, _TRANSPORT_SAMPLES, generator))]
    return float(ot.emd2([], [], ot.dist(ours, target)))


def _numbers(values: list[float | None]) -> np.ndarray:
    """What was no number in a run, stored as null, is NaN here."""
    return np.array(values, dtype=float)


def _value(estimate: dict | None) -> float | None:
    return None if estimate is None else estimate["value"]


def _minus(value: float | None, zero: float) -> float | None:
    return None if value is None else value - zero


def _mean(values: list) -> float | None:
    return None if any(value is None for value in values) else float(np.mean(values))


def _show(value: float | None, form: str) -> str:
    return "-" if value is None or np.isnan(value) else format(value, form)
