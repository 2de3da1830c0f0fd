"""The long replica exchange that a run is compared with, and that comparison as a table."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.records.molecule import MoleculeResults, Region
from onestep_md.analysis.torsions import torsion_angles
from onestep_md.config import Config
from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import ESS_NOTE, Estimate, percent_text, z_score
from onestep_md.exploration.from_dynamics import explore_molecule
from onestep_md.files import write_json
from onestep_md.kinds.molecule import load_molecule_target
from onestep_md.progress import Display
from onestep_md.results.molecule import dynamics_regions
from onestep_md.results.torsions import reported_torsions
from onestep_md.run_folder import machine_line
from onestep_md.stages import open_pool
from onestep_md.targets.molecule import Molecule


def write_reference(config: Config, path: Path) -> None:
    """Explore for long, and write the populations of the regions as JSON."""
    display = Display()
    target = load_molecule_target(config)
    molecule = target.molecule
    evaluators = open_pool(config, [target], local=False, address=None)
    try:
        display.start("reference")
        exploration = explore_molecule(config, molecule, evaluators, display)
    finally:
        display.stop()
        evaluators.close()
    torsions = reported_torsions(config, molecule)
    angles = torsion_angles(exploration.frames, list(torsions.values()))
    regions = dynamics_regions(config, list(torsions), angles, exploration.replica, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = [
        {
            "name": region.name,
            "probability": region.probability.value,
            "d_probability": region.probability.error,
            "delta_f": region.delta_f.value,
            "d_delta_f": region.delta_f.error,
        }
        for region in regions
    ]
    settings = {
        "fingerprint": identify(molecule),
        "exploration": config.exploration.model_dump(mode="json"),
        "seed": config.seed,
        "evaluations": exploration.evaluations,
        "regions": found,
    }
    write_json(path, settings)


def identify(molecule: Molecule) -> dict:
    """Say which molecule a file is of, without the notes, which may name folders of a machine."""
    facts = molecule.fingerprint.as_dict()
    return {name: fact for name, fact in facts.items() if name != "notes"}


def summary(run: Path, reference_path: Path) -> list[str]:
    """Format a Markdown table of a finished run, with its regions beside the reference, if any."""
    results = read_results(run)
    one = results.row(1)
    if not isinstance(results, MoleculeResults) or one is None:
        raise RunFolderError(f"{run}: no one-step samples of a molecule to summarise")
    lines = [
        machine_line(json.loads((run / "environment.json").read_text())),
        "",
        "| quantity | measured |",
        "|---|---|",
        f"| whole run | {results.seconds / 60:.1f} min |",
        f"| energy evaluations | {results.evaluations:.2e} |",
        f"| drawing 10^4 one-step samples | {10 * one.seconds_per_1000:.1f} s |",
    ]
    for row in results.evidence:
        trip = "-" if row.round_trip is None else f"{row.round_trip:.0e}"
        lines.append(
            f"| K = {row.steps} | ESS {percent_text(row.reverse_ess, row.ess_error_known)}, "
            f"forward {percent_text(row.forward_ess)}, log Z {row.log_z.format('')}, "
            f"ELBO {row.elbo.format('')}, EUBO {row.eubo.format('')}, BAR {row.bar.format('')}, "
            f"det <= 0: {row.negative_determinants}/{row.checked}, round trip {trip} |"
        )
        if row.ess_sets:
            low, high = 100 * min(row.ess_sets), 100 * max(row.ess_sets)
            sets = f"{len(row.ess_sets)} sets of 10,000 samples"
            lines.append(f"| K = {row.steps}, ESS of {sets} | {low:.1f} to {high:.1f} % |")
    if reference_path.exists():
        lines += _beside(results.regions, json.loads(reference_path.read_text())["regions"])
    if not all(row.ess_error_known for row in results.evidence):
        lines += ["", f"{ESS_NOTE}."]
    return lines


def _beside(regions: Sequence[Region], known: list[dict]) -> list[str]:
    """Format a line for every region with its free energy in a reference."""
    by_name, lines = {region["name"]: region for region in known}, []
    for region in (region.one_step for region in regions):
        if region.name == region.reference:
            continue
        # the reference may have another zero: compare relative to the region used here
        other, zero = by_name[region.name], by_name[region.reference]["delta_f"]
        theirs = Estimate(_number(other["delta_f"]) - zero, _number(other["d_delta_f"]))
        few = "; FEW SAMPLES" if region.few else ""
        lines.append(
            f"| F({region.name}) - F({region.reference}) | {region.delta_f.format()} "
            f"({region.effective:.0f} effective samples{few}), reference {theirs.format()}, "
            f"z = {z_score(region.delta_f, theirs):+.1f} |"
        )
    return lines


def _number(value: float | None) -> float:
    """Read JSON's null, an infinite or unknown number, as nan."""
    return math.nan if value is None else value
