"""Runs beside replica exchange of as much CPU time, and of as many energies: who breaks even.

The budget of a run is its seconds times the CPUs of its machine, an upper bound of its CPU time,
and its number of energies. OpenMM's replica exchange and the one of this package simulate the same
System from the same geometry, in one process with one thread, on the platform that `auto` chooses,
at the run's temperatures, time step, friction and intervals (the defaults where it was explored
otherwise). They end when a share of the CPU time is spent, equilibration included; the same frames
up to where the share of the energies was spent are the columns of equal energies. What OpenMM
samples of other isomers is left out.

A region of probability p whose standard error is d has p (1 - p) / d^2 effective samples: as many
independent ones of equal weight would have the same error. A method has the median over regions.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.records.molecule import MoleculeResults
from onestep_md.analysis.torsions import torsion_angles
from onestep_md.analysis.trajectories import check_finished
from onestep_md.config import Config
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.errors import ConfigError, RunFolderError
from onestep_md.estimators.estimate import z_score
from onestep_md.estimators.free_energy import RegionFreeEnergy
from onestep_md.exploration.from_dynamics import domain_of
from onestep_md.exploration.replica_exchange import Plan, explore
from onestep_md.kinds.molecule import MoleculeTarget, load_molecule_target
from onestep_md.progress import Display
from onestep_md.results.molecule import dynamics_regions
from onestep_md.results.torsions import reported_torsions
from onestep_md.run_folder import load_run_config, machine, machine_line
from onestep_md.stages import choose_platform, open_pool
from onestep_md.targets.openmm_replica_exchange import Rounds, check_openmm, explore_by_openmm
from onestep_md.targets.platforms import TORCH

SEED = 20261202  # not the seed of any run
_ENDLESS = 1e9  # ps; the budget ends the dynamics
_ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, results and machine, and what replica exchange is made from."""

    folder: Path
    results: MoleculeResults
    config: Config
    target: MoleculeTarget
    processor: str
    cpus: int

    @property
    def seconds(self) -> float:
        """CPU time that the run can have taken."""
        return self.results.seconds * self.cpus

    @property
    def one_step(self) -> list[RegionFreeEnergy]:
        """Regions of the one-step samples."""
        return [region.one_step for region in self.results.regions]


@dataclass(frozen=True)
class Spent:
    """What a replica exchange had spent, and how many frames it had kept by then."""

    frames: int
    evaluations: int
    seconds: float


class Meter:
    """Measures a replica exchange, and says when the share of the CPU time is spent."""

    def __init__(self, name: str, seconds: float, evaluations: float, display: Display):
        self.whole: Spent | None = None
        self.of_energies: Spent | None = None  # when the share of the energies was spent
        self._name, self._limits, self._display = name, (seconds, evaluations), display
        self._started = time.process_time()

    def __call__(self, frames: int, evaluations: int) -> bool:
        """Note what is spent so far, and whether it is enough."""
        seconds, energies = self._limits
        self.whole = now = Spent(frames, evaluations, time.process_time() - self._started)
        if self.of_energies is None and evaluations >= energies:
            self.of_energies = now
        text = f"{now.seconds:.0f} of {seconds:.0f} CPU seconds, {evaluations:.1e} energies"
        self._display.advance(min(now.seconds / seconds, 1.0), f"{self._name}: {text}")
        return now.seconds >= seconds


@dataclass(frozen=True)
class Column:
    """Regions of a replica exchange up to some point.

    Attributes:
        title: whose, and what is equal.
        spent: what it had spent at that point; None if its CPU time ended before.
        part: the part of the budget that this is, of the CPU time or of the energies.
        outside: the fraction of frames that are of other isomers, and left out.
        regions: as of the run.
    """

    title: str
    spent: Spent | None
    part: float = 0.0
    outside: float = 0.0
    regions: Sequence[RegionFreeEnergy] = ()


