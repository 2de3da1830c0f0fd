r"""How far samples of identical particles are from those of the target.

    W2    sqrt min over couplings of <min_{R, P} |x - P y R^T|^2>: every pair is aligned over
          rotations and reflections R and over permutations P of the particles
    E-W2  the 2-Wasserstein distance of the energies

as published for these targets (ASBS, arXiv 2506.22565). W2 of two finite sets of the SAME density
is not zero, so it is also computed between two sets of the target's own samples. The virial mean
<x . grad u> is the number of coordinates for samples of exp(-u), by partial integration, and
judges without any reference.
"""

from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment

from onestep_md.estimators.weights import normalised_weights, resample

_FEW = 4  # particles, of which all permutations are tried
_STARTS, _TURNS = 3, 3  # of the alignment of more: rotations, and matchings from each
_COUPLED, _COUPLED_FEW = 200, 1000  # samples whose W2 is computed; all pairs of them are aligned


@dataclass(frozen=True)
class ParticleSamples:
    """Samples of one kind.

    Attributes:
        positions: (n, particles, D) mean-free.
        u: (n,) energies in kT.
        virial: (n,) x . grad u.
        log_w: (n,) log weights; zeros for equal ones.
        inefficiency: how many samples are worth an independent one.
    """

    positions: np.ndarray
    u: np.ndarray
    virial: np.ndarray
    log_w: np.ndarray
    inefficiency: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """Samples of one kind beside those of the target; energies in kT, errors standard.

    Attributes:
        w2: aligned W2, of `coupled` samples against as many.
        energy_w2: E-W2, of all samples.
        mean_energy, d_mean_energy: and its error.
        virial, d_virial: its mean, the number of coordinates if the samples are right.
        coupled: see w2.
    """

    w2: float
    energy_w2: float
    mean_energy: float
    d_mean_energy: float
    virial: float
    d_virial: float
    coupled: int

    def as_dict(self) -> dict[str, float]:
        """For JSON files."""
        return asdict(self)


def compare(
    samples: ParticleSamples, target: ParticleSamples, generator: np.random.Generator
) -> Comparison:
    """Weighted samples are resampled for the distances and averaged with their weights.

    Args:
        samples: of any weights.
        target: of equal weights.
        generator: of the resampling, of the choice of samples and of the alignment.
    """
    n = len(samples.u)
    chosen = resample(samples.log_w, n, generator)
    few = samples.positions.shape[1] <= _FEW
    coupled = min(n, len(target.u), _COUPLED_FEW if few else _COUPLED)
    ours = generator.permutation(chosen)[:coupled]
    theirs = generator.permutation(len(target.u))[:coupled]
    w2 = aligned_w2(samples.positions[ours], target.positions[theirs], generator)
    mean_energy, d_mean_energy = _weighted_mean(samples, samples.u)
    virial, d_virial = _weighted_mean(samples, samples.virial)
    return Comparison(
        w2=w2,
        energy_w2=energy_w2(samples.u[chosen], target.u),
        mean_energy=mean_energy,
        d_mean_energy=d_mean_energy,
        virial=virial,
        d_virial=d_virial,
        coupled=coupled,
    )


def energy_w2(u: np.ndarray, v: np.ndarray) -> float:
    """E-W2 of two sets of energies, (n,) and (m,), of equal weights; inf if one has an inf."""
    # sqrt int_0^1 (U(p) - V(p))^2 dp; the quantile functions jump at multiples of 1/n and 1/m
    edges = np.union1d(*(np.arange(len(a) + 1) / len(a) for a in (u, v)))
    middle, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    a, b = (np.sort(e)[(middle * len(e)).astype(int)] for e in (u, v))
    return float(np.sqrt((width * np.square(a - b)).sum()))


def aligned_w2(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> float:
    """W2 of two sets of positions, (m, n, D) each, of equal weights, aligned pair by pair.

    Up to four particles all permutations are tried. For more, matching and rotation are fitted in
    turns, from no rotation and from random ones: an upper bound.
    """
    # |x - P y R^T|^2 = |x|^2 + |y|^2 - 2 tr(R^T H), H = x^T P y, and max_R tr(R^T H) is the sum
    # of the singular values of H
    if x.shape[1] <= _FEW:
        overlap = np.full((len(x), len(y)), -np.inf)
        for order in permutations(range(x.shape[1])):
            h = np.einsum("aik,bil->abkl", x, y[:, order], optimize=True)
            np.maximum(overlap, _singular_sum(h), out=overlap)
    else:
        overlap = _matched_overlap(x, y, generator)
    lengths = np.square(x).sum((1, 2))[:, None] + np.square(y).sum((1, 2))
    square = np.maximum(lengths - 2.0 * overlap, 0.0)
    return float(np.sqrt(square[linear_sum_assignment(square)].mean()))


def _matched_overlap(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Largest tr(R^T x^T P y) found for every pair of (m, n, D) and (k, n, D): (m, k)."""
    (m, n, space) = x.shape
    best = np.full((m, len(y)), -np.inf)
    for start in range(_STARTS):
        rotation, _ = np.linalg.qr(generator.standard_normal((space, space)))
        if start == 0:  # as published codes, which take one turn from there
            rotation = np.eye(space)
        rotation = np.broadcast_to(rotation, (*best.shape, space, space))
        for _ in range(_TURNS):
            turned = np.einsum("bjl,abkl->abjk", y, rotation, optimize=True)
            gain = np.einsum("aik,abjk->abij", x, turned, optimize=True)
            match = [linear_sum_assignment(g, maximize=True)[1] for g in gain.reshape(-1, n, n)]
            order = np.reshape(match, (*best.shape, n))
            matched = y[np.arange(len(y))[:, None], order]
            u, s, vt = np.linalg.svd(np.einsum("aik,abil->abkl", x, matched, optimize=True))
            rotation = u @ vt
            np.maximum(best, s.sum(-1), out=best)
    return best


def _singular_sum(h: np.ndarray) -> np.ndarray:
    """Sum of the singular values of (..., D, D)."""
    if h.shape[-1] != 2:
        return np.linalg.svd(h, compute_uv=False).sum(-1)
    # (s1 + s2)^2 = |H|^2 + 2 |det H|
    determinant = h[..., 0, 0] * h[..., 1, 1] - h[..., 0, 1] * h[..., 1, 0]
    return np.sqrt(np.square(h).sum((-2, -1)) + 2.0 * np.abs(determinant))


def _weighted_mean(samples: ParticleSamples, f: np.ndarray) -> tuple[float, float]:
    """Mean of f (n,) and its standard error by the delta method."""
    seen = np.isfinite(samples.log_w)  # what has no weight may have no energy either
    w, f = normalised_weights(samples.log_w[seen]), f[seen]
    mean = float((w * f).sum())
    # d mean = sum_i w_i (f_i - mean)
    variance = samples.inefficiency * np.square(w * (f - mean)).sum()
    return mean, float(np.sqrt(variance))
