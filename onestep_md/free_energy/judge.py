"""Which estimate of log Z of a state is used, and what is said of it."""

from dataclasses import dataclass

from onestep_md.analysis.records.free_energies import BridgeFound, Level
from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.estimators.states import Method, Reweighted, bridge_trouble, disagree

MOSTLY = 0.5  # of the samples that have no energy; above it a state is not judged by the others


@dataclass(frozen=True)
class Judged:
    """The estimate to use and a sentence on it."""

    used: Method | None
    log_z: Estimate
    level: Level
    verdict: str


def can_bridge(found: Reweighted) -> bool:
    """Whether enough samples have an energy in a state for a bridge to start."""
    return found.missing <= MOSTLY * found.n


def judge_state(found: Reweighted, mbar: Estimate, bridge: BridgeFound | None) -> Judged:
    """Choose between the estimates of log Z of one state."""
    if not can_bridge(found):
        why = (
            f"{found.missing:,} of {found.n:,} samples have no finite energy or no density here; "
            "check that the state has the geometry and the atoms of the run"
        )
        return Judged(None, no_estimate(why), "not determined", f"not determined: {why}.")
    if bridge is None:
        if not found.reliable:
            why = found.doubt
            return Judged(None, no_estimate(why), "not determined", f"not determined: {why}.")
        if disagree(found.log_z, mbar):
            text = "usable with care: MBAR with the held-out frames of the run disagrees."
            return Judged("reweighting", found.log_z, "care", text)
        return Judged("reweighting", found.log_z, "good", "good: the samples overlap.")
    trouble = bridge_trouble(bridge.acceptance, bridge.log_z, bridge.founders)
    if trouble:
        if found.reliable and not disagree(found.log_z, bridge.log_z):
            text = f"by reweighting; the bridge fails: {trouble}."
            return Judged("reweighting", found.log_z, "care", text)
        return Judged(None, no_estimate(trouble), "not determined", f"not determined: {trouble}.")
    if not disagree(found.log_z, bridge.log_z):
        return Judged("bridge", bridge.log_z, "good", "good: by the bridge; reweighting agrees.")
    if found.reliable:
        text = (
            f"reweighting ({found.log_z.format('')}) and the bridge ({bridge.log_z.format('')}) "
            "disagree: believe the bridge, whose particles have moved in this state."
        )
        return Judged("bridge", bridge.log_z, "care", text)
    text = "good: by the bridge; the samples of the flow hardly overlap with this state."
    return Judged("bridge", bridge.log_z, "good", text)