def compare_with_replica_exchange(runs: Sequence[Path], share: float) -> Iterator[str]:
    """Measure both replica exchanges for every run, and give a table of each in Markdown.

    Args:
        runs: folders of finished runs on molecules with regions.
        share: share of each budget to spend, above 0 and up to 1.

    Raises:
        ConfigError: there is no such share.
        RunFolderError: a folder holds no finished run on a molecule with regions.
        TargetError: OpenMM is older than 8.5, or the dynamics breaks down.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"--share {share:g}: give a share of the budget, above 0 and up to 1.")
    check_openmm()
    torch.set_num_threads(1)
    finished = [read_finished(run) for run in runs]
    yield machine_line(machine())
    for run in finished:
        platform = choose_platform(run.config, run.target)
        columns = _measure(run, platform, share)
        yield from ("", *_heading(run, platform, share), "", *_table(run, columns, share < 1.0))
    yield ""
    yield "CPU seconds of one step are seconds times CPUs of its machine, an upper bound."
    if share < 1.0:
        yield (
            "scaled: the error times the root of the part of the budget that was spent, as if all "
            "of it had been; not measured."
        )


def read_finished(folder: Path) -> Finished:
    """Read what a run has found and spent, and load its molecule.

    Raises:
        RunFolderError: it is not finished, has no regions of one-step samples, or no times.
    """
    results = read_results(folder)
    if not isinstance(results, MoleculeResults):
        raise RunFolderError(
            f"{folder}: a run on a {results.kind}; replica exchange is of molecules."
        )
    if not results.regions or results.row(1) is None:
        raise RunFolderError(
            f"{folder}: no free energies of regions by one-step samples to compare. Give the YAML "
            "file `regions`, and have 1 among sample.steps."
        )
    if not all(math.isfinite(cost.seconds) for cost in results.cost.values()):
        raise RunFolderError(f"{folder}: results.json does not know how long the run took.")
    check_finished(folder, (_ENVIRONMENT,))
    record = json.loads((folder / _ENVIRONMENT).read_text())
    config = (
        load_run_config(folder)
        .changed("exploration", method="dynamics", duration=_ENDLESS)
        .model_copy(update={"seed": SEED})
    )
    target = load_molecule_target(config)
    return Finished(folder, results, config, target, record["machine"], record["cpus"])


def effective_samples(regions: Sequence[RegionFreeEnergy]) -> float:
    """Median over regions of p (1 - p) / d^2; a region without an error bar has none."""
    return float(np.median([_effective(region) for region in regions]))


def _effective(region: RegionFreeEnergy) -> float:
    p, d = region.probability.value, region.probability.error
    return p * (1.0 - p) / d**2 if math.isfinite(d) and d > 0.0 else 0.0


def _measure(run: Finished, platform: str, share: float) -> list[Column]:
    """Columns of equal CPU time, and then those of equal energies."""
    display, by_time, by_energies = Display(), [], []
    for name, simulate in (("OpenMM", _simulate_by_openmm), ("this package", _simulate)):
        meter = Meter(name, share * run.seconds, share * run.results.evaluations, display)
        display.start(name)
        try:
            frames, walkers = simulate(run, platform, meter)
        finally:
            display.stop()
        whole, cut = meter.whole, meter.of_energies
        assert whole is not None
        part = whole.seconds / run.seconds
        title = f"{name}, equal CPU time"
        by_time.append(_column(run, title, frames, walkers, whole, part))
        part = cut.evaluations / run.results.evaluations if cut else 0.0
        title = f"{name}, equal energies"
        by_energies.append(_column(run, title, frames, walkers, cut, part))
    return by_time + by_energies


def _simulate_by_openmm(
    run: Finished, platform: str, meter: Meter
) -> tuple[np.ndarray, np.ndarray]:
    settings = run.config.dynamics
    plan = Plan(settings, SEED)
    rounds = Rounds(plan.frame_every, plan.frames_per_round, plan.discarded)
    # torch leaves dynamics to the CPU platform
    platform = "CPU" if platform in TORCH else platform
    found = explore_by_openmm(run.target.molecule, platform, settings, rounds, SEED, meter)
    return found.frames, found.replica


def _simulate(run: Finished, platform: str, meter: Meter) -> tuple[np.ndarray, np.ndarray]:
    molecule = run.target.molecule
    evaluators = open_pool(run.config, [run.target], local=True, address=None, platform=platform)
    found = explore(
        molecule,
        evaluators,
        run.config.dynamics,
        SEED,
        domain_of(molecule),
        find_molecule_isomers(molecule).turning,
        enough=meter,
    )
    return found.frames, found.replica


def _column(
    run: Finished,
    title: str,
    frames: np.ndarray,
    walkers: np.ndarray,
    spent: Spent | None,
    part: float,
) -> Column:
    """Estimate the regions from the first frames, relative to the run's own zero."""
    if spent is None:
        return Column(title, None)
    molecule, zero = run.target.molecule, run.one_step[0].reference
    frames, walkers = frames[: spent.frames], walkers[: spent.frames]
    inside = domain_of(molecule)(frames)
    torsions = reported_torsions(run.config, molecule)
    angles = torsion_angles(frames[inside], list(torsions.values()))
    regions = dynamics_regions(run.config, list(torsions), angles, walkers[inside], zero)
    return Column(title, spent, part, 1.0 - float(inside.mean()), regions)


