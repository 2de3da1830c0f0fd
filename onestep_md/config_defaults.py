"""Defaults that depend on the kind of the target; the others stand beside their keys."""

_STEP_SHARES = (2.0, 1.0, 1.0, 1.0)  # of K = 1, 2, 4, 8 among the batches
_FLOW = {"layers": 8, "width": 96}
_TRAIN = {
    "learning_rate": 1e-3, "pretraining": 0, "flow_weight": 0.01, "state_weight": 0.1,
    "volume_weight": 0.02,
}  # fmt: skip
# Equivariant networks are dear, and learn best and cheapest by the likelihood of many independent
# samples. At 7e-4 some runs of molecules diverged after hundreds of steps.
_EQUIVARIANT = {
    "pretraining": 3000, "steps": 60, "flow_weight": 0.0, "state_weight": 0.0,
    "volume_weight": 0.0,
}  # fmt: skip


def defaults_of_kind(
    kind: str, temperature: float | None, coordinates: str, base: str | None, method: str
) -> dict[str, dict[str, object]]:
    """Section -> key -> value.

    Args:
        kind: of the target.
        temperature: of a molecule, in K.
        coordinates: that the flow acts on.
        base: of a molecule in cartesian coordinates.
        method: of training.
    """
    make = _of_molecules if kind == "molecule" else _of_densities
    defaults = make(coordinates == "cartesian")
    flow = _FLOW | defaults["flow"] | {"coordinates": coordinates}
    train = _TRAIN | defaults["train"]
    if coordinates == "cartesian":
        flow["network"], train["learning_rate"] = "egnn", 2.5e-4
        train |= _EQUIVARIANT if method == "buffer" else {}
    auxiliary = coordinates == "cartesian" and (kind != "molecule" or base == "gaussian")
    if kind == "molecule":
        defaults["exploration"] |= {"temperatures": _temperatures(temperature)}
    sample = {"auxiliaries": 8 if auxiliary else 1}
    return defaults | {"flow": flow, "train": train, "sample": sample}


def _of_densities(equivariant: bool) -> dict[str, dict[str, object]]:
    # The particles of an annealing are many independent samples, so their likelihood counts;
    # but a part of the density may be missed, and few chains find it faster than many.
    train = {
        "steps": 2000, "batch": 512, "regression_batch": 512, "likelihood_weight": 1.0,
        "buffer": 1024, "step_shares": _STEP_SHARES if equivariant else (1.0, 1.0, 1.0, 1.0),
    }  # fmt: skip
    flow = {"layers": 10, "width": 48} if equivariant else {}
    return {"flow": flow, "train": train, "exploration": {"method": "annealing"}}


def _of_molecules(equivariant: bool) -> dict[str, dict[str, object]]:
    # Frames of a trajectory are correlated, few of them independent: their likelihood may only
    # steer.
    train = {
        "steps": 1200, "batch": 1024, "regression_batch": 256, "likelihood_weight": 0.1,
        "buffer": 8192, "step_shares": _STEP_SHARES,
    }  # fmt: skip
    if not equivariant:
        return {"flow": {}, "train": train, "exploration": {"method": "dynamics"}}
    train |= {
        "batch": 512, "regression_batch": 64, "buffer": 2048, "step_shares": (8.0, 1.0, 1.0, 0.0)
    }  # fmt: skip
    flow = {"layers": 6, "width": 32}
    return {"flow": flow, "train": train, "exploration": {"method": "annealing"}}


def _temperatures(lowest: float, n: int = 6) -> tuple[float, ...]:
    """Ladder of replica exchange in K, up to where torsions turn freely."""
    ratio = max(1000.0 / lowest, 2.0)
    return (lowest, *(round(lowest * ratio ** (i / (n - 1)), 2) for i in range(1, n)))
