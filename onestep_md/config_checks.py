"""Mistakes in a configuration that involve several keys, found on already validated values.

Plain functions on plain values: a key that is itself wrong is simply absent, so the other checks
still run and all mistakes are reported together. Called by `config`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from onestep_md.config_source import Key, dotted
from onestep_md.config_types import suggest


def inconsistencies(values: Mapping[str, Mapping]) -> Iterator[tuple[Key, str]]:
    """Key and message of every mistake.

    Args:
        values: section -> key -> value, defaults filled in; what is wrong by itself is absent.
    """
    target, exploration = values.get("target", {}), values.get("exploration", {})
    if "forcefield" in target and "system" in target:
        yield from _check_source_of_energies(target)
    yield from _check_temperatures(exploration.get("temperatures", ()), target.get("temperature"))
    yield from _check_times(exploration)
    torsions = values.get("sample", {}).get("torsions")
    regions = values.get("regions")
    if torsions is not None and isinstance(regions, Mapping):
        yield from _check_regions(regions, torsions)


def _check_times(exploration: Mapping[str, float]) -> Iterator[tuple[Key, str]]:
    for shorter, longer in (
        ("timestep", "frame_interval"),
        ("frame_interval", "exchange_interval"),
        ("exchange_interval", "duration"),
        ("equilibration", "duration"),
    ):
        if shorter in exploration and longer in exploration:
            unit, ps = ("fs", 1e-3) if shorter == "timestep" else ("ps", 1.0)
            short, long = exploration[shorter], exploration[longer]
            if short * ps > long or (shorter == "equilibration" and short == long):
                yield (
                    ("exploration", shorter),
                    f"exploration.{shorter} = {short:g} {unit} is too long for "
                    f"exploration.{longer} = {long:g} ps.",
                )


def _check_source_of_energies(target: Mapping) -> Iterator[tuple[Key, str]]:
    forcefield, system = target["forcefield"], target["system"]
    if forcefield and system:
        message = "target.forcefield and target.system are both given; keep one of them."
        yield ("target", "system"), message
    if not forcefield and not system:
        yield (
            ("target", "forcefield"),
            "target.forcefield is missing. Give force-field files such as "
            "[amber99sbildn.xml, amber99_obc.xml], or target.system.",
        )
    if system and not forcefield and target.get("constraints") == "hbonds":
        message = 'target.constraints = "hbonds" has no effect on target.system; remove it.'
        yield ("target", "constraints"), message


def _check_temperatures(
    ladder: Sequence[float], target: float | None
) -> Iterator[tuple[Key, str]]:
    key = ("exploration", "temperatures")
    if len(ladder) == 1:
        yield key, f"exploration.temperatures = [{ladder[0]:g}], must have at least 2 entries."
    if ladder and target is not None and ladder[0] != target:
        yield (
            (*key, 0),
            f"exploration.temperatures[0] = {ladder[0]:g} K, must equal target.temperature = "
            f"{target:g} K.",
        )
    for i in range(1, len(ladder)):
        if ladder[i] <= ladder[i - 1]:
            message = f"= {ladder[i]:g} K, must be more than the {ladder[i - 1]:g} K before it."
            yield (*key, i), f"{dotted((*key, i))} {message}"


def _check_regions(
    regions: Mapping[str, Mapping], torsions: str | Mapping
) -> Iterator[tuple[Key, str]]:
    for region, ranges in regions.items():
        for name in ranges if isinstance(ranges, Mapping) else ():
            key = ("regions", region, name)
            if torsions == "auto" and not re.fullmatch(r"(phi|psi)(_-?\d+)?", name):
                yield (
                    key,
                    f"{dotted(key)}: no torsion `{name}`. With sample.torsions = auto there are "
                    "phi and psi, or phi_2, psi_2, ...; name any other under sample.torsions.",
                )
            elif torsions != "auto" and name not in torsions:
                known = ", ".join(torsions) or "none"
                hint = suggest(name, list(torsions)) or f". Known: {known}."
                yield key, f"{dotted(key)}: no torsion `{name}` in sample.torsions{hint}"
