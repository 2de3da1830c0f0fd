"""The choice between estimates of log Z of a state, with a verdict in words."""

from dataclasses import dataclass

from onestep_md.analysis.records.free_energies import BridgeResult, Level
from onestep_md.estimators.estimate import Estimate, disagree, no_estimate
from onestep_md.estimators.states import Method, Reweighted, bridge_trouble

MOST_MISSING = 0.5  # fraction of samples without an energy; above it a state is not judged


@dataclass(frozen=True)
class Choice:
    """The estimate to use and a sentence on it."""

    used: Method | None
    log_z: Estimate
    level: Level
    verdict: str


def can_bridge(direct: Reweighted) -> bool:
    """Whether enough samples have an energy in a state for a bridge to start."""
    return direct.missing <= MOST_MISSING * direct.n


def judge_state(direct: Reweighted, mbar: Estimate, bridge: BridgeResult | None) -> Choice:
    """Choose between the estimates of log Z of one state."""
    if not can_bridge(direct):
        why = (
            f"{direct.missing:,} of {direct.n:,} samples have no finite energy or no density "
            "here; check that the state has the geometry and the atoms of the run"
        )
        return Choice(None, no_estimate(why), "not determined", f"not determined: {why}.")
    if bridge is None:
        if not direct.reliable:
            why = direct.doubt
            return Choice(None, no_estimate(why), "not determined", f"not determined: {why}.")
        if disagree(direct.log_z, mbar):
            text = "usable with care: MBAR with the held-out frames of the run disagrees."
            return Choice("reweighting", direct.log_z, "care", text)
        return Choice("reweighting", direct.log_z, "good", "good: the samples overlap.")
    trouble = bridge_trouble(bridge.acceptance, bridge.log_z, bridge.founders)
    if trouble:
        if direct.reliable and not disagree(direct.log_z, bridge.log_z):
            text = f"by reweighting; the bridge fails: {trouble}."
            return Choice("reweighting", direct.log_z, "care", text)
        return Choice(None, no_estimate(trouble), "not determined", f"not determined: {trouble}.")
    if not disagree(direct.log_z, bridge.log_z):
        return Choice("bridge", bridge.log_z, "good", "good: by the bridge; reweighting agrees.")
    if direct.reliable:
        text = (
            f"reweighting ({direct.log_z.format('')}) and the bridge ({bridge.log_z.format('')}) "
            "disagree: believe the bridge, whose particles have moved in this state."
        )
        return Choice("bridge", bridge.log_z, "care", text)
    text = "good: by the bridge; the samples of the flow hardly overlap with this state."
    return Choice("bridge", bridge.log_z, "good", text)
