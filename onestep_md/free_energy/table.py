"""The tables of free energies and of thermodynamics, as lines of text."""

from onestep_md.analysis.records.free_energies import FreeEnergies, StateResult
from onestep_md.analysis.records.thermodynamics import AlongTemperature
from onestep_md.estimators.estimate import ESS_NOTE, Estimate, percent_text, z_score
from onestep_md.estimators.thermodynamics import Thermodynamics

_KCAL = 4.184  # kJ
_VISIBLE = 0.05  # fraction of the error; a smaller bias is not mentioned
_PAIRS = 6  # states up to which all differences are listed


def free_energy_lines(results: FreeEnergies) -> list[str]:
    """Format one line per state, verdicts, and the differences of all pairs if they are few."""
    own, width = results.states[0].name, max(len(state.name) for state in results.states)
    lines = [
        f"free energies of {len(results.states)} states, relative to the run's own "
        f"({results.run}), from {results.samples:,} one-step samples",
        "",
        f"{'state':<{width}}  {'Delta F (kT)':>18}  {'kJ/mol':>18}  {'kcal/mol':>18}  "
        f"{'ESS':>15}  {'forward ESS':>13}  {'by':<11}  {'energies':>9}",
    ]
    for state in results.states:
        kJ, kcal = _in_units(state, results)
        forward = percent_text(state.bridge.forward_ess) if state.bridge else "-"
        reweighting = state.reweighting
        ess = Estimate(reweighting.ess, reweighting.ess_error)
        lines.append(
            f"{state.name:<{width}}  {state.delta_f.format(''):>18}  {kJ:>18}  {kcal:>18}  "
            f"{percent_text(ess, reweighting.ess_error_known):>15}  {forward:>13}  "
            f"{state.used or '-':<11}  {state.evaluations:>9,}"
        )
    lines.append("")
    lines += [f"{state.name:<{width}}  {state.verdict}" for state in results.states[1:]]
    lines += _log_z_lines(results, width)
    determined = [state.name for state in results.states if state.used]
    if 2 < len(determined) <= _PAIRS:
        lines += ["", "differences, in kT:"]
        pairs = [(a, b) for i, a in enumerate(determined) for b in determined[i + 1 :] if a != own]
        lines += [f"F({b}) - F({a}) = {results.difference(a, b).format()}" for a, b in pairs]
    return lines


def _in_units(state: StateResult, results: FreeEnergies) -> tuple[str, str]:
    """Format Delta F in kJ/mol and kcal/mol, if both states have the same temperature."""
    if results.kT is None or state.temperature != results.states[0].temperature:
        return "-", "-"
    value, error = state.delta_f.value * results.kT, state.delta_f.error * results.kT
    in_kJ, in_kcal = Estimate(value, error), Estimate(value / _KCAL, error / _KCAL)
    return in_kJ.format(""), in_kcal.format("")


def _log_z_lines(results: FreeEnergies, width: int) -> list[str]:
    """Format all estimates of log Z of every state."""
    lines = []
    for state in results.states:
        estimates = {"reweighting": state.reweighting.log_z, "MBAR": state.mbar}
        if state.bridge:
            estimates["bridge"] = state.bridge.log_z
        text = ", ".join(f"{name} {value.format('')}" for name, value in estimates.items())
        bias = state.reweighting.bias
        if -bias > _VISIBLE * state.reweighting.log_z.error:
            text += f"; the first is too low by about {-bias:.2g}, as logarithms of means are"
        lines.append(f"{state.name:<{width}}  log Z by {text}")
    if not all(state.reweighting.ess_error_known for state in results.states):
        lines += ["", ESS_NOTE]
    return ["", *lines]


def thermodynamics_lines(results: AlongTemperature) -> list[str]:
    """Format one line for the molecule at every temperature, and one for each of its regions."""
    first = results.temperatures[0]
    width = max(len(row.name) for row in (first.molecule, *first.regions))
    absolute = results.absolute
    lines = [
        "thermodynamics of the configurations, momenta left out: the molecule relative to that at "
        f"{results.own:g} K",
        f"(F {absolute.free_energy.format('')}, U {absolute.energy.format('')}, TS "
        f"{absolute.entropy.format('')} kJ/mol, lengths in nm), regions to the molecule at their "
        "temperature",
        "",
        f"{'T (K)':>7}  {'':<{width}}  {'F (kJ/mol)':>18}  {'U (kJ/mol)':>18}  "
        f"{'TS (kJ/mol)':>18}  {'C_v (J/mol/K)':>18}  {'effective':>9}  by",
    ]
    reasons = []
    for point in results.temperatures:
        kelvin = f"{point.temperature:g}"
        for row in (point.molecule, *point.regions):
            lines.append(
                f"{kelvin:>7}  {row.name:<{width}}  {_quantities(row)}  {row.effective:>9.1f}  "
                f"{point.used or '-'}"
            )
            reason = row.energy.reason or row.heat_capacity.reason
            if reason and (row is point.molecule or not point.molecule.energy.reason):
                reasons.append(f"{kelvin:>7}  {row.name:<{width}}  {reason}")
    lines += ["", "no estimate:", *reasons] if reasons else []
    return lines + _exchange_lines(results)


def _exchange_lines(results: AlongTemperature) -> list[str]:
    """Format the molecule beside the replica exchange of the run."""
    if not results.exchange:
        return []
    lines = [
        "",
        "the molecule by the flow and by the run's replica exchange (MBAR over its temperatures), "
        "z in combined errors; steps of 2 fs shift that U by 0.1 to 0.2 kT:",
        f"{'T (K)':>7}  {f'log Z less that at {results.own:g} K':^46}  {'U (kJ/mol)':^46}  "
        f"{'C_v (J/mol/K)':^46}",
    ]
    for row in results.exchange:
        capacity = [
            Estimate(1000.0 * c.value, 1000.0 * c.error, c.reason) for c in row.heat_capacity
        ]
        pairs = (row.delta_log_z, row.energy, capacity)
        lines.append(f"{row.temperature:>7g}  " + "  ".join(_beside(*pair) for pair in pairs))
    return lines


def _beside(flow: Estimate, exchange: Estimate) -> str:
    z = z_score(flow, exchange)
    return f"{flow.format(''):>18}  {exchange.format(''):>18}  {f'{z:+.1f}' if z == z else '-':>6}"


def _quantities(row: Thermodynamics) -> str:
    numbers = (row.free_energy, row.energy, row.entropy, _in_joule(row.heat_capacity))
    return "  ".join(f"{number.format(''):>18}" for number in numbers)


def _in_joule(number: Estimate) -> Estimate:
    return Estimate(1000.0 * number.value, 1000.0 * number.error, number.reason)
