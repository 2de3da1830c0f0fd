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
    kind: str,
    temperature: float | None,
    coordinates: str,
    base: str | None,
    method: str,
    n: int,
    regions: bool,
) -> dict[str, dict[str, object]]:
    """Section -> key -> value.

    Args:
        kind: of the target.
        temperature: of a molecule, in K.
        coordinates: that the flow acts on.
        base: of a molecule in cartesian coordinates.
        method: of training.
        n: samples drawn for every number of steps.
        regions: whether there are any.
    """
    equivariant = coordinates == "cartesian"
    make = _of_molecules if kind == "molecule" else _of_densities
    flow, train = make(equivariant)
    flow, train = _FLOW | flow | {"coordinates": coordinates}, _TRAIN | train
    if equivariant:
        flow["network"], train["learning_rate"] = "egnn", 2.5e-4
        train |= _EQUIVARIANT if method == "buffer" else {}
    exploration = {"method": default_exploration(kind, equivariant)}
    if kind == "molecule":
        exploration["temperatures"] = _temperatures(temperature)
    auxiliary = equivariant and (kind != "molecule" or base == "gaussian")
    sample = {
        "auxiliaries": 8 if auxiliary else 1,
        # a rare region hangs on a hundredth of the samples
        "n_one_step": 10 * n if regions and not equivariant else n,
    }
    return {"exploration": exploration, "flow": flow, "train": train, "sample": sample}


def _of_densities(equivariant: bool) -> tuple[dict[str, object], dict[str, object]]:
    """Sections `flow` and `train`."""
    # The particles of an annealing are many independent samples, so their likelihood counts;
    # but a part of the density may be missed, and few chains find it faster than many.
    train = {
        "steps": 2000, "batch": 512, "regression_batch": 512, "likelihood_weight": 1.0,
        "buffer": 1024, "step_shares": _STEP_SHARES if equivariant else (1.0, 1.0, 1.0, 1.0),
    }  # fmt: skip
    flow = {"layers": 10, "width": 48} if equivariant else {}
    return flow, train


def _of_molecules(equivariant: bool) -> tuple[dict[str, object], dict[str, object]]:
    """Sections `flow` and `train`."""
    # Frames of a trajectory are correlated, few of them independent: their likelihood may only
    # steer.
    train = {
        "steps": 1200, "batch": 1024, "regression_batch": 256, "likelihood_weight": 0.1,
        "buffer": 8192, "step_shares": _STEP_SHARES,
    }  # fmt: skip
    if not equivariant:
        return {}, train
    train |= {
        "batch": 512, "regression_batch": 64, "buffer": 2048, "step_shares": (8.0, 1.0, 1.0, 0.0)
    }  # fmt: skip
    return {"layers": 6, "width": 32}, train


def default_exploration(kind: str, equivariant: bool) -> str:
    """exploration.method of a kind of target."""
    return "dynamics" if kind == "molecule" and not equivariant else "annealing"


def _temperatures(lowest: float, n: int = 6) -> tuple[float, ...]:
    """Ladder of replica exchange in K, up to where torsions turn freely."""
    ratio = max(1000.0 / lowest, 2.0)
    return (lowest, *(round(lowest * ratio ** (i / (n - 1)), 2) for i in range(1, n)))
