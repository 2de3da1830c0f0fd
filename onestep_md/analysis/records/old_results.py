"""Results of format 1, which had no number, with the keys of the present format.

Null stood for nan and for infinities, free energies of regions had a file of their own, and later
keys are absent in the first runs.
"""

import json
import math
from pathlib import Path

_NOT_MEASURED = {"value": math.nan, "error": math.nan}
_DERIVED = ("ess_error_known", "warnings")  # rows held them beside what they are made from


def upgraded(folder: Path, old: dict) -> dict:
    """Results of format 1 with the keys of the present format.

    Args:
        folder: the run's, for the free energies of a molecule.
        old: contents of its results.json.
    """
    kind = old.get("kind", "density" if "dim" in old["fingerprint"] else "molecule")
    in_rows = [text for row in old["evidence"] for text in row.get("warnings", ())]
    rows = sorted(old["evidence"], key=lambda row: row["steps"])
    return {
        "kind": kind,
        "fingerprint": old["fingerprint"],
        "evidence": [_evidence(row) for row in rows],
        "cost": _cost(old),
        "evidence_warnings": in_rows,
        "run_warnings": [text for text in old.get("warnings", ()) if text not in in_rows],
        **(_molecule(folder, old) if kind == "molecule" else _density(old)),
    }


def _molecule(folder: Path, old: dict) -> dict:
    free_energy = json.loads((folder / "free_energy.json").read_text())
    isomers = old.get("isomers")
    return {
        "temperature": free_energy["temperature"],
        "kT": free_energy["kT_kJ_per_mol"],
        "torsions": old["torsions"],
        "regions": [_region(row) for row in free_energy["regions"]],
        "explored_by": old.get("explored_by", "dynamics"),
        "isomers": isomers and isomers | {"outside": old["outside"]},
        "acceptance": [_number(value) for value in old.get("exchange_acceptance") or ()],
        "distances": {kind: _numbers(row) for kind, row in old.get("distances", {}).items()},
    }


def _density(old: dict) -> dict:
    particles = old.get("particles") or {}
    return {
        "exact_samples": old["exact_samples"],
        "modes": old["modes"],
        "modes_found": old["modes_found"],
        "particles": {kind: _numbers(row) for kind, row in particles.items()},
    }


def _evidence(row: dict) -> dict:
    # equal weights have no tail, and minus infinity was null
    equal = row["khat"] is None and row.get("ess") == 1.0
    known = {
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
    kept |= {key: _number(row[key]) for key in numbers if key in row}
    kept |= {key: _estimate(row.get(key)) for key in estimates}
    return known | kept | {"khat": -math.inf if equal else _number(row["khat"])}


def _region(row: dict) -> dict:
    return {
        "ranges": row["torsions"],
        "flow": {1: _free_energy(row, "", row.get("effective_samples"))},
        "explored": _free_energy(row, "dynamics_", None),
    }


def _free_energy(row: dict, prefix: str, effective: float | None) -> dict:
    """One of the two free energies of a row; the first runs did not count effective samples."""
    pairs = {
        key: _pair(row.get(f"{prefix}{key}"), row.get(f"{prefix}d_{key}"))
        for key in ("delta_f", "probability")
    }
    return pairs | {
        "name": row["name"],
        "reference": row["reference"],
        "n_samples_inside": row.get("samples_inside", 0),
        "effective": _number(effective),
        "khat": math.nan if prefix else _number(row.get("khat")),
        "harmless": not row.get("heavy_tail", False),
    }


def _cost(old: dict) -> dict:
    """Evaluations and seconds of each phase, for the phases that the run tells of."""
    evaluations, seconds = old.get("evaluations", {}), old.get("seconds", {})
    return {
        phase: {
            "evaluations": int(evaluations.get(phase) or 0),
            "seconds": _number(seconds.get(phase)),
        }
        for phase in ("exploration", "training", "sampling")
        if phase in evaluations | seconds
    }


def _estimate(pair: dict | None) -> dict:
    """Null was nan, or the infinity that the text beside it told."""
    if pair is None:
        return _NOT_MEASURED
    value = pair["value"]
    if value is None:
        value = {"inf": math.inf, "-inf": -math.inf}.get(pair.get("text", ""), math.nan)
    reason = {"reason": pair["reason"]} if "reason" in pair else {}
    return {"value": value, "error": _number(pair["error"])} | reason


def _pair(value: float | None, error: float | None) -> dict:
    return {"value": _number(value), "error": _number(error)}


def _numbers(row: dict) -> dict:
    return {key: _number(value) for key, value in row.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
