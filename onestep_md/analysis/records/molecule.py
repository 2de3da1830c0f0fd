"""The record of a finished run on a molecule: results, samples, and arrays for figures."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from onestep_md.analysis.records.conformers import SDF, Conformers
from onestep_md.analysis.records.record import Record, read_history, read_text
from onestep_md.analysis.records.refined import REFINED, read_refined
from onestep_md.analysis.records.results import Results, Stored
from onestep_md.analysis.records.samples import (
    HISTOGRAMS,
    STEPS,
    WeightedSamples,
    read_arrays,
    write_histograms,
    write_steps,
)
from onestep_md.analysis.sdf import STRUCTURE
from onestep_md.analysis.topology import read_topology
from onestep_md.analysis.torsions import Quad
from onestep_md.estimators.distances import TorsionComparison
from onestep_md.estimators.free_energy import RegionFreeEnergy

FILES = ("topology.pdb", "samples.dcd", STEPS)


class Region(Stored):
    """One region, a box of torsions, and its free energies."""

    ranges: Mapping[str, tuple[float, float]]  # degrees
    flow: Mapping[int, RegionFreeEnergy]  # K -> from the reweighted samples of that K
    explored: RegionFreeEnergy  # from the exploration

    @property
    def name(self) -> str:
        """Name in the configuration."""
        return self.one_step.name

    @property
    def one_step(self) -> RegionFreeEnergy:
        """Free energy from the one-step samples, which the trajectory holds."""
        return self.flow[1]


class Isomers(Stored):
    """Stereochemistry that is held and torsions that are sampled, in words."""

    held: tuple[str, ...]
    sampled: tuple[str, ...]
    outside: Mapping[int, Mapping[str, int]]  # K -> reason -> number of samples


class MoleculeResults(Results):
    """Results of a run on a molecule."""

    kind: Literal["molecule"] = "molecule"
    temperature: float  # K
    kT: float  # kJ/mol
    torsions: tuple[str, ...]
    torsion_atoms: tuple[Quad, ...] = ()  # of each, from 0; none in older runs
    regions: tuple[Region, ...]
    explored_by: Literal["dynamics", "annealing", "bridge", "trajectory"]  # bridge: another run
    isomers: Isomers | None  # None in older runs
    acceptance: tuple[float, ...]  # exchanges of neighbours; MALA moves at every b of annealing
    distances: Mapping[str, TorsionComparison]  # by kind of samples; empty in older runs
    conformers: Conformers | None = None  # None of linear peptides, and in older runs

    @property
    def annealed(self) -> bool:
        """Whether the exploration is a population that was annealed."""
        return self.explored_by in ("annealing", "bridge")

    @property
    def target_source(self) -> str:
        """Source of the samples of the target that BAR uses."""
        return self.explored_by

    @property
    def target_samples(self) -> str:
        """The same in a sentence."""
        return f"held-out samples of the {self.explored_by}"


@dataclass(frozen=True)
class MoleculeSamples(WeightedSamples):
    """Samples of one K: log_w (n,), u (n,) kT, torsions (n, n_torsions) radians."""

    u: np.ndarray
    torsions: np.ndarray


@dataclass(frozen=True)
class MoleculeRecord(Record[MoleculeResults, MoleculeSamples]):
    """Record of a run on a molecule."""

    residues: str
    formula: str
    explored_torsions: np.ndarray  # (m, n_torsions) radians; frames in time order
    explored_u: np.ndarray  # (m,) kT
    sdf: str  # geometries of the conformers; empty if there are none
    structure: str  # the input geometry with bond orders; empty in older runs
    atom_names: tuple[str, ...]


def write_molecule_arrays(
    folder: Path,
    steps: Mapping[int, MoleculeSamples],
    explored_torsions: np.ndarray,
    explored_u: np.ndarray,
    histograms: Mapping[str, np.ndarray],
) -> None:
    """Write the samples of every K, the exploration beside them, and histograms of distances."""
    explored = {"explored_torsions": explored_torsions, "explored_u": explored_u}
    write_steps(folder, steps, explored)
    write_histograms(folder, histograms)


def read_molecule(folder: Path, results: MoleculeResults) -> MoleculeRecord:
    """Read a finished run folder whose results.json holds `results`."""
    name = _find_molecule_name(read_text(folder / "config.yaml")) or folder.resolve().name
    topology = read_topology((folder / "topology.pdb").read_text())
    arrays = read_arrays(folder / STEPS)
    older = {key: array for key, array in arrays.items() if key.startswith("distance_")}
    explored = "explored" if "explored_u" in arrays else "dynamics"  # the latter in older runs
    steps = {
        row.steps: MoleculeSamples(
            *(arrays[f"k{row.steps}_{name}"] for name in ("log_w", "u", "torsions"))
        )
        for row in results.evidence
    }
    return MoleculeRecord(
        name=name,
        results=results,
        steps=steps,
        histograms=read_arrays(folder / HISTOGRAMS) or older,
        history=read_history(folder),
        refined=read_refined(folder / REFINED),
        residues="-".join(residue.name.capitalize() for residue in topology.residues),
        formula=_formula([atom.element.symbol for atom in topology.atoms]),
        explored_torsions=arrays[f"{explored}_torsions"],
        explored_u=arrays[f"{explored}_u"],
        sdf=read_text(folder / SDF),
        structure=read_text(folder / STRUCTURE),
        atom_names=tuple(atom.name for atom in topology.atoms),
    )


def _find_molecule_name(config: str) -> str:
    match = re.search(r"^\s*pdb:\s*(\S+)", config, re.MULTILINE)
    return Path(match.group(1).strip("'\"")).stem if match else ""


def _formula(symbols: list[str]) -> str:
    """Write a formula in Hill order: carbon, hydrogen, then the alphabet."""
    kinds = sorted(set(symbols), key=lambda s: ({"C": 0, "H": 1}.get(s, 2), s))
    return "".join(f"{s}{symbols.count(s) if symbols.count(s) > 1 else ''}" for s in kinds)
