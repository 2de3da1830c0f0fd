"""Free energies of solvation of small molecules beside a log Z of every state without any flow.

The molecules of systems/solvation/ are run in vacuum, and `free_energy` takes them to the solvents
of NAME-states.yaml. Their references, in systems/reference/solvation.json, are absolute log Z by
quadrature or in the harmonic limit, made exact by weighted samples (`molecule_reference`).
"""

import math
from collections.abc import Sequence
from pathlib import Path

from onestep_md import pipeline
from onestep_md.analysis.records.folder import RESULTS
from onestep_md.analysis.records.free_energies import FreeEnergies
from onestep_md.benchmark.molecule_reference import (
    add_reference,
    compute_log_z,
    known_references,
)
from onestep_md.benchmark.state_reference import (
    SEED,
    Compared,
    comparison_lines,
    compute_in_states,
    explore_state,
    reference_config,
)
from onestep_md.config import load_config, load_states
from onestep_md.estimators.estimate import Estimate
from onestep_md.files import write_text
from onestep_md.free_energy.states import OWN
from onestep_md.kinds.molecule import load_molecule_target
from onestep_md.progress import Display
from onestep_md.stages import open_pool

_DURATION = 30.0  # ps of dynamics, whose frames relax into the wells of every state


def states_file(system: Path) -> Path:
    """Return the file of the other states of a molecule."""
    return system.with_name(f"{system.stem}-states.yaml")


def make_solvation_references(systems: Sequence[Path], path: Path) -> None:
    """Add log Z of all states of the molecules that are not in `path` yet."""
    display = Display()
    for system in systems:
        if system.stem not in known_references(path):
            add_reference(path, system.stem, _make_reference(system, display))


def _make_reference(system: Path, display: Display) -> dict:
    """Compute log Z of every state, in wells that dynamics of the file's own state has visited."""
    config = reference_config(system, [], _DURATION)
    frames = explore_state(OWN, load_molecule_target(config), config, SEED, display)
    rows = {}
    states = {OWN: [], **(load_states(states_file(system)) or {})}
    for number, (name, options) in enumerate(states.items()):
        changed = reference_config(system, options, _DURATION)
        # other samples for every state, so that the errors of two states are independent
        changed = changed.model_copy(update={"seed": SEED + number})
        target = load_molecule_target(changed)
        # Reference interprets the expressions of a CustomGBForce, ten times as slowly as CPU
        platform = "CPU" if "CustomGBForce" in target.fingerprint.solvent else "Reference"
        pool = open_pool(changed, [target], local=True, address=None, platform=platform)
        found = compute_log_z(changed, target.molecule, frames, pool, display)
        pool.close()
        rows[name] = found | {"identity": target.fingerprint.identity, "platform": platform}
        text = Estimate(found["value"], found["error"]).format("")
        display.say(f"{system.stem} {name}: log Z {text} ({found['method']})")
    return {"duration": _DURATION, "seed": SEED, "states": rows}


def measure_solvation(
    systems: Sequence[Path], references: Path, out: Path, seed: int | None
) -> list[str]:
    """Run the molecules that have not been run, take them to their states, and write out/table.md.

    Returns:
        Lines of the tables: absolute log Z and differences beside their references.
    """
    known = known_references(references)
    absolute, between = [], []
    for system in systems:
        folder = out / system.stem
        config = load_config(system, [], seed)
        if not (folder / RESULTS).exists():
            resume = (folder / "config.yaml").exists()
            pipeline.run({system.stem: config}, folder, resume, local=True, address=None)
        free = folder / "free-energies"
        results = compute_in_states(folder, states_file(system), free, 0, local=True)
        theirs = {
            name: Estimate(row["value"], row["error"])
            for name, row in known[system.stem]["states"].items()
        }
        absolute += compare_log_z(system.stem, results, theirs)
        between += compare_differences(system.stem, results, theirs)
    lines = [
        *comparison_lines(absolute, "log Z"),
        "",
        *comparison_lines(between, "Delta F (kT)"),
    ]
    write_text(out / "table.md", "\n".join(lines) + "\n")
    return lines


def compare_log_z(
    molecule: str, results: FreeEnergies, theirs: dict[str, Estimate]
) -> list[Compared]:
    """Compare the absolute log Z of every state."""
    return [
        Compared(f"{molecule}: {state.name}", state.log_z, state.used or "-", theirs[state.name])
        for state in results.states
    ]


def compare_differences(
    molecule: str, results: FreeEnergies, theirs: dict[str, Estimate]
) -> list[Compared]:
    """Compare F of every state less that of the one before it."""
    rows = []
    for first, second in zip(results.states, results.states[1:], strict=False):
        a, b = theirs[first.name], theirs[second.name]
        reference = Estimate(a.value - b.value, math.hypot(a.error, b.error))
        rows.append(
            Compared(
                f"{molecule}: {first.name} -> {second.name}",
                results.difference(first.name, second.name),
                second.used or "-",
                reference,
            )
        )
    return rows
