"""What every finished run measured, whatever its target: evidence, training, cost, settings.

JSON has no infinities: `null` stands for a number that is infinite or unknown and is read as nan.
`molecule` adds what only molecules have, `density` what only densities have.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from zipfile import BadZipFile

import numpy as np

from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import UNKNOWN, Estimate, read_estimate
from onestep_md.estimators.limits import ESS_KHAT_LIMIT, khat_fails, khat_limit

_METRICS = (
    "step",
    "loss_energy",
    "loss_flow",
    "loss_state",
    "loss_volume",
    "ess",
    "evaluations_per_s",
    "learner_idle",
)
_NAMES = {  # how keys of the fingerprint and the environment are shown
    "temperature": "temperature (K)",
    "u_input": "input energy (kT)",
    "argv": "command",
    "pdb": "PDB",
    "cpus": "CPU cores",
    "log_z": "known log Z",
    "dim": "dimensions",
}


@dataclass(frozen=True)
class EvidenceRow:
    """Evidence for one number of steps K; log Z and its bounds are natural logs."""

    steps: int
    n: int
    ess: Estimate  # fraction
    ess_error_known: bool  # its error is too small where the weights lack a fourth moment
    ess_sets: tuple[float, ...]  # of several sets of 10,000 samples, if there are
    ess_clipped: float
    khat: float
    heaviest: float  # share of the largest weight
    harmless: bool  # too small for k-hat to matter
    forward_ess: Estimate  # fraction, seen from the target; UNKNOWN in older runs
    above: int  # of `held_out` target samples weigh more than every sample
    held_out: int
    log_z: Estimate
    elbo: Estimate
    eubo: Estimate
    bar: Estimate
    negative: int
    checked: int
    log_det_error: float
    round_trip: float
    infinite: int
    seconds_per_1000: float
    auxiliaries: int  # draws of the auxiliary coordinates that a weight is made of
    ess_joint: Estimate  # ESS by the first of them alone, fraction; UNKNOWN if it is the only one
    warnings: tuple[str, ...]

    @property
    def khat_limit(self) -> float:
        """k-hat above which n weights are not to be trusted (arXiv 1507.02646)."""
        return khat_limit(self.n)

    @property
    def khat_ok(self) -> bool:
        """Whether the tail of the weights is tame; nan is not."""
        return not khat_fails(self.khat, self.n, self.harmless)


@dataclass(frozen=True)
class Weighted:
    """Samples of one K with log weights log_w (n,)."""

    log_w: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(n,) normalised weights; nan where no sample has any."""
        if not self.weighted:
            return np.full(len(self.log_w), np.nan)
        weights = np.exp(self.log_w - self.log_w.max())
        return weights / weights.sum()

    @property
    def weighted(self) -> bool:
        """Whether any sample has a weight."""
        return bool(np.isfinite(self.log_w).any())


Samples = TypeVar("Samples", bound=Weighted)


@dataclass(frozen=True)
class Measurements(Generic[Samples]):
    """What all runs share; fingerprint and environment are (name, value) pairs to be printed."""

    name: str
    fingerprint: tuple[tuple[str, str], ...]
    known_log_z: Estimate  # without error; UNKNOWN if nobody knows it
    evidence: tuple[EvidenceRow, ...]  # K rises
    steps: Mapping[int, Samples]  # samples of every K
    metrics: Mapping[str, np.ndarray]  # column of metrics.jsonl -> values
    pretraining: Mapping[str, np.ndarray]  # the same of pretraining.jsonl
    cost: tuple[tuple[str, int, float], ...]  # (phase, evaluations, seconds)
    warnings: tuple[str, ...]  # of the run as a whole, beside those of the evidence rows
    environment: tuple[tuple[str, str], ...]
    config: str

    @property
    def headline(self) -> EvidenceRow:
        """Evidence of the exported samples: one step, or the fewest there are."""
        with_flow = [row for row in self.evidence if row.steps > 0] or list(self.evidence)
        return min(with_flow, key=lambda row: row.steps)

    @property
    def samples(self) -> Samples:
        """The samples that belong to `headline`."""
        return self.steps[self.headline.steps]

    def row(self, steps: int) -> EvidenceRow | None:
        """Evidence of one K, if it was measured."""
        return next((row for row in self.evidence if row.steps == steps), None)

    @property
    def evaluations(self) -> int:
        """Energy evaluations of all phases."""
        return sum(evaluations for _, evaluations, _ in self.cost)

    @property
    def seconds(self) -> float:
        """Time of all phases whose time is known."""
        return sum(seconds for _, _, seconds in self.cost if math.isfinite(seconds))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Inside a `with`: a file that cannot be understood becomes a RunFolderError."""
    try:
        yield
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise RunFolderError(
            f"{folder}: a file does not have the expected contents ({error!r}). Make the results "
            f"again with `python -m onestep_md.run FILE.yaml --out {folder} --resume`."
        ) from error


def text_of(path: Path) -> str:
    """Contents of a text file, nothing if there is none."""
    return path.read_text() if path.is_file() else ""


def number_or_nan(value: float | None) -> float:
    """JSON's null as nan."""
    return math.nan if value is None else float(value)


