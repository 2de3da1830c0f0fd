"""The first stages of a run: its target, evaluators for it, and what is explored of it.

Called by `pipeline` for one target and by `transfer` for several.
"""

import functools
import json
import time
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.torsions import find_torsions, region_membership, torsion_angles
from onestep_md.config import Config
from onestep_md.coordinates.molecule import internal_coordinates, isomers_of
from onestep_md.distributed.pool import EvaluatorFactory, Evaluators, open_evaluators
from onestep_md.errors import TargetError
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.from_energy import anneal_target
from onestep_md.exploration.replica_exchange import explore
from onestep_md.files import write_json
from onestep_md.progress import Display
from onestep_md.sampling.model import Target, exploration_key
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.density_target import load_density
from onestep_md.targets.evaluator import PotentialEvaluator, time_platforms
from onestep_md.targets.molecule import Molecule, load_molecule
from onestep_md.targets.several import SeveralPotentials

_PUCKERED = 0.35  # rad; the largest torsion of a ring that is not flat


def load_target(config: Config) -> Target:
    """The target; torsions and regions are tried out before anything expensive starts."""
    if config.target.kind != "molecule":
        return load_density(config.target, config.folder)
    molecule = load_molecule(config.target, config.folder, config.target.trust)
    if config.flow.base == "gaussian" and molecule.constraints:
        raise TargetError(
            "flow.base: gaussian moves every atom, and this molecule has "
            f"{len(molecule.constraints)} bonds of fixed length. Use target.constraints: none, or "
            "flow.base: molecule."
        )
    torsions = find_torsions(molecule.pdb_text, config.sample.torsions)
    angles = torsion_angles(molecule.positions[None], list(torsions.values()))
    region_membership(angles, list(torsions), config.regions)
    return molecule


def open_pool(
    config: Config,
    target: Target | tuple[Molecule, ...],
    local: bool,
    address: str | None,
    platform: str | None = None,
) -> Evaluators:
    """Evaluators as the configuration asks for them.

    Those of several molecules are for `distributed.shared`. `platform` is what `auto` has chosen
    before: timed again it might choose another one, whose energies have other last digits.
    """
    one = target[0] if isinstance(target, tuple) else target
    if isinstance(one, Molecule):
        if config.cluster.platform != "auto":
            platform = config.cluster.platform
        platform = platform or time_platforms(one).name
    else:
        platform = "torch"
    workers = None if config.cluster.evaluators == "auto" else config.cluster.evaluators
    factory = factory_of(target, platform)
    if not local:  # takes some seconds, on a busy machine more
        print(f"starting evaluators on Ray{f' at {address}' if address else ''}", flush=True)
    return open_evaluators(factory, platform, workers, local, address, config.cluster.patience)


def factory_of(target: Target | tuple[Molecule, ...], platform: str) -> EvaluatorFactory:
    """What makes an evaluator, in the process where it is called."""
    if isinstance(target, tuple):
        return functools.partial(SeveralPotentials, target, platform)
    if isinstance(target, Molecule):
        return functools.partial(PotentialEvaluator, target, platform)
    return functools.partial(DensityEvaluator, target.build)


def explore_molecule(
    config: Config, molecule: Molecule, evaluators: Evaluators, display: Display
) -> Exploration:
    """Replica exchange of the isomer that the input geometry is."""
    coordinates = internal_coordinates(molecule)

    def inside(x: np.ndarray) -> np.ndarray:
        # a copy: arrays that come from Ray are read-only
        return coordinates.in_domain(torch.tensor(x)).numpy()

    return explore(
        molecule,
        evaluators,
        config.dynamics,
        config.seed,
        inside,
        isomers_of(molecule).turning,
        display.advance,
    )


def unflipped_rings(molecule: Molecule, frames: np.ndarray) -> list[str]:
    """Warnings of puckered rings that are never the other way round in frames (n, atoms, 3)."""
    found, rings = [], isomers_of(molecule).rings
    for ring in rings:
        if any(len(set(ring) & set(other)) > 2 for other in rings if other != ring):
            continue  # a bridge keeps it as it is
        quads = [tuple(ring[(k + m) % len(ring)] for m in range(4)) for k in range(len(ring))]
        ours, theirs = (torsion_angles(x, quads) for x in (molecule.positions[None], frames))
        size = (ours**2).sum()
        if np.abs(ours).max() > _PUCKERED and (theirs @ ours[0] > -0.5 * size).all():
            names = "-".join(molecule.atom_names[i] for i in ring)
            found.append(
                f"dynamics never flipped the ring {names}. If its other shapes are not far up in "
                "energy, they are missing: explore for longer, or with exploration.method: "
                "annealing, which starts from more of them."
            )
    return found


def describe(target: Target) -> list[str]:
    """Lines that tell what is sampled, for printing."""
    lines = target.fingerprint.lines()
    if isinstance(target, Molecule):
        lines.append(f"{'isomers':<14}{isomers_of(target).line()}")
    return lines


def explored(
    config: Config,
    target: Target,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
) -> tuple[Exploration, float]:
    """Replica exchange or annealing, or its cached result; also the seconds that it took."""
    cache, key = folder / "exploration.npz", exploration_key(config, target)
    clock = folder / "exploration.json"
    if cache.exists():
        display.say(f"exploration: reusing {cache.name}")
        seconds = json.loads(clock.read_text())["seconds"] if clock.exists() else 0.0
        return Exploration.load(cache, key), seconds
    start = time.monotonic()
    display.start("exploration")
    if config.exploration.method == "dynamics":
        exploration = explore_molecule(config, target, evaluators, display)
    else:
        exploration = anneal_target(config, target, evaluators, display)
    display.stop()
    seconds = time.monotonic() - start
    exploration.save(cache, key)
    write_json(clock, {"seconds": seconds})
    for text in evaluators.gaps.warnings():
        display.say(f"WARNING {text}")
    display.say(
        f"exploration: {len(exploration.frames)} frames, {exploration.evaluations:.3g} energy "
        f"evaluations in {seconds:.0f} s"
    )
    if config.exploration.method == "dynamics":
        accepted = " ".join(f"{100 * rate:.0f} %" for rate in exploration.exchange_acceptance)
        display.say(f"exchanges accepted: {accepted}")
        for text in unflipped_rings(target, exploration.frames):
            display.say(f"WARNING {text}")
    return exploration, seconds
