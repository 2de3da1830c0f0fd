"""Results of format 1, which had no number, with the keys of the present format.

Null stood for nan and for infinities, free energies of regions had a file of their own, and later
keys are absent in the first runs.
"""

import json
import math
from pathlib import Path

_NOT_MEASURED = {"value": math.nan, "error": math.nan}
_DERIVED = ("ess_error_known", "warnings")  # old rows held what others of their keys give


def upgrade(folder: Path, old: dict) -> dict:
    """Give results of format 1 the keys of the present format.

    Args:
        folder: run folder, which holds the free energies of a molecule.
        old: contents of its results.json.
    """
    kind = old.get("kind", "density" if "dim" in old["fingerprint"] else "molecule")
    in_rows = [text for row in old["evidence"] for text in row.get("warnings", ())]
    rows = sorted(old["evidence"], key=lambda row: row["steps"])
    return {
        "kind": kind,
        "fingerprint": old["fingerprint"],
        "evidence": [_upgrade_evidence(row) for row in rows],
        "cost": _upgrade_cost(old),
        "evidence_warnings": in_rows,
        "run_warnings": [text for text in old.get("warnings", ()) if text not in in_rows],
        **(_upgrade_molecule(folder, old) if kind == "molecule" else _upgrade_density(old)),
    }


def _upgrade_molecule(folder: Path, old: dict) -> dict:
    free_energy = json.loads((folder / "free_energy.json").read_text())
    isomers = old.get("isomers")
    return {
        "temperature": free_energy["temperature"],
        "kT": free_energy["kT_kJ_per_mol"],
        "torsions": old["torsions"],
        "regions": [_upgrade_region(row) for row in free_energy["regions"]],
        "explored_by": old.get("explored_by", "dynamics"),
        "isomers": isomers and isomers | {"outside": old["outside"]},
        "acceptance": [_to_number(value) for value in old.get("exchange_acceptance") or ()],
        "distances": {kind: _to_numbers(row) for kind, row in old.get("distances", {}).items()},
    }


def _upgrade_density(old: dict) -> dict:
    particles = old.get("particles") or {}
    return {
        "exact_samples": old["exact_samples"],
        "modes": old["modes"],
        "modes_found": old["modes_found"],
        "particles": {kind: _to_numbers(row) for kind, row in particles.items()},
    }


def _upgrade_evidence(row: dict) -> dict:
    # equal weights have no tail, and minus infinity was null
    equal = row["khat"] is None and row.get("ess") == 1.0
    defaults = {
        "unusable": 0,
        "above": 0,
        "above_limit": math.inf,
        "held_out": 0,
        "heaviest": math.nan,
        "harmless": False,
        "ess_error": math.nan,
        "ess_sets": (),
        "log_det_error": None,
        "auxiliaries": 1,
    }
    estimates = ("forward_ess", "log_z", "elbo", "eubo", "bar", "ess_joint")
    numbers = ("ess", "ess_error", "ess_clipped", "khat", "heaviest", "seconds_per_1000")
    kept = {key: value for key, value in row.items() if key not in _DERIVED}
    kept |= {key: _to_number(row[key]) for key in numbers if key in row}
    kept |= {key: _upgrade_estimate(row.get(key)) for key in estimates}
    return defaults | kept | {"khat": -math.inf if equal else _to_number(row["khat"])}


def _upgrade_region(row: dict) -> dict:
    return {
        "ranges": row["torsions"],
        "flow": {1: _upgrade_free_energy(row, "", row.get("effective_samples"))},
        "explored": _upgrade_free_energy(row, "dynamics_", None),
    }


def _upgrade_free_energy(row: dict, prefix: str, effective: float | None) -> dict:
    """Upgrade one of the two free energies of a row; the first runs lack effective samples."""
    pairs = {
        key: _to_pair(row.get(f"{prefix}{key}"), row.get(f"{prefix}d_{key}"))
        for key in ("delta_f", "probability")
    }
    return pairs | {
        "name": row["name"],
        "reference": row["reference"],
        "n_samples_inside": row.get("samples_inside", 0),
        "effective": _to_number(effective),
        "khat": math.nan if prefix else _to_number(row.get("khat")),
        "harmless": not row.get("heavy_tail", False),
    }


def _upgrade_cost(old: dict) -> dict:
    """Upgrade evaluations and seconds of the phases that the run recorded."""
    evaluations, seconds = old.get("evaluations", {}), old.get("seconds", {})
    return {
        phase: {
            "evaluations": int(evaluations.get(phase) or 0),
            "seconds": _to_number(seconds.get(phase)),
        }
        for phase in ("exploration", "training", "sampling")
        if phase in evaluations | seconds
    }


def _upgrade_estimate(pair: dict | None) -> dict:
    """Upgrade an estimate; null was nan, or the infinity in the text beside it."""
    if pair is None:
        return _NOT_MEASURED
    value = pair["value"]
    if value is None:
        value = {"inf": math.inf, "-inf": -math.inf}.get(pair.get("text", ""), math.nan)
    reason = {"reason": pair["reason"]} if "reason" in pair else {}
    return {"value": value, "error": _to_number(pair["error"])} | reason


def _to_pair(value: float | None, error: float | None) -> dict:
    return {"value": _to_number(value), "error": _to_number(error)}


def _to_numbers(row: dict) -> dict:
    return {key: _to_number(value) for key, value in row.items()}


def _to_number(value: float | None) -> float:
    return math.nan if value is None else value
