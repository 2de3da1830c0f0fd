"""What a molecule is compared with in `benchmark molecules`: made slowly, with nothing trained.

Populations of its regions come from a replica exchange much longer than a run's. Log Z comes from
the harmonic limit with quadrature over the torsions that turn (`estimators/quadrature`) or, where
there are too many of them, from several annealings that started in all wells.
"""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.torsions import torsion_angles
from onestep_md.config import Annealing, Config
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.molecule import build_internal_coordinates, find_molecule_isomers
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.harmonic import harmonic_log_z
from onestep_md.estimators.quadrature import Coordinates, relax, torsion_quadrature
from onestep_md.estimators.weights import log_mean_weight, relative_weights
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.from_dynamics import explore_molecule
from onestep_md.exploration.from_energy import anneal_molecule
from onestep_md.files import write_json
from onestep_md.kinds.molecule import MoleculeTarget
from onestep_md.progress import Display
from onestep_md.results.molecule import dynamics_regions
from onestep_md.results.torsions import reported_torsions
from onestep_md.stages import open_pool
from onestep_md.targets.molecule import Molecule, load_molecule

SEED = 20261129  # not the seed of any run
_RIGID = 100.0  # ps, of a molecule without regions
_POINTS = {0: 1, 1: 48, 2: 24, 3: 12, 4: 8}  # of the grid, by the number of torsions that turn
_SAMPLES, _NUMBERS = 100_000, 1_000_000  # samples at least, and numbers that they consist of
_QUENCHED = 120  # frames of the dynamics that are relaxed to find the wells of rings
_APART = 0.3  # rad, between stiff torsions of different wells
_MOST_WELLS = 40
_LEAST_ESS = 0.05  # of the quadrature: below it, what was expanded says too little
_ANNEALINGS = 6  # independent ones: their spread is the error
_WIDTHS = {"length": 0.004, "angle": 0.06}  # nm and rad: how far a coordinate typically moves


def make_reference(config: Config, duration: float, display: Display) -> dict:
    """Regions by replica exchange of `duration` ps and log Z, ready for JSON."""
    start = time.monotonic()
    molecule = load_molecule(config.target, config.folder)
    config = config.changed(
        "exploration",
        method="dynamics",
        duration=duration if config.regions else min(duration, _RIGID),
        equilibration=20.0,
        frame_interval=0.2,
    ).model_copy(update={"seed": SEED})
    settings = config.dynamics
    targets = [MoleculeTarget(molecule)]
    fast = open_pool(config, targets, local=True, address=None)
    display.start("reference")
    frames = explore_molecule(config, molecule, fast, display)
    display.stop()
    # double precision: second derivatives are differences
    exact = open_pool(config, targets, local=True, address=None, platform="Reference")
    found = compute_log_z(config, molecule, frames, exact, display)
    return {
        "fingerprint": molecule.fingerprint.identity,
        "log_z": found,
        "dynamics": {"duration": settings.duration, "temperatures": list(settings.temperatures)},
        "regions": _regions(config, molecule, frames),
        "seed": SEED,
        "evaluations": fast.evaluations + exact.evaluations,
        "seconds": time.monotonic() - start,
    }


def is_of(reference: dict, config: Config, identity: str) -> bool:
    """Whether a reference is one of this target and of these regions."""
    theirs = {row["name"]: row["torsions"] for row in reference["regions"]}
    ours = {
        region: {name: list(pair) for name, pair in ranges.items()}
        for region, ranges in config.regions.items()
    }
    return reference["fingerprint"] == identity and theirs == ours


def known_references(path: Path) -> dict:
    """What `add_reference` has written, by the names of the molecules."""
    return json.loads(path.read_text()) if path.exists() else {}


