"""A finished run folder as frozen dataclasses: everything the report shows, nothing recomputed.

JSON has no infinities: `null` stands for a number that is infinite or unknown and is read as nan.
Called by `report`; the files are those that `onestep_md.run` and `onestep_md.sample` write.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from onestep_md.analysis.torsions import chiral_volumes
from onestep_md.analysis.trajectories import check_finished
from onestep_md.errors import RunFolderError

FILES = ("topology.pdb", "samples.dcd", "steps.npz", "results.json", "free_energy.json")
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
}


@dataclass(frozen=True)
class Measured:
    """A value with its standard error; nan where infinite or unknown."""

    value: float = math.nan
    error: float = math.nan


@dataclass(frozen=True)
class EvidenceRow:
    """Evidence for one number of steps K; log Z and its bounds are natural logs."""

    steps: int
    n: int
    ess: Measured  # fraction
    ess_clipped: float
    khat: float
    log_z: Measured
    elbo: Measured
    eubo: Measured
    bar: Measured
    negative: int
    checked: int
    round_trip: float
    infinite: int
    seconds_per_1000: float
    warnings: tuple[str, ...]

    @property
    def khat_limit(self) -> float:
        """k-hat above which n weights are not to be trusted (arXiv 1507.02646)."""
        return min(0.7, 1.0 - 1.0 / math.log10(self.n)) if self.n > 10 else 0.0


@dataclass(frozen=True)
class Region:
    """One region: torsion ranges in degrees, free energies in kT relative to the reference."""

    name: str
    ranges: dict[str, tuple[float, float]]
    reference: str
    delta_f: Measured
    probability: Measured
    dynamics_delta_f: Measured
    dynamics_probability: Measured


@dataclass(frozen=True)
class StepSamples:
    """Samples of one K: log_w (n,), u (n,) kT, torsions (n, n_torsions) radians."""

    log_w: np.ndarray
    u: np.ndarray
    torsions: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """(n,) normalised weights."""
        weights = np.exp(self.log_w - self.log_w.max())
        return weights / weights.sum()


@dataclass(frozen=True)
class Handedness:
    """Samples in which a stereocentre is inverted, of n; centres = 0 where there is none."""

    centres: int
    inverted: int
    n: int


@dataclass(frozen=True)
class RunRecord:
    """All that the report needs; `rows` are (name, value) pairs ready to be printed."""

    name: str
    residues: str
    formula: str
    temperature: float  # K
    kT: float  # kJ/mol
    torsions: tuple[str, ...]
    fingerprint: tuple[tuple[str, str], ...]
    evidence: tuple[EvidenceRow, ...]
    regions: tuple[Region, ...]
    steps: dict[int, StepSamples]
    dynamics_torsions: np.ndarray  # (m, n_torsions) radians
    dynamics_u: np.ndarray  # (m,) kT
    metrics: dict[str, np.ndarray]  # column of metrics.jsonl -> values
    handedness: Handedness
    cost: tuple[tuple[str, int, float], ...]  # (phase, evaluations, seconds)
    acceptance: tuple[float, ...]
    warnings: tuple[str, ...]  # of the run as a whole, beside those of the evidence rows
    environment: tuple[tuple[str, str], ...]
    config: str

    @property
    def headline(self) -> EvidenceRow:
        """Evidence of the exported samples: one step, or the fewest there are."""
        with_flow = [row for row in self.evidence if row.steps > 0] or list(self.evidence)
        return min(with_flow, key=lambda row: row.steps)

    @property
    def samples(self) -> StepSamples:
        """The samples that belong to `headline`."""
        return self.steps[self.headline.steps]

    def row(self, steps: int) -> EvidenceRow | None:
        """Evidence of one K, if it was measured."""
        return next((row for row in self.evidence if row.steps == steps), None)


def read_run(folder: Path) -> RunRecord:
    """Read a finished run folder.

    Raises:
        RunFolderError: the folder is missing, unfinished, or one of its files cannot be read.
    """
    check_finished(folder, FILES)
    try:
        return _read(folder)
    except (KeyError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"{folder}: a file does not have the expected contents ({error!r}). "
            f"Write it again with `python -m onestep_md.sample {folder}`."
        ) from error


def _read(folder: Path) -> RunRecord:
    results = json.loads((folder / "results.json").read_text())
    free_energy = json.loads((folder / "free_energy.json").read_text())
    config = _text(folder / "config.yaml")
    environment = json.loads(_text(folder / "environment.json") or "{}")
    evidence = tuple(_evidence(row) for row in results["evidence"])
    of_rows = {warning for row in evidence for warning in row.warnings}
    topology = mdtraj.load_pdb(str(folder / "topology.pdb"), standard_names=False)
    with np.load(folder / "steps.npz") as arrays:
        steps = {row.steps: _samples(arrays, row.steps) for row in evidence}
        dynamics = arrays["dynamics_torsions"], arrays["dynamics_u"]
    phases = results.get("evaluations", {}).keys() | results.get("seconds", {}).keys()
    order = sorted(phases, key=("exploration", "training", "sampling").index)
    return RunRecord(
        name=_molecule_name(config) or folder.resolve().name,
        residues="-".join(residue.name.capitalize() for residue in topology.topology.residues),
        formula=_formula([atom.element.symbol for atom in topology.topology.atoms]),
        temperature=float(free_energy["temperature"]),
        kT=float(free_energy["kT_kJ_per_mol"]),
        torsions=tuple(results["torsions"]),
        fingerprint=_rows(results["fingerprint"]),
        evidence=tuple(sorted(evidence, key=lambda row: row.steps)),
        regions=tuple(_region(entry) for entry in free_energy["regions"]),
        steps=steps,
        dynamics_torsions=dynamics[0],
        dynamics_u=dynamics[1],
        metrics=_metrics(_text(folder / "metrics.jsonl")),
        handedness=_handedness(folder / "samples.dcd", topology),
        cost=tuple(
            (
                phase,
                int(results["evaluations"].get(phase) or 0),
                _number(results["seconds"].get(phase)),
            )
            for phase in order
        ),
        acceptance=tuple(_number(value) for value in results.get("exchange_acceptance") or ()),
        warnings=tuple(text for text in results.get("warnings", ()) if text not in of_rows),
        environment=_rows({k: v for k, v in environment.items() if k != "fingerprint"}),
        config=config,
    )


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _measured(value: dict | float | None, error: float | None = None) -> Measured:
    if isinstance(value, dict):
        return Measured(_number(value["value"]), _number(value["error"]))
    return Measured(_number(value), _number(error))


def _evidence(row: dict) -> EvidenceRow:
    return EvidenceRow(
        steps=int(row["steps"]),
        n=int(row["n"]),
        ess=_measured(row["ess"], row.get("ess_error")),
        ess_clipped=_number(row["ess_clipped"]),
        khat=_number(row["khat"]),
        log_z=_measured(row["log_z"]),
        elbo=_measured(row["elbo"]),
        eubo=_measured(row["eubo"]),
        bar=_measured(row["bar"]),
        negative=int(row["negative_determinants"]),
        checked=int(row["checked"]),
        round_trip=_number(row["round_trip"]),
        infinite=int(row["infinite"]),
        seconds_per_1000=_number(row["seconds_per_1000"]),
        warnings=tuple(row.get("warnings", ())),
    )


def _region(entry: dict) -> Region:
    return Region(
        name=entry["name"],
        ranges={name: (float(r[0]), float(r[1])) for name, r in entry["torsions"].items()},
        reference=str(entry["reference"]),
        delta_f=_measured(entry["delta_f"], entry["d_delta_f"]),
        probability=_measured(entry["probability"], entry["d_probability"]),
        dynamics_delta_f=_measured(entry.get("dynamics_delta_f"), entry.get("dynamics_d_delta_f")),
        dynamics_probability=_measured(
            entry.get("dynamics_probability"), entry.get("dynamics_d_probability")
        ),
    )


def _samples(arrays: np.lib.npyio.NpzFile, k: int) -> StepSamples:
    return StepSamples(arrays[f"k{k}_log_w"], arrays[f"k{k}_u"], arrays[f"k{k}_torsions"])


def _metrics(text: str) -> dict[str, np.ndarray]:
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in _METRICS}


def _handedness(dcd: Path, reference: mdtraj.Trajectory) -> Handedness:
    topology = reference.topology
    bonds = [(a.index, b.index) for a, b in topology.bonds]
    elements = [atom.element.symbol for atom in topology.atoms]
    expected = np.sign(chiral_volumes(reference.xyz.astype(np.float64), bonds, elements))
    if not expected.shape[1]:
        return Handedness(0, 0, 0)
    frames = mdtraj.load_dcd(str(dcd), top=topology).xyz
    found = np.sign(chiral_volumes(frames, bonds, elements))
    inverted = (found == -expected).any(axis=1)
    return Handedness(expected.shape[1], int(inverted.sum()), len(frames))


def _molecule_name(config: str) -> str:
    match = re.search(r"^\s*pdb:\s*(\S+)", config, re.MULTILINE)
    return Path(match.group(1).strip("'\"")).stem if match else ""


def _formula(symbols: list[str]) -> str:
    """Hill order: carbon, hydrogen, then the alphabet."""
    kinds = sorted(set(symbols), key=lambda s: ({"C": 0, "H": 1}.get(s, 2), s))
    return "".join(f"{s}{symbols.count(s) if symbols.count(s) > 1 else ''}" for s in kinds)


def _rows(values: dict) -> tuple[tuple[str, str], ...]:
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
