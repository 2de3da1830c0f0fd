"""Small molecules of all kinds: log Z and region free energies beside what is known independently.

Every file in systems/molecules/ is run from beginning to end. Its one-step log Z and BAR are
compared with a log Z without any training, its free energies with a long replica exchange
(`molecule_reference`, kept in systems/reference/molecules.json), and regions that a symmetry of
the molecule makes equal with each other. Errors are right if the squares of all z average near
one.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from onestep_md import pipeline
from onestep_md.analysis.records.folder import RESULTS, read_results
from onestep_md.analysis.records.molecule import MoleculeResults, read_molecule
from onestep_md.analysis.torsions import region_membership
from onestep_md.benchmark.molecule_reference import (
    add_reference,
    is_of,
    known_references,
    make_reference,
)
from onestep_md.config import Config, load_config
from onestep_md.errors import Interrupted, OneStepError, RunFolderError
from onestep_md.estimators.estimate import UNKNOWN, Estimate, z_score
from onestep_md.estimators.free_energy import RegionFreeEnergy, region_free_energies
from onestep_md.estimators.limits import DISAGREEMENT
from onestep_md.files import write_json, write_text
from onestep_md.progress import Display
from onestep_md.run_folder import machine, machine_line
from onestep_md.targets.molecule import load_molecule

# regions with the same free energy by a symmetry of the molecule
_MIRRORED = [("plus", "minus")]
EQUAL = {
    "acetate": _MIRRORED,
    "bicyclooctane": _MIRRORED,
    "biphenyl": [("a", "b"), ("a", "c"), ("a", "d")],
    "butadiene": _MIRRORED,
    "butane": _MIRRORED,
    "butanone": _MIRRORED,
    "dimethyl-disulfide": _MIRRORED,
    "dimethyl-phosphate": [(f"{kind}-plus", f"{kind}-minus") for kind in ("gg", "gt", "tg")]
    + [("gt-plus", "tg-plus")],
    "dimethyl-sulfoxide": [("first", "second"), ("first", "third")],
    "dithiane": _MIRRORED,
    "ethanol": _MIRRORED,
    "n-methylacetamide": _MIRRORED,
    "phenol": [("cis", "trans")],
    "spiroheptane": _MIRRORED,
    "trimethylphosphine": [("first", "second"), ("first", "third")],
}


@dataclass(frozen=True)
class Difference:
    """A free-energy difference between two regions, in kT, and what it should be."""

    names: tuple[str, str]
    one_step: Estimate
    expected: Estimate

    @property
    def z(self) -> float:
        """In combined errors; nan where one of the two is not known."""
        return z_score(self.one_step, self.expected)


@dataclass(frozen=True)
class Row:
    """One molecule beside its reference."""

    name: str
    what: str
    atoms: int
    explored_by: str
    minutes: float
    ess: float
    log_z: Estimate
    bar: Estimate
    reference: Estimate  # UNKNOWN where nobody knows it
    method: str  # of the reference
    regions: tuple["Difference", ...]
    equal: tuple["Difference", ...]  # zero by the symmetry of the molecule


def make_references(files: Sequence[Path], path: Path, duration: float) -> None:
    """Add to the references in `path` those of the files that are not there yet."""
    display = Display()
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        config = load_config(file)
        identity = load_molecule(config.target, config.folder).fingerprint.identity
        known = known_references(path)
        if file.stem in known and is_of(known[file.stem], config, identity):
            continue
        found = make_reference(config, duration, display)
        add_reference(path, file.stem, found)
        log_z = found["log_z"]
        text = Estimate(log_z["value"], log_z["error"]).format("")
        display.say(f"{file.stem}: log Z {text} ({log_z['method']})")


def measure_molecules(
    files: Sequence[Path], references: Path, out: Path, overrides: Sequence[str], seed: int | None
) -> list[str]:
    """Run what has not been run, and write out/table.md and out/table.json.

    Returns:
        Lines of the table.

    Raises:
        Interrupted: SIGTERM or Ctrl-C arrived; finished runs are kept.
    """
    known, rows, failures = known_references(references), [], {}
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        config = load_config(file, overrides, seed)
        try:
            _finish(config, out / file.stem)
            rows.append(collect(file, config, out / file.stem, known.get(file.stem)))
        except Interrupted:
            raise
        except OneStepError as error:
            failures[file.stem] = str(error).splitlines()[0]
            print(f"{file.stem} failed: {error}")
        lines = table(rows, failures)
        write_text(out / "table.md", "\n".join(lines) + "\n")
        write_json(out / "table.json", {"rows": [asdict(row) for row in rows], "failed": failures})
    return lines


def _finish(config: Config, folder: Path) -> None:
    """Run a molecule, or what is left of its run; nothing if it has ended."""
    if not (folder / RESULTS).exists():
        resume = (folder / "config.yaml").exists()
        pipeline.run({folder.name: config}, folder, resume, local=True, address=None)
        return
    theirs = _results(folder).fingerprint["system_sha256"]
    ours = load_molecule(config.target, config.folder).fingerprint.system_sha256
    if theirs != ours:
        raise RunFolderError(
            f"{folder} is a finished run of another System. Choose another folder with --out."
        )


def collect(file: Path, config: Config, folder: Path, reference: dict | None) -> Row:
    """What a finished run found, beside its reference."""
    results = _results(folder)
    one = results.headline
    if reference is not None and not is_of(reference, config, _identity(results)):
        raise RunFolderError(
            f"the reference of {file.stem} is one of another System, temperature or regions; make "
            "it again with --reference."
        )
    log_z = {} if reference is None else reference["log_z"]
    regions, equal = _regions(file.stem, config, folder, reference)
    return Row(
        name=file.stem,
        what=file.read_text().splitlines()[0].lstrip("# ").split(". GAFF2")[0],
        atoms=results.fingerprint["atoms"],
        explored_by=results.explored_by,
        minutes=results.seconds / 60.0,
        ess=one.ess,
        log_z=one.log_z,
        bar=one.bar,
        reference=Estimate(log_z["value"], log_z["error"]) if log_z else UNKNOWN,
        method=log_z.get("method", ""),
        regions=regions,
        equal=equal,
    )


def _results(folder: Path) -> MoleculeResults:
    """What a finished run of a molecule found."""
    results = read_results(folder)
    if not isinstance(results, MoleculeResults):
        raise RunFolderError(f"{folder} is not a run of a molecule")
    return results


def _identity(results: MoleculeResults) -> str:
    """Identity of the target, as `Fingerprint.identity` writes it."""
    kept = results.fingerprint
    return f"system {kept['system_sha256'][:12]} at {kept['temperature']} K"


def _regions(
    name: str, config: Config, folder: Path, reference: dict | None
) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """Free energies by one step beside replica exchange, and differences that should be zero."""
    if not config.regions:
        return (), ()
    names = list(config.regions)
    known = {} if reference is None else {row["name"]: row for row in reference["regions"]}
    regions = tuple(
        Difference((region.name, names[0]), region.delta_f, _known(known.get(region.name)))
        for region in free_energies(config, folder, names[0])[1:]
    )
    equal = tuple(
        Difference((first, second), found.delta_f, Estimate(0.0, 0.0))
        for first, second in EQUAL.get(name, [])
        for found in free_energies(config, folder, first)
        if found.name == second
    )
    return regions, equal


def _known(region: dict | None) -> Estimate:
    if region is None or None in (region["delta_f"], region["d_delta_f"]):
        return UNKNOWN
    return Estimate(region["delta_f"], region["d_delta_f"])


def free_energies(config: Config, folder: Path, reference: str) -> list[RegionFreeEnergy]:
    """Free energies of all regions relative to one, from the samples of a finished run."""
    record = read_molecule(folder, _results(folder))
    inside = region_membership(
        record.samples.torsions, list(record.results.torsions), config.regions
    )
    generator = np.random.default_rng(config.seed)
    log_w = record.samples.log_w
    return region_free_energies(list(config.regions), inside, log_w, reference, generator)


def table(rows: Sequence[Row], failures: dict[str, str]) -> list[str]:
    """Three Markdown tables with the mean squares of their z-scores."""
    lines = [machine_line(machine()), ""]
    lines += [
        "| molecule | atoms | explored by | min | ESS | log Z, one step | BAR | independent | z "
        "| z of BAR |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        beside = f"{row.reference.format('')} ({row.method})" if row.method else "-"
        scores = [_signed(z_score(value, row.reference)) for value in (row.log_z, row.bar)]
        lines.append(
            f"| {row.what} | {row.atoms} | {row.explored_by} | {row.minutes:.1f} | "
            f"{100 * row.ess:.0f} % | {row.log_z.format('')} | {row.bar.format('')} | {beside} | "
            f"{scores[0]} | {scores[1]} |"
        )
    lines += [f"| {name} | | | | | failed: {text} |" for name, text in failures.items()]
    lines += ["", "| free energy in kT | one step | replica exchange | z |", "|" + "---|" * 4]
    lines += [
        f"| {row.name}: {' - '.join(pair.names)} | {pair.one_step.format('')} | "
        f"{pair.expected.format('')} | {_signed(pair.z)} |"
        for row in rows
        for pair in row.regions
    ]
    lines += ["", "| equal by symmetry | difference in kT | z |", "|" + "---|" * 3]
    lines += [
        f"| {row.name}: {' = '.join(pair.names)} | {pair.one_step.format('')} | "
        f"{_signed(pair.z)} |"
        for row in rows
        for pair in row.equal
    ]
    return [*lines, "", *_summary(rows)]


def _summary(rows: Sequence[Row]) -> list[str]:
    """How large the z-scores are, kind by kind."""
    kinds = {
        "log Z, one step": [z_score(row.log_z, row.reference) for row in rows],
        "log Z, BAR": [z_score(row.bar, row.reference) for row in rows],
        "free energies": [pair.z for row in rows for pair in row.regions],
        "equal by symmetry": [pair.z for row in rows for pair in row.equal],
    }
    lines = []
    for kind, all_z in kinds.items():
        z = np.array([value for value in all_z if math.isfinite(value)])
        if z.size:
            far = (np.abs(z) > DISAGREEMENT).sum()
            lines.append(
                f"{kind}: {z.size} comparisons, mean of z^2 {(z**2).mean():.2f}, largest |z| "
                f"{np.abs(z).max():.1f}, {far} above {DISAGREEMENT:.0f}"
            )
    return lines


def _signed(z: float) -> str:
    return f"{z:+.1f}" if math.isfinite(z) else "-"
