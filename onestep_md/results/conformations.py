"""Numbers of a run that only molecules have: torsions, distances, isomers.

One-step samples, raw and reweighted, and the exploration that trained the flow are compared with
the held-out frames of the exploration.
"""

import numpy as np

from onestep_md.analysis.torsions import torsion_angles
from onestep_md.coordinates.molecule import find_molecule_isomers
from onestep_md.estimators.distances import TorsionComparison, TorsionSamples, compare_torsions
from onestep_md.estimators.histograms import histograms, pair_distances
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.model import Model
from onestep_md.targets.molecule import Molecule

_SHOWN = 10_000  # samples in histograms of distances, each of which has many
_PUCKERED = 0.35  # rad; the largest torsion of a ring that is not flat
# outside of the domain by log|det| alone
BEYOND_CHART = "a ring that does not close, or a bond or angle out of its range"


def compare_samples(
    samples: Samples,
    angles: np.ndarray,
    model: Model,
    explored: np.ndarray,
    explored_by: str,
    seed: int,
) -> dict[str, TorsionComparison]:
    """Compare raw, reweighted and explored samples with the held-out frames of the exploration.

    Args:
        samples: samples of the flow.
        angles: (n, torsions) their torsions, radians.
        model: holds the exploration.
        explored: (m, torsions) torsions of the explored frames, radians.
        explored_by: name of the exploration's row.
        seed: seed of the resampling.
    """
    u = model.exploration.u
    trained, reference = (
        TorsionSamples(explored[chosen], u[chosen], np.zeros(int(chosen.sum())))
        for chosen in (model.training, ~model.training)
    )
    kinds = {
        "raw": TorsionSamples(angles, samples.u, np.zeros_like(samples.u)),
        "reweighted": TorsionSamples(angles, samples.u, samples.log_w),
        explored_by: trained,
    }
    if not np.isfinite(samples.log_w).any():
        del kinds["reweighted"]
    generator = np.random.default_rng(seed)
    return {name: compare_torsions(kind, reference, generator) for name, kind in kinds.items()}


def distance_histograms(
    molecule: Molecule, samples: Samples, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Make histograms of the distances, in nm, of `far_pairs`; none if there are no such pairs.

    Args:
        molecule: the molecule.
        samples: samples of the flow.
        frames: (m, atoms, 3) explored frames, nm.
    """
    pairs = far_pairs(molecule)
    if not len(pairs):
        return {}
    drawn, explored = (pair_distances(x, pairs) for x in (samples.x[:_SHOWN], frames))
    log_w = samples.log_w[:_SHOWN]
    ensembles = {
        "raw": (drawn, np.zeros(len(drawn))),
        "reweighted": (drawn, log_w),
        "explored": (explored, np.zeros(len(explored))),
    }
    if not np.isfinite(log_w).any():
        del ensembles["reweighted"]
    return histograms("distance", ensembles, explored, positive=True)


def far_pairs(molecule: Molecule) -> np.ndarray:
    """Find the pairs of atoms (k, 2) that no bond, angle or torsion ties together."""
    n = len(molecule.elements)
    near = np.eye(n)
    i, j = np.array(molecule.bonds).T
    near[i, j] = near[j, i] = 1.0
    return np.argwhere(np.triu(np.linalg.matrix_power(near, 3) == 0.0))


def domain_lines(outside: dict[int, dict[str, int]]) -> list[str]:
    """Count the samples outside of the domain, by K and reason; no lines if there are none."""
    lines = []
    for reason in next(iter(outside.values()), {}):
        counts = {steps: by_reason[reason] for steps, by_reason in outside.items()}
        if any(counts.values()):
            text = ", ".join(f"{count} at K = {steps}" for steps, count in counts.items())
            lines.append(f"samples with {reason} (their weight is zero): {text}")
    return ["", *lines] if lines else []


def distance_table(rows: dict[str, TorsionComparison]) -> list[str]:
    """Format one line per kind of samples, without T-W2 where no torsion is reported."""
    angular = not all(np.isnan(row.torsion_w2) for row in rows.values())
    head = f"{'T-W2 (rad)':>10}  " if angular else ""
    return [
        "",
        f"{'distances, K = 1':<18}  {head}{'E-W2 (kT)':>10}",
        *(
            f"{name:<18}  {f'{row.torsion_w2:10.3f}  ' if angular else ''}{row.energy_w2:10.3g}"
            for name, row in rows.items()
        ),
    ]


def ring_warnings(molecule: Molecule, frames: np.ndarray) -> list[str]:
    """Warn of puckered rings whose mirror image occurs in none of the frames (n, atoms, 3)."""
    warnings, rings = [], find_molecule_isomers(molecule).rings
    for ring in rings:
        if any(len(set(ring) & set(other)) > 2 for other in rings if other != ring):
            continue  # a bridge holds its pucker
        turns = [ring[k:] + ring[:k] for k in range(len(ring))]
        quads = [(a, b, c, d) for a, b, c, d, *_ in turns]
        given, explored = (torsion_angles(x, quads) for x in (molecule.positions[None], frames))
        size = (given**2).sum()
        if np.abs(given).max() > _PUCKERED and (explored @ given[0] > -0.5 * size).all():
            names = "-".join(molecule.atom_names[i] for i in ring)
            warnings.append(
                f"dynamics never flipped the ring {names}. If its other shapes are not far up in "
                "energy, they are missing: explore for longer, or with exploration.method: "
                "annealing, which starts from more of them."
            )
    return warnings