def _heading(run: Finished, platform: str, share: float) -> list[str]:
    """Name the run, its budget and the settings of both replica exchanges."""
    settings = run.config.dynamics
    kelvin = ", ".join(f"{t:g}" for t in settings.temperatures)
    return [
        f"{run.folder.resolve().name}: {run.results.seconds:,.0f} s on {run.cpus} CPUs "
        f"({run.processor}), so at most {run.seconds:,.0f} CPU seconds, and "
        f"{run.results.evaluations:.2e} energies; {share:g} of it for each replica exchange",
        f"replica exchange at {kelvin} K on {platform}: steps of {settings.timestep:g} fs, "
        f"exchanges every {settings.exchange_interval:g} ps, "
        f"{settings.equilibration:g} ps of equilibration",
    ]


def _table(run: Finished, columns: Sequence[Column], scaled: bool) -> list[str]:
    """Format one step beside the columns, a row for every number."""
    compared = [row for row in run.one_step if row.name != row.reference]
    names = [
        *("", "---", "CPU seconds", "energies"),
        *(f"F({row.name}) - F({row.reference}), kT" for row in compared),
        "effective samples per CPU second",
        "the same of drawing alone",
        "largest difference from one step",
        "frames of other isomers, left out",
    ]
    every = [names, _one_step(run, compared), *(_cells(c, compared, run, scaled) for c in columns)]
    return [f"| {' | '.join(row)} |" for row in zip(*every, strict=True)]


def _one_step(run: Finished, compared: Sequence[RegionFreeEnergy]) -> list[str]:
    row, worth = run.results.row(1), effective_samples(run.one_step)
    assert row is not None
    drawing = row.seconds_per_1000 * row.n / 1000.0 * run.cpus
    return [
        *("one step", "---", f"{run.seconds:,.0f}", f"{run.results.evaluations:.2e}"),
        *(_free_energy(region) for region in compared),
        f"{worth / run.seconds:.3g}",
        f"{worth / drawing:.3g}",
        *("", ""),
    ]


def _cells(
    column: Column, compared: Sequence[RegionFreeEnergy], run: Finished, scaled: bool
) -> list[str]:
    spent = column.spent
    if spent is None:
        return [column.title, "---", "not reached", *[""] * (len(compared) + 5)]
    by_name = {region.name: region for region in column.regions}
    pairs = [(region, by_name[region.name]) for region in compared]
    scores = [abs(z_score(theirs.delta_f, ours.delta_f)) for ours, theirs in pairs]
    known = [score for score in scores if math.isfinite(score)]
    return [
        *(column.title, "---", f"{spent.seconds:,.0f}", f"{spent.evaluations:.2e}"),
        *(_free_energy(theirs, column.part if scaled else 1.0) for _, theirs in pairs),
        f"{effective_samples(column.regions) / spent.seconds:.3g}",
        "",
        f"{max(known):.1f} errors" if known else "unknown",
        f"{100.0 * column.outside:.1f} %",
    ]


def _free_energy(region: RegionFreeEnergy, part: float = 1.0) -> str:
    """Format value, error and mark; where a part was spent, the error that the whole may have."""
    error = region.delta_f.error * math.sqrt(part)
    marks = [f"{error:.2g} scaled"] if part < 1.0 and math.isfinite(error) else []
    marks += [region.mark] if region.mark else []
    text = region.delta_f.format("")
    return f"{text} ({', '.join(marks)})" if marks else text
