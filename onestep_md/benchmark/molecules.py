"""Small molecules of all kinds: log Z and region free energies beside what is known independently.

For `python -m onestep_md.benchmark molecules`. Every file in systems/molecules/ is run from
beginning to end; its one-step log Z and BAR are compared with a log Z that nothing was trained
for, its free energies with a long replica exchange (`molecule_reference`, kept in
systems/reference/molecules.json), and regions that a symmetry of the molecule makes equal with
each other. Errors are right if the squares of all z average near one.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from onestep_md import pipeline
from onestep_md.analysis.torsions import region_membership
from onestep_md.benchmark.molecule_reference import is_of, make_reference
from onestep_md.config import Config, load_config
from onestep_md.errors import OneStepError, RunFolderError
from onestep_md.estimators.estimate import Estimate, stored_text, z_score
from onestep_md.estimators.free_energy import RegionFreeEnergy, region_free_energies
from onestep_md.estimators.limits import DISAGREEMENT
from onestep_md.files import write_json, write_text
from onestep_md.progress import Display
from onestep_md.run_folder import machine, machine_line
from onestep_md.targets.molecule import load_molecule

# regions of a molecule that have the same free energy by its symmetry
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
class Row:
    """One molecule; errors and z-scores are None where there is nothing to compare with."""

    name: str
    what: str
    atoms: int
    explored_by: str
    minutes: float
    ess: float
    log_z: dict
    bar: dict | None
    reference: dict | None  # of molecules.json, its part `log_z`
    z_log_z: float | None
    z_bar: float | None
    regions: tuple[dict, ...]  # name, one step, replica exchange, z
    equal: tuple[dict, ...]  # names, difference, z


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
        # read again: others may have been added meanwhile
        write_json(path, dict(sorted((known_references(path) | {file.stem: found}).items())))
        display.say(f"{file.stem}: log Z {_text(found['log_z'])} ({found['log_z']['method']})")


def known_references(path: Path) -> dict:
    """What `make_references` has written, by the names of the molecules."""
    return json.loads(path.read_text()) if path.exists() else {}


def measure_molecules(
    files: Sequence[Path], references: Path, out: Path, overrides: Sequence[str], seed: int | None
) -> list[str]:
    """Run what has not been run, and write out/table.md and out/table.json.

    Returns:
        Lines of the table.
    """
    known, rows, failures = known_references(references), [], {}
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        config = load_config(file, overrides, seed)
        try:
            _finish(config, out / file.stem)
            rows.append(collect(file, config, out / file.stem, known.get(file.stem)))
        except OneStepError as error:
            failures[file.stem] = str(error).splitlines()[0]
            print(f"{file.stem} failed: {error}")
        lines = table(rows, failures)
        write_text(out / "table.md", "\n".join(lines) + "\n")
        write_json(out / "table.json", {"rows": [asdict(row) for row in rows], "failed": failures})
    return lines


def _finish(config: Config, folder: Path) -> None:
    """Run a molecule, or what is left of its run; nothing if it has ended."""
    finished = folder / "results.json"
    if not finished.exists():
        resume = (folder / "config.yaml").exists()
        pipeline.run({folder.name: config}, folder, resume, local=True, address=None)
        return
    theirs = json.loads(finished.read_text())["fingerprint"]["system_sha256"]
    ours = load_molecule(config.target, config.folder).fingerprint.system_sha256
    if theirs != ours:
        raise RunFolderError(
            f"{folder} is a finished run of another System. Choose another folder with --out."
        )


def collect(file: Path, config: Config, folder: Path, reference: dict | None) -> Row:
    """What a finished run found, beside its reference."""
    results = json.loads((folder / "results.json").read_text())
    (one,) = (row for row in results["evidence"] if row["steps"] == 1)
    if reference is not None and not is_of(reference, config, _identity(results)):
        raise RunFolderError(
            f"the reference of {file.stem} is one of another System, temperature or regions; make "
            "it again with --reference."
        )
    log_z = None if reference is None else reference["log_z"]
    regions, equal = _regions(file.stem, config, folder, reference)
    return Row(
        name=file.stem,
        what=file.read_text().splitlines()[0].lstrip("# ").split(". GAFF2")[0],
        atoms=results["fingerprint"]["atoms"],
        explored_by=results["explored_by"],
        minutes=sum(results["seconds"].values()) / 60.0,
        ess=one["ess"],
        log_z=one["log_z"],
        bar=one["bar"],
        reference=log_z,
        z_log_z=_z(one["log_z"], log_z),
        z_bar=_z(one["bar"], log_z),
        regions=regions,
        equal=equal,
    )


def _identity(results: dict) -> str:
    """Of the target, as `Fingerprint.identity` writes it."""
    kept = results["fingerprint"]
    return f"system {kept['system_sha256'][:12]} at {kept['temperature']} K"


def _regions(
    name: str, config: Config, folder: Path, reference: dict | None
) -> tuple[tuple[dict, ...], tuple[dict, ...]]:
    """Free energies by one step beside replica exchange, and differences that should be zero."""
    if not config.regions:
        return (), ()
    names = list(config.regions)
    dynamics = {} if reference is None else {row["name"]: row for row in reference["regions"]}
    rows = []
    for region in free_energies(config, folder, names[0])[1:]:
        ours, theirs = _pair(region.delta_f), None
        if region.name in dynamics:
            found = dynamics[region.name]
            theirs = {"value": found["delta_f"], "error": found["d_delta_f"]}
        rows.append({"name": region.name, "reference": names[0], "ours": ours, "theirs": theirs,
                     "z": _z(ours, theirs)})  # fmt: skip
    pairs = []
    for first, second in EQUAL.get(name, []):
        found = _pair(free_energies(config, folder, first)[names.index(second)].delta_f)
        z = _z(found, {"value": 0.0, "error": 0.0})
        pairs.append({"names": [first, second], "ours": found, "z": z})
    return tuple(rows), tuple(pairs)


def free_energies(config: Config, folder: Path, reference: str) -> list[RegionFreeEnergy]:
    """Of all regions, relative to one of them, from the one-step samples of a finished run."""
    results = json.loads((folder / "results.json").read_text())
    with np.load(folder / "steps.npz") as arrays:
        angles, log_w = arrays["k1_torsions"], arrays["k1_log_w"]
    inside = region_membership(angles, results["torsions"], config.regions)
    generator = np.random.default_rng(config.seed)
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
        beside = "-" if row.reference is None else _beside(row.reference)
        lines.append(
            f"| {row.what} | {row.atoms} | {row.explored_by} | {row.minutes:.1f} | "
            f"{100 * row.ess:.0f} % | {stored_text(row.log_z)} | {_text(row.bar)} | {beside} | "
            f"{_signed(row.z_log_z)} | {_signed(row.z_bar)} |"
        )
    lines += [f"| {name} | | | | | failed: {text} |" for name, text in failures.items()]
    lines += ["", "| free energy in kT | one step | replica exchange | z |", "|" + "---|" * 4]
    for row in rows:
        for region in row.regions:
            lines.append(
                f"| {row.name}: {region['name']} - {region['reference']} | "
                f"{_text(region['ours'])} | {_text(region['theirs'])} | {_signed(region['z'])} |"
            )
    lines += ["", "| equal by symmetry | difference in kT | z |", "|" + "---|" * 3]
    for row in rows:
        for pair in row.equal:
            title = f"{row.name}: {' = '.join(pair['names'])}"
            lines.append(f"| {title} | {_text(pair['ours'])} | {_signed(pair['z'])} |")
    return [*lines, "", *_summary(rows)]


def _summary(rows: Sequence[Row]) -> list[str]:
    """How large the z-scores are, kind by kind."""
    kinds = {
        "log Z, one step": [row.z_log_z for row in rows],
        "log Z, BAR": [row.z_bar for row in rows],
        "free energies": [region["z"] for row in rows for region in row.regions],
        "equal by symmetry": [pair["z"] for row in rows for pair in row.equal],
    }
    lines = []
    for kind, all_z in kinds.items():
        z = np.array([value for value in all_z if value is not None])
        if z.size:
            far = (np.abs(z) > DISAGREEMENT).sum()
            lines.append(
                f"{kind}: {z.size} comparisons, mean of z^2 {(z**2).mean():.2f}, largest |z| "
                f"{np.abs(z).max():.1f}, {far} above {DISAGREEMENT:.0f}"
            )
    return lines


def _beside(reference: dict) -> str:
    return f"{stored_text(reference)} ({reference['method']})"


def _pair(estimate: Estimate) -> dict:
    return {"value": estimate.value, "error": estimate.error}


def _text(pair: dict | None) -> str:
    return "-" if pair is None else stored_text(pair)


def _signed(z: float | None) -> str:
    return "-" if z is None else f"{z:+.1f}"


def _z(a: dict | None, b: dict | None) -> float | None:
    """(a - b) in combined errors; None where one of the two is not known."""
    if a is None or b is None:
        return None
    numbers = [a["value"], a["error"], b["value"], b["error"]]
    if any(number is None or not math.isfinite(number) for number in numbers):
        return None
    return z_score(Estimate(*numbers[:2]), Estimate(*numbers[2:]))
