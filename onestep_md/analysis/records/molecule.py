"""A finished run of a molecule as frozen dataclasses: everything its report shows."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import mdtraj
import numpy as np

from onestep_md.analysis.records.measurements import (
    Measurements,
    Weighted,
    estimate_of,
    nulls_as_nan,
    number_or_nan,
    read_measurements,
    text_of,
)
from onestep_md.estimators.distances import TorsionComparison
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.limits import khat_limit

FILES = ("topology.pdb", "samples.dcd", "steps.npz", "results.json", "free_energy.json")


@dataclass(frozen=True)
class Region:
    """One region: torsion ranges in degrees, free energies in kT relative to the reference."""

    name: str
    ranges: dict[str, tuple[float, float]]
    reference: str
    delta_f: Estimate
    probability: Estimate
    explored_delta_f: Estimate  # of the exploration
    explored_probability: Estimate
    inside: int  # samples in it
    effective: float  # what they are worth; nan in older runs
    khat: float  # of their weights; nan where it cannot be told
    few: bool  # too few to tell a free energy
    tail: bool  # k-hat fails, and their weights are not harmless

    @property
    def khat_limit(self) -> float:
        """k-hat above which the weights inside are not to be trusted."""
        return khat_limit(self.inside)


@dataclass(frozen=True)
class StepSamples(Weighted):
    """Samples of one K: log_w (n,), u (n,) kT, torsions (n, n_torsions) radians."""

    u: np.ndarray
    torsions: np.ndarray


@dataclass(frozen=True)
class Isomers:
    """What the ensemble holds and samples, in words; one-step samples that are another isomer."""

    held: tuple[str, ...]
    sampled: tuple[str, ...]
    outside: dict[str, int]  # what is wrong -> of how many samples
    n: int  # samples


@dataclass(frozen=True)
class MoleculeRecord(Measurements[StepSamples]):
    """All that the report of a molecule needs."""

    kind: ClassVar[str] = "molecule"
    residues: str
    formula: str
    temperature: float  # K
    kT: float  # kJ/mol
    torsions: tuple[str, ...]
    regions: tuple[Region, ...]
    explored_by: str  # "dynamics" or "annealing": where the samples to compare with are from
    explored_torsions: np.ndarray  # (m, n_torsions) radians; frames in time order
    explored_u: np.ndarray  # (m,) kT
    isomers: Isomers | None  # absent in older runs
    acceptance: tuple[float, ...]  # exchanges of neighbours; MALA moves at every b of annealing
    distances: Mapping[str, TorsionComparison]  # by kind of samples; empty in older runs
    histograms: Mapping[str, np.ndarray]  # of interatomic distances; empty in older runs

    @property
    def annealed(self) -> bool:
        """Whether there was no dynamics."""
        return self.explored_by == "annealing"

    @property
    def target_source(self) -> str:
        """Where the samples of the target that BAR takes are from."""
        return self.explored_by

    @property
    def target_samples(self) -> str:
        """The same in words."""
        return f"held-out samples of the {self.explored_by}"


def read_molecule(folder: Path, results: dict) -> MoleculeRecord:
    """Read a finished run folder whose results.json holds `results`."""
    name = _molecule_name(text_of(folder / "config.yaml")) or folder.resolve().name
    shared = read_measurements(folder, results, name, _samples)
    free_energy = json.loads((folder / "free_energy.json").read_text())
    topology = mdtraj.load_pdb(str(folder / "topology.pdb"), standard_names=False)
    with np.load(folder / "steps.npz") as arrays:
        # the names are older than annealing
        explored = arrays["dynamics_torsions"], arrays["dynamics_u"]
        histograms = {name: arrays[name] for name in arrays if name.startswith("distance_")}
    return MoleculeRecord(
        **vars(shared),
        residues="-".join(residue.name.capitalize() for residue in topology.topology.residues),
        formula=_formula([atom.element.symbol for atom in topology.topology.atoms]),
        temperature=float(free_energy["temperature"]),
        kT=float(free_energy["kT_kJ_per_mol"]),
        torsions=tuple(results["torsions"]),
        regions=tuple(_region(entry) for entry in free_energy["regions"]),
        explored_by=results.get("explored_by", "dynamics"),  # absent in older runs
        explored_torsions=explored[0],
        explored_u=explored[1],
        isomers=_isomers(results, len(shared.steps[1].u)),
        acceptance=tuple(
            number_or_nan(value) for value in results.get("exchange_acceptance") or ()
        ),
        distances={
            kind: TorsionComparison(**nulls_as_nan(row))
            for kind, row in results.get("distances", {}).items()
        },
        histograms=histograms,
    )


def _region(entry: dict) -> Region:
    return Region(
        name=entry["name"],
        ranges={name: (float(r[0]), float(r[1])) for name, r in entry["torsions"].items()},
        reference=str(entry["reference"]),
        delta_f=estimate_of(entry["delta_f"], entry["d_delta_f"]),
        probability=estimate_of(entry["probability"], entry["d_probability"]),
        explored_delta_f=estimate_of(
            entry.get("dynamics_delta_f"), entry.get("dynamics_d_delta_f")
        ),
        explored_probability=estimate_of(
            entry.get("dynamics_probability"), entry.get("dynamics_d_probability")
        ),
        inside=int(entry.get("samples_inside", 0)),
        effective=number_or_nan(entry.get("effective_samples")),
        khat=number_or_nan(entry.get("khat")),
        few=bool(entry.get("few_samples", False)),
        tail=bool(entry.get("heavy_tail", False)),
    )


def _samples(arrays: np.lib.npyio.NpzFile, k: int) -> StepSamples:
    return StepSamples(arrays[f"k{k}_log_w"], arrays[f"k{k}_u"], arrays[f"k{k}_torsions"])


def _isomers(results: dict, n: int) -> Isomers | None:
    if "isomers" not in results:
        return None
    words, outside = results["isomers"], results["outside"]["1"]  # the trajectory's one step
    return Isomers(tuple(words["held"]), tuple(words["sampled"]), outside, n)


def _molecule_name(config: str) -> str:
    match = re.search(r"^\s*pdb:\s*(\S+)", config, re.MULTILINE)
    return Path(match.group(1).strip("'\"")).stem if match else ""


def _formula(symbols: list[str]) -> str:
    """Hill order: carbon, hydrogen, then the alphabet."""
    kinds = sorted(set(symbols), key=lambda s: ({"C": 0, "H": 1}.get(s, 2), s))
    return "".join(f"{s}{symbols.count(s) if symbols.count(s) > 1 else ''}" for s in kinds)
