"""The long replica exchange that a run is compared with, and that comparison as a table."""

import json
import math
from pathlib import Path

from onestep_md.analysis.torsions import find_torsions, torsion_angles
from onestep_md.config import Config
from onestep_md.errors import RunFolderError
from onestep_md.estimators.estimate import (
    ESS_NOTE,
    Estimate,
    stored_ess,
    stored_forward,
    stored_text,
    z_score,
)
from onestep_md.exploration.from_dynamics import explore_molecule
from onestep_md.files import write_json
from onestep_md.kinds.molecule import load_molecule_target
from onestep_md.progress import Display
from onestep_md.results.molecule import dynamics_regions
from onestep_md.run_folder import machine_line
from onestep_md.stages import open_pool


def write_reference(config: Config, path: Path) -> None:
    """Populations of the regions from a long exploration, as JSON."""
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
    torsions = find_torsions(molecule.pdb_text, config.sample.torsions)
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
        "fingerprint": molecule.fingerprint.as_dict(),
        "exploration": config.exploration.model_dump(mode="json"),
        "seed": config.seed,
        "evaluations": exploration.evaluations,
        "regions": found,
    }
    write_json(path, settings)


def summary(run: Path, reference_path: Path) -> list[str]:
    """Markdown table of a finished run; regions beside the reference where there is one."""
    results = json.loads((run / "results.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    regions = json.loads((run / "free_energy.json").read_text())["regions"]
    rows = {row["steps"]: row for row in results["evidence"]}
    if 1 not in rows:
        raise RunFolderError(f"{run}: no one-step samples to summarise")
    seconds, count = results["seconds"], results["evaluations"]
    lines = [
        machine_line(environment),
        "",
        "| quantity | measured |",
        "|---|---|",
        f"| whole run | {sum(seconds.values()) / 60:.1f} min |",
        f"| energy evaluations | {sum(count.values()):.2e} |",
        f"| drawing 10^4 one-step samples | {10 * rows[1]['seconds_per_1000']:.1f} s |",
    ]
    for steps, row in rows.items():
        lines.append(
            f"| K = {steps} | ESS {stored_ess(row)}, forward {stored_forward(row)}, "
            f"log Z {stored_text(row['log_z'])}, ELBO {stored_text(row['elbo'])}, "
            f"EUBO {stored_text(row['eubo'])}, BAR {stored_text(row['bar'])}, "
            f"det <= 0: {row['negative_determinants']}/{row['checked']}, "
            f"round trip {_number(row['round_trip']):.0e} |"
        )
        if row.get("ess_sets"):
            low, high = 100 * min(row["ess_sets"]), 100 * max(row["ess_sets"])
            sets = f"{len(row['ess_sets'])} sets of 10,000 samples"
            lines.append(f"| K = {steps}, ESS of {sets} | {low:.1f} to {high:.1f} % |")
    if reference_path.exists():
        known = json.loads(reference_path.read_text())
        by_name = {region["name"]: region for region in known["regions"]}
        for region in regions:
            other = by_name[region["name"]]
            # the reference may have another zero: compare relative to the region used here
            zero = by_name[region["reference"]]["delta_f"]
            if region["name"] == region["reference"]:
                continue
            ours = Estimate(_number(region["delta_f"]), _number(region["d_delta_f"]))
            theirs = Estimate(_number(other["delta_f"]) - zero, _number(other["d_delta_f"]))
            few = "; FEW SAMPLES" if region.get("few_samples") else ""
            worth = region.get("effective_samples")
            worth = "" if worth is None else f" ({worth:.0f} effective samples{few})"
            lines.append(
                f"| F({region['name']}) - F({region['reference']}) | {ours.format()}{worth}, "
                f"reference {theirs.format()}, z = {z_score(ours, theirs):+.1f} |"
            )
    if not all(row.get("ess_error_known", True) for row in rows.values()):
        lines += ["", f"{ESS_NOTE}."]
    return lines


def _number(value: float | None) -> float:
    """JSON's null, which stands for what is infinite or unknown, as nan."""
    return math.nan if value is None else value