def nulls_as_nan(row: dict) -> dict:
    """The same row with nan for JSON's null."""
    return {key: math.nan if value is None else value for key, value in row.items()}


def estimate_of(value: float | None, error: float | None) -> Estimate:
    """An estimate that is written as two numbers."""
    return Estimate(number_or_nan(value), number_or_nan(error))


def read_measurements(
    folder: Path,
    results: dict,
    name: str,
    samples: Callable[[np.lib.npyio.NpzFile, int], Samples],
) -> Measurements[Samples]:
    """Read what all runs share.

    Args:
        folder: of the run.
        results: contents of results.json.
        name: of the target.
        samples: reads those of one K from steps.npz.
    """
    if not results["evidence"]:
        raise ValueError("no evidence at any number of steps")
    evidence = sorted(map(_evidence, results["evidence"]), key=lambda row: row.steps)
    known = results["fingerprint"].get("log_z")
    with np.load(folder / "steps.npz") as arrays:
        steps = {row.steps: samples(arrays, row.steps) for row in evidence}
    return Measurements(
        name=name,
        fingerprint=printable(results["fingerprint"]),
        known_log_z=UNKNOWN if known is None else Estimate(float(known), 0.0),
        evidence=tuple(evidence),
        steps=steps,
        metrics=_columns(folder / "metrics.jsonl", _METRICS),
        pretraining=_columns(folder / "pretraining.jsonl", ("step", "loss")),
        cost=_cost(results),
        warnings=_run_warnings(results),
        environment=_environment(folder),
        config=text_of(folder / "config.yaml"),
    )


def _evidence(row: dict) -> EvidenceRow:
    # equal weights have no tail, and minus infinity is null in a file
    equal = row["khat"] is None and row.get("ess") == 1.0
    khat = -math.inf if equal else number_or_nan(row["khat"])
    return EvidenceRow(
        steps=int(row["steps"]),
        n=int(row["n"]),
        ess=estimate_of(row["ess"], row.get("ess_error")),
        ess_error_known=bool(row.get("ess_error_known", khat <= ESS_KHAT_LIMIT)),
        ess_sets=tuple(row.get("ess_sets", ())),
        ess_clipped=number_or_nan(row["ess_clipped"]),
        khat=khat,
        heaviest=number_or_nan(row.get("heaviest")),
        harmless=bool(row.get("harmless", False)),
        forward_ess=read_estimate(row.get("forward_ess")),
        above=int(row.get("above", 0)),
        held_out=int(row.get("held_out", 0)),
        log_z=read_estimate(row["log_z"]),
        elbo=read_estimate(row["elbo"]),
        eubo=read_estimate(row["eubo"]),
        bar=read_estimate(row["bar"]),
        negative=int(row["negative_determinants"]),
        checked=int(row["checked"]),
        log_det_error=number_or_nan(row.get("log_det_error")),
        round_trip=number_or_nan(row["round_trip"]),
        infinite=int(row["infinite"]),
        seconds_per_1000=number_or_nan(row["seconds_per_1000"]),
        auxiliaries=int(row.get("auxiliaries", 1)),
        ess_joint=read_estimate(row.get("ess_joint")),
        warnings=tuple(row.get("warnings", ())),
    )


def _cost(results: dict) -> tuple[tuple[str, int, float], ...]:
    """(phase, evaluations, seconds) in the order of the phases."""
    evaluations, seconds = results.get("evaluations", {}), results.get("seconds", {})
    order = sorted(
        evaluations.keys() | seconds.keys(), key=("exploration", "training", "sampling").index
    )
    return tuple(
        (phase, int(evaluations.get(phase) or 0), number_or_nan(seconds.get(phase)))
        for phase in order
    )


def _run_warnings(results: dict) -> tuple[str, ...]:
    """Warnings of the run that belong to no row of the evidence."""
    of_rows = {text for row in results["evidence"] for text in row.get("warnings", ())}
    return tuple(text for text in results.get("warnings", ()) if text not in of_rows)


def _columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a file of JSON rows; empty ones if it is not there."""
    rows = [json.loads(line) for line in text_of(path).splitlines() if line.strip()]
    return {name: np.array([number_or_nan(row.get(name)) for row in rows]) for name in names}


def _environment(folder: Path) -> tuple[tuple[str, str], ...]:
    """Machine and versions of environment.json, to be printed."""
    environment = json.loads(text_of(folder / "environment.json") or "{}")
    return printable({k: v for k, v in environment.items() if k != "fingerprint"})


def printable(values: dict) -> tuple[tuple[str, str], ...]:
    """JSON as (name, value) pairs."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = _NAMES.get(key, str(key).replace("_", " "))
        if isinstance(value, dict):
            rows.append((name, ", ".join(f"{k} {v}" for k, v in value.items())))
        elif isinstance(value, list):
            rows.append((name, " ".join(str(item) for item in value)))
        elif value is not None:
            rows.append((name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return tuple(rows)
