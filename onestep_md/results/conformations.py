"""Numbers of a run on a molecule that no other density has: torsions, distances, isomers.

The counterpart of `particles`, for the one-step samples: raw, reweighted, and the exploration that
the flow has learned from, beside its held-out frames.
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
# what log|det| alone tells of samples
BEYOND_CHART = "a ring that does not close, or a bond or angle out of its range"


def compare_samples(
    samples: Samples, angles: np.ndarray, model: Model, explored: np.ndarray, by: str, seed: int
) -> dict[str, TorsionComparison]:
    """Raw, reweighted and explored samples against the held-out frames of the exploration.

    Args:
        samples: of the flow.
        angles: (n, torsions) of them, in radians.
        model: with the exploration.
        explored: (m, torsions) of its frames.
        by: name of the exploration's row.
        seed: of the resampling.
    """
    u = model.exploration.u
    trained, reference = (
        TorsionSamples(explored[chosen], u[chosen], np.zeros(int(chosen.sum())))
        for chosen in (model.training, ~model.training)
    )
    kinds = {
        "raw": TorsionSamples(angles, samples.u, np.zeros_like(samples.u)),
        "reweighted": TorsionSamples(angles, samples.u, samples.log_w),
        by: trained,
    }
    if not np.isfinite(samples.log_w).any():
        del kinds["reweighted"]
    generator = np.random.default_rng(seed)
    return {name: compare_torsions(of, reference, generator) for name, of in kinds.items()}


def distance_histograms(
    molecule: Molecule, samples: Samples, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Of the distances in nm that conformations differ by; empty where there are none.

    Args:
        molecule: whose `far_pairs` are measured.
        samples: of the flow.
        frames: (m, atoms, 3) of the exploration.
    """
    pairs = far_pairs(molecule)
    if not len(pairs):
        return {}
    ours, theirs = (pair_distances(x, pairs) for x in (samples.x[:_SHOWN], frames))
    log_w = samples.log_w[:_SHOWN]
    ensembles = {
        "raw": (ours, np.zeros(len(ours))),
        "reweighted": (ours, log_w),
        "explored": (theirs, np.zeros(len(theirs))),
    }
    if not np.isfinite(log_w).any():
        del ensembles["reweighted"]
    return histograms("distance", ensembles, theirs, positive=True)


def far_pairs(molecule: Molecule) -> np.ndarray:
    """Pairs of atoms (k, 2) more than three bonds apart: no bond, angle or torsion ties them."""
    n = len(molecule.elements)
    near = np.eye(n)
    i, j = np.array(molecule.bonds).T
    near[i, j] = near[j, i] = 1.0
    return np.argwhere(np.triu(np.linalg.matrix_power(near, 3) == 0.0))


def domain_lines(outside: dict[int, dict[str, int]]) -> list[str]:
    """How many samples are outside of the domain, by K and by what is wrong with them, if any."""
    lines = []
    for reason in next(iter(outside.values()), {}):
        found = {steps: counts[reason] for steps, counts in outside.items()}
        if any(found.values()):
            counts = ", ".join(f"{count} at K = {steps}" for steps, count in found.items())
            lines.append(f"samples with {reason} (their weight is zero): {counts}")
    return ["", *lines] if lines else []


def table(rows: dict[str, TorsionComparison]) -> list[str]:
    """Lines of text, one per kind of samples; without T-W2 where no torsion is reported."""
    turning = not all(np.isnan(row.torsion_w2) for row in rows.values())
    head = f"{'T-W2 (rad)':>10}  " if turning else ""
    return [
        "",
        f"{'distances, K = 1':<18}  {head}{'E-W2 (kT)':>10}",
        *(
            f"{name:<18}  {f'{row.torsion_w2:10.3f}  ' if turning else ''}{row.energy_w2:10.3g}"
            for name, row in rows.items()
        ),
    ]


def unflipped_rings(molecule: Molecule, frames: np.ndarray) -> list[str]:
    """Warnings of puckered rings that are never the other way round in frames (n, atoms, 3)."""
    found, rings = [], find_molecule_isomers(molecule).rings
    for ring in rings:
        if any(len(set(ring) & set(other)) > 2 for other in rings if other != ring):
            continue  # a bridge keeps it as it is
        turns = [ring[k:] + ring[:k] for k in range(len(ring))]
        quads = [(a, b, c, d) for a, b, c, d, *_ in turns]
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
