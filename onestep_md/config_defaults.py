"""Defaults that depend on the kind of the target; the others stand beside their keys."""

_STEP_SHARES = (2.0, 1.0, 1.0, 1.0)  # of K = 1, 2, 4, 8 among the batches


def defaults_of_kind(
    kind: str, temperature: float | None, coordinates: str, base: str | None
) -> dict[str, dict[str, object]]:
    """Section -> key -> value.

    Args:
        kind: of the target.
        temperature: of a molecule, in K.
        coordinates: that the flow acts on.
        base: of a molecule in cartesian coordinates.
    """
    network = {"network": "egnn"} if coordinates == "cartesian" else {}
    if kind != "molecule":
        # The particles of an annealing are many independent samples, so their likelihood counts;
        # but a part of the density may be missed, and few chains find it faster than many.
        train = {
            "steps": 2000, "batch": 512, "regression_batch": 512, "likelihood_weight": 1.0,
            "buffer": 1024,
        }  # fmt: skip
        train["step_shares"] = (1.0, 1.0, 1.0, 1.0) if coordinates == "flat" else _STEP_SHARES
        return {
            "flow": {"coordinates": coordinates} | network,
            "train": train,
            "exploration": {"method": "annealing"},
            "sample": {"auxiliaries": 8 if coordinates == "cartesian" else 1},
        }
    # Frames of a trajectory are correlated, few of them independent: their likelihood may only
    # steer.
    train = {
        "steps": 1200, "batch": 1024, "regression_batch": 256, "likelihood_weight": 0.1,
        "buffer": 8192, "step_shares": _STEP_SHARES,
    }  # fmt: skip
    return {
        "flow": {"coordinates": coordinates} | network,
        "train": train,
        "exploration": {"method": "dynamics", "temperatures": _temperatures(temperature)},
        "sample": {"auxiliaries": 8 if base == "gaussian" else 1},
    }


def _temperatures(lowest: float, n: int = 6) -> tuple[float, ...]:
    """Ladder of replica exchange in K, up to where torsions turn freely."""
    ratio = max(1000.0 / lowest, 2.0)
    return (lowest, *(round(lowest * ratio ** (i / (n - 1)), 2) for i in range(1, n)))
