"""Free energies between states of a molecule without any flow: replica exchange and MBAR.

States are explored by a replica exchange each, and the frames of all together give their
differences (Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008)). States whose solvent is a
custom force, ten times slower, have no frames of their own. States in vacuum are led to by scaling
the solvent: charges by sqrt(l), which multiplies the generalized Born energy by l, and the surface
energy by l. Temperatures are those of one ladder. Time steps are half of those of runs: at 2 fs
the mean energy is off by 0.1 to 0.2 kT, which shows along temperature.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm

from onestep_md.analysis.records.free_energies import FreeEnergies
from onestep_md.benchmark.reference import identify
from onestep_md.config import Config, load_config, load_states
from onestep_md.estimators.correlation import import_pymbar, statistical_inefficiency, thin
from onestep_md.estimators.estimate import Estimate, z_score
from onestep_md.estimators.ladder import average_ladder
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.from_dynamics import explore_molecule
from onestep_md.files import write_json
from onestep_md.free_energy.compute import Settings
from onestep_md.free_energy.run import compute_free_energies
from onestep_md.free_energy.states import OWN
from onestep_md.kinds.molecule import MoleculeTarget, load_molecule_target
from onestep_md.progress import Display
from onestep_md.stages import open_pool
from onestep_md.targets.molecule import KB

SEED = 20261201  # not the seed of any run
LADDER = 3  # times as long as a state: all temperatures hang on one ladder
_SAMPLES = 10_000  # one-step samples of a comparison
SCALES = (0.25, 0.5, 0.75)  # of the solvent, between vacuum and the run's own state


@dataclass(frozen=True)
class _State:
    """A state: its name in the table, its configuration and its target."""

    name: str
    config: Config
    target: MoleculeTarget


@dataclass(frozen=True)
class Compared:
    """An estimate for a state, the method it is by, and its reference."""

    name: str
    ours: Estimate
    method: str
    theirs: Estimate

    @property
    def z(self) -> float:
        """Difference in combined errors; nan where one of the two is not known."""
        return z_score(self.ours, self.theirs)


def write_state_reference(system: Path, states: Path, path: Path, duration: float) -> None:
    """Explore every state and write log Z of each less that of the system's own as JSON.

    Args:
        system: YAML file of the molecule.
        states: YAML file of its other states.
        path: file to write.
        duration: simulated time of each replica of each state, ps.
    """
    display = Display()
    config = reference_config(system, [], duration)
    changes = load_states(states) or {}
    warm = {name: options for name, options in changes.items() if _changes_temperature(options)}
    found = _along_temperature(system, config, warm, LADDER * duration, display)
    chosen = [_State(OWN, config, load_molecule_target(config))]
    for name, options in changes.items():
        if name not in warm:
            changed = reference_config(system, options, duration)
            chosen.append(_State(name, changed, load_molecule_target(changed)))
    if any(state.target.fingerprint.solvent == "vacuum" for state in chosen[1:]):
        chosen += [_scale_solvent(chosen[0], scale) for scale in SCALES]
    found |= _by_mbar(chosen, display)
    write_json(
        path,
        {
            "fingerprint": identify(chosen[0].target.molecule),
            "exploration": config.exploration.model_dump(mode="json"),
            "seed": SEED,
            "states": {
                name: {"delta_log_z": e.value, "error": e.error} for name, e in found.items()
            },
        },
    )


def compare_states(run: Path, states: Path, path: Path, out: Path, seed: int) -> list[str]:
    """Compute the free energies of a run in all states, and format them beside their references.

    Args:
        run: folder of a finished run of the molecule.
        states: YAML file of its other states.
        path: file of the references.
        out: folder to write into; a comparison that is in it goes on.
        seed: seed of the samples and bridges.
    """
    results = compute_in_states(run, states, out, seed, local=False)
    known = {
        name: Estimate(-row["delta_log_z"], row["error"])
        for name, row in json.loads(path.read_text())["states"].items()
    }
    rows = [
        Compared(state.name, state.delta_f, state.used or "-", known[state.name])
        for state in results.states
        if state.name in known
    ]
    return comparison_lines(rows, "Delta F (kT)")


def compute_in_states(run: Path, states: Path, out: Path, seed: int, local: bool) -> FreeEnergies:
    """Compute the free energies of a run in the states of a file, as the command does by default.

    Args:
        run, states, out, seed: as of `compare_states`.
        local: compute energies in this process, without Ray.
    """
    settings = Settings(seed, bridge="auto", particles=2000, moves=4)
    return compute_free_energies(
        run, [states], {}, [], _SAMPLES, settings, out,
        resume=out.exists(), local=local, address=None, trust=False,
    )  # fmt: skip


def comparison_lines(rows: Sequence[Compared], quantity: str) -> list[str]:
    """Format estimates beside their references, and the mean of z^2."""
    lines = [f"| state | {quantity} | by | reference | z |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.ours.format('')} | {row.method} | {row.theirs.format('')} | "
        f"{row.z:+.1f} |"
        for row in rows
    ]
    squares = np.square([row.z for row in rows if np.isfinite(row.z)])
    if len(squares):
        lines += ["", f"{len(squares)} states, mean of z^2 {squares.mean():.2f}"]
    return lines


def reference_config(system: Path, options: Sequence[str], duration: float) -> Config:
    """Read a YAML file with changed keys and a replica exchange of `duration` ps."""
    exploration = {
        "method": "dynamics",
        "duration": duration,
        "equilibration": 20.0,
        "frame_interval": 0.2,
        "timestep": 1.0,
    }
    settings = [f"exploration.{key}={value}" for key, value in exploration.items()]
    return load_config(system, [*settings, *options], SEED)


def _changes_temperature(options: Sequence[str]) -> bool:
    """Whether a state has another temperature and nothing else."""
    return len(options) == 1 and options[0].startswith("target.temperature=")


def _by_mbar(states: Sequence[_State], display: Display) -> dict[str, Estimate]:
    """Explore the states, and estimate log Z less that of the first from all frames."""
    frames: dict[int, Exploration] = {
        k: explore_state(state.name, state.target, state.config, SEED + k, display)
        for k, state in enumerate(states)
        if "Custom" not in state.target.fingerprint.solvent
    }
    x = np.concatenate([explored.frames for explored in frames.values()])
    rows = np.stack([_evaluate(state, x) for state in states])
    kept, counts, first = [], np.zeros(len(states), dtype=int), 0
    for k, explored in frames.items():
        n = len(explored.u)
        own = rows[:, first : first + n]
        g = max(statistical_inefficiency(row - own[k], explored.replica) for row in own)
        kept.append(first + thin(n, g, explored.replica))
        counts[k], first = len(kept[-1]), first + n
        display.say(f"{states[k].name}: {counts[k]} independent frames, g {g:.1f}")
    rows = rows[:, np.concatenate(kept)]
    lowest = rows.min(axis=1, keepdims=True)
    free = import_pymbar().MBAR(rows - lowest, counts).compute_free_energy_differences()
    values = -free["Delta_f"][0] - (lowest - lowest[0])[:, 0]
    return {
        state.name: Estimate(float(values[k]), float(free["dDelta_f"][0, k]))
        for k, state in enumerate(states)
        if k
    }


def _evaluate(state: _State, x: np.ndarray) -> np.ndarray:
    pool = open_pool(state.config, [state.target], local=True, address=None)
    u, _ = pool.evaluate(x)
    pool.close()
    return u


def explore_state(
    name: str, target: MoleculeTarget, config: Config, seed: int, display: Display
) -> Exploration:
    """Explore a state by replica exchange, in this process."""
    config = config.model_copy(update={"seed": seed})
    pool = open_pool(config, [target], local=True, address=None)
    display.start(name)
    explored = explore_molecule(config, target.molecule, pool, display)
    display.stop()
    pool.close()
    return explored


def _along_temperature(
    system: Path, config: Config, warm: dict[str, list[str]], duration: float, display: Display
) -> dict[str, Estimate]:
    """Explore one ladder that holds all temperatures."""
    if not warm:
        return {}
    own = config.molecule.temperature
    kelvin = {name: float(options[0].partition("=")[2]) for name, options in warm.items()}
    hotter = [t for t in config.dynamics.temperatures if t > max(kelvin.values())]
    ladder = sorted({own, *kelvin.values(), *hotter[:1]})
    options = [f"target.temperature={ladder[0]}", f"exploration.temperatures={ladder}"]
    coldest = reference_config(system, options, duration)
    target = load_molecule_target(coldest)
    explored = explore_state("temperatures", target, coldest, SEED, display)
    points = average_ladder(explored.ladder_u, explored.temperatures, own, [*kelvin.values()], KB)
    for point in points:
        difference = point.delta_log_z.format("")
        display.say(f"{point.temperature:g} K: log Z less that at {own:g} K {difference}")
    return {name: point.delta_log_z for name, point in zip(kelvin, points, strict=True)}


def _scale_solvent(own: _State, scale: float) -> _State:
    """Make the state with the implicit solvent of another, weaker by a factor; OBC alone."""
    system = openmm.XmlSerializer.deserialize(own.target.molecule.system_xml)
    for force in system.getForces():
        if isinstance(force, openmm.GBSAOBCForce):
            force.setSurfaceAreaEnergy(scale * force.getSurfaceAreaEnergy())
            for atom in range(force.getNumParticles()):
                charge, radius, screening = force.getParticleParameters(atom)
                force.setParticleParameters(atom, charge * scale**0.5, radius, screening)
    molecule = dataclasses.replace(
        own.target.molecule, system_xml=openmm.XmlSerializer.serialize(system)
    )
    return _State(f"{scale:g} of the solvent", own.config, MoleculeTarget(molecule))