def add_reference(path: Path, name: str, reference: dict) -> None:
    """Add the reference of a molecule to a file; others may be added meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(sorted((known_references(path) | {name: reference}).items())))


def _regions(config: Config, molecule: Molecule, frames: Exploration) -> list[dict]:
    if not config.regions:
        return []
    torsions = reported_torsions(config, molecule)
    angles = torsion_angles(frames.frames, list(torsions.values()))
    first = next(iter(config.regions))
    regions = dynamics_regions(config, list(torsions), angles, frames.replica, first)
    return [
        {
            "name": region.name,
            "torsions": {name: list(pair) for name, pair in config.regions[region.name].items()},
            "delta_f": region.delta_f.value,
            "d_delta_f": region.delta_f.error,
        }
        for region in regions
    ]


def compute_log_z(
    config: Config,
    molecule: Molecule,
    frames: Exploration,
    evaluators: Evaluators,
    display: Display,
) -> dict:
    """Compute log Z without any flow.

    Args:
        config: configuration of the state, with the seed of the samples.
        molecule: molecule in the state that log Z is of.
        frames: conformations whose relaxation finds the wells, of any state of the molecule.
        evaluators: energies of the state.
        display: where an annealing reports.

    Returns:
        Log Z, its error and how it was made, ready for JSON.
    """
    coordinates = build_internal_coordinates(molecule)
    turning = turning_torsions(molecule, coordinates)
    energy = InternalEnergy(coordinates, evaluators)
    known = _known(coordinates, turning)
    if len(turning) in _POINTS:
        wells = _wells(coordinates, energy, known, frames)
        if len(wells) <= _MOST_WELLS:
            points = _POINTS[len(turning)]
            generator = np.random.default_rng(config.seed)
            n = max(_SAMPLES, _NUMBERS // coordinates.dim)
            found = torsion_quadrature(energy, wells, known, points, n, generator)
            how = {
                "method": "quadrature" if len(turning) else "harmonic",
                "torsions": len(turning),
                "points": points,
                "wells": len(wells),
                "samples": n,
                "ess": found.ess,
            }
            # a line that rests at 179 degrees is quadratic nowhere near 180
            smooth = not (coordinates.straight.any() or molecule.constraints)
            if smooth and not len(turning) and len(wells) == 1:
                how["harmonic_limit"] = harmonic_limit(molecule, evaluators)
            if found.ess > _LEAST_ESS:
                return {"value": found.log_z.value, "error": found.log_z.error, **how}
    log_z = annealed_log_z(config, molecule, evaluators, display)
    how = {"method": "annealing", "annealings": _ANNEALINGS}
    return {"value": log_z.value, "error": log_z.error, **how}


def turning_torsions(molecule: Molecule, coordinates: InternalCoordinates) -> np.ndarray:
    """Columns of the torsions about bonds that turn."""
    bonds = {frozenset(bond) for bond in find_molecule_isomers(molecule).turning}
    members = coordinates.members.tolist()
    first = coordinates.n_bonds + coordinates.n_angles
    columns = [
        first + number
        for number, proper in enumerate(coordinates.torsion_proper.tolist())
        if proper and frozenset(members[first + number][1:3]) in bonds
    ]
    return np.array(columns, dtype=int)


class InternalEnergy:
    """F(q) = u(x(q)) - log|det dx/dq| and its gradient; inf and 0 outside of the coordinates."""

    def __init__(self, coordinates: InternalCoordinates, evaluators: Evaluators):
        self.coordinates, self.evaluators = coordinates, evaluators

    def __call__(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        states = torch.from_numpy(q).requires_grad_()
        x, log_det = self.coordinates.to_cartesian(states)
        u, grad_u = self.evaluators.evaluate(x.detach().numpy())
        inside = log_det.isfinite()
        work = (x * torch.from_numpy(grad_u)).flatten(1).sum(-1)
        (slope,) = torch.autograd.grad((work - torch.where(inside, log_det, 0.0)).sum(), states)
        f = u - log_det.detach().numpy()
        good = np.isfinite(f) & np.isfinite(slope.numpy()).all(-1)
        return np.where(good, f, np.inf), np.where(good[:, None], slope.numpy(), 0.0)


def _known(coordinates: InternalCoordinates, turning: np.ndarray) -> Coordinates:
    c = coordinates
    angular = np.zeros(c.dim, dtype=bool)
    angular[c.n_bonds + c.n_angles :] = c.periodic.numpy()
    length = np.arange(c.dim) < c.n_bonds
    length[c.n_bonds : c.n_bonds + c.n_angles] = c.closing.numpy()
    width = np.where(length, _WIDTHS["length"], _WIDTHS["angle"])
    return Coordinates(turning, angular, width)


def _wells(
    coordinates: InternalCoordinates,
    energy: InternalEnergy,
    known: Coordinates,
    frames: Exploration,
) -> np.ndarray:
    """One relaxed geometry of every well of the stiff coordinates, the deepest first."""
    chosen = np.linspace(0, len(frames.frames) - 1, _QUENCHED).astype(int)
    q = coordinates.from_cartesian(torch.from_numpy(frames.frames[chosen]))[0].numpy()
    f, _, _, q = relax(energy, q, known)
    q = q[np.argsort(f)][: np.isfinite(f).sum()]
    stiff = np.setdiff1d(np.flatnonzero(known.angular), known.turning)
    wells: list[np.ndarray] = []
    for one in q:
        away = [np.abs(known.difference(one, other)[stiff]).max(initial=0.0) for other in wells]
        if min(away, default=math.inf) > _APART:
            wells.append(one)
    return np.array(wells)


def harmonic_limit(molecule: Molecule, evaluators: Evaluators) -> float:
    """Log Z of the molecule in the harmonic limit, by Cartesian second derivatives."""
    x = molecule.positions.copy()
    step = 1e-5  # nm
    moves = step * np.eye(x.size).reshape(-1, *x.shape)
    for _ in range(4):  # Newton, since a PDB has three decimals
        _, up = evaluators.evaluate(x + moves)
        _, down = evaluators.evaluate(x - moves)
        hessian = (up - down).reshape(x.size, x.size) / (2.0 * step)
        hessian = 0.5 * (hessian + hessian.T)
        u, slope = evaluators.evaluate(x[None])
        # the least step: none along rigid motion, where the Hessian is zero
        x -= (np.linalg.pinv(hessian, rcond=1e-7) @ slope.ravel()).reshape(x.shape)
    return harmonic_log_z(float(u[0]), hessian.reshape(*x.shape, *x.shape), x)


def annealed_log_z(
    config: Config, molecule: Molecule, evaluators: Evaluators, display: Display
) -> Estimate:
    """Mean of Z over independent annealings; its error is their spread."""
    exploration = Annealing(particles=5000, moves=8, snapshots=1)
    values = []
    for again in range(_ANNEALINGS):
        update = {"exploration": exploration, "seed": SEED + again}
        values.append(
            anneal_molecule(config.model_copy(update=update), molecule, evaluators, display)
        )
    log_z = np.array([found.log_z for found in values])
    z = relative_weights(log_z)
    error = float(z.std(ddof=1) / z.mean() / math.sqrt(len(z)))
    return Estimate(log_mean_weight(log_z), error)
