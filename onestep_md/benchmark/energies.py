"""Energies with gradients per second of CPU time: platforms of OpenMM beside batches by torch.

CPU time of one thread, so that other work on the machine counts little; the best of some rounds.
"""

import time
from pathlib import Path

import numpy as np

from onestep_md.config import Config, load_config, load_states
from onestep_md.run_folder import machine, machine_line
from onestep_md.targets.molecule import load_molecule
from onestep_md.targets.platforms import make_evaluator

PLATFORMS = ("Reference", "CPU", "torch")
BATCH = 256
_ROUNDS = 3
_LONG = 1.0  # s of a round; conformations are fewer where one energy takes long


def measure_energies(systems: Path) -> list[str]:
    """Measure all molecules, and format a table in Markdown.

    Args:
        systems: folder of the YAML files.
    """
    lines = [
        machine_line(machine()),
        "",
        f"| molecule | atoms | {' | '.join(PLATFORMS)} | torch, largest difference of u |",
        "|---|---|---|---|---|---|",
    ]
    for name, config in _configs(systems).items():
        molecule = load_molecule(config.molecule, config.folder)
        noise = np.random.default_rng(0).normal(0.0, 0.003, (BATCH, *molecule.positions.shape))
        x = molecule.positions + noise
        evaluators = [make_evaluator(molecule, platform) for platform in PLATFORMS]
        rates = [f"{_rate(evaluator, x):,.0f}" for evaluator in evaluators]
        u, found = (evaluators[k].evaluate(x[:32])[0] for k in (0, -1))
        atoms, worst = len(molecule.elements), np.abs(u - found).max()
        lines.append(f"| {name} | {atoms} | {' | '.join(rates)} | {worst:.0e} kT |")
    return lines


def _configs(systems: Path) -> dict[str, Config]:
    """Read the molecules by the names of their rows."""
    alanine = systems / "alanine.yaml"
    states = load_states(systems / "alanine-states.yaml") or {}
    return {
        "alanine, vacuum": load_config(alanine, states["vacuum"]),
        "alanine, OBC2": load_config(alanine),
        "alanine, OBC1 by expressions": load_config(systems / "alanine-ff96.yaml"),
        "alanine, GBn2 by expressions": load_config(alanine, states["ff14SB-GBn2"]),
        "trialanine, OBC2": load_config(systems / "trialanine.yaml"),
        "paracyclophane, GAFF2, vacuum": load_config(systems / "molecules/paracyclophane.yaml"),
    }


def _rate(evaluator, x: np.ndarray) -> float:
    """Evaluations per second of CPU time."""
    pace = _cpu_seconds(evaluator, x[:8]) / 8
    x = x[: max(8, min(len(x), int(_LONG / pace)))]
    return len(x) / min(_cpu_seconds(evaluator, x) for _ in range(_ROUNDS))


def _cpu_seconds(evaluator, x: np.ndarray) -> float:
    started = time.process_time()
    evaluator.evaluate(x)
    return time.process_time() - started
