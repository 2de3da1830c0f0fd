r"""How far samples are from those of the target: in torsions, in aligned positions, in energy.

    T-W2  sqrt min over couplings of <sum_t d(a_t, b_t)^2> over the torsions of a molecule, in
          radians, d the shorter way round the circle (Tan et al., arXiv 2502.18462)
    W2    sqrt min over couplings of <min_{R, P} |x - P y R^T|^2> of identical particles, every
          pair aligned over rotations and reflections R and permutations P (ASBS, arXiv 2506.22565)
    E-W2  the 2-Wasserstein distance of the reduced potentials

T-W2 and W2 of two finite sets of the SAME density are not zero, so they are computed between two
sets of the exploration as well. The virial mean <x . grad u> is the number of coordinates for
samples of exp(-u), by partial integration, and needs no reference.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment

from onestep_md.estimators.weights import normalised_weights, resample

_FEW = 4  # particles; up to so many, all permutations are tried
_STARTS, _TURNS = 3, 3  # rotations from which more are aligned, and matchings from each
_COUPLED_TORSIONS = 2000  # samples whose T-W2 is computed
# samples whose W2 is computed; all pairs of them are aligned
_COUPLED_PARTICLES, _COUPLED_FEW = 200, 1000


@dataclass(frozen=True)
class TorsionSamples:
    """Torsions, energies and weights of samples.

    Attributes:
        angles: (n, torsions) radians.
        u: (n,) reduced potentials, +inf allowed where the weight is zero.
        log_w: (n,) log weights; zeros for equal ones.
    """

    angles: np.ndarray
    u: np.ndarray
    log_w: np.ndarray


@dataclass(frozen=True)
class TorsionComparison:
    """How far samples of a molecule are from those of the target.

    Attributes:
        torsion_w2: T-W2 in radians, of `coupled` samples against as many; nan without torsions.
        energy_w2: E-W2 in kT, of all samples.
        coupled: number of samples in `torsion_w2`.
    """

    torsion_w2: float
    energy_w2: float
    coupled: int


@dataclass(frozen=True)
class ParticleSamples:
    """Positions, energies and weights of samples of identical particles.

    Attributes:
        positions: (n, particles, D) mean-free.
        u: (n,) energies in kT.
        virial: (n,) x . grad u.
        log_w: (n,) log weights; zeros for equal ones.
        inefficiency: number of samples that are worth one independent one.
    """

    positions: np.ndarray
    u: np.ndarray
    virial: np.ndarray
    log_w: np.ndarray
    inefficiency: float = 1.0


@dataclass(frozen=True)
class ParticleComparison:
    """How far samples of particles are from those of the target; energies in kT, errors standard.

    Attributes:
        w2: aligned W2, of `coupled` samples against as many.
        energy_w2: E-W2, of all samples.
        mean_energy, d_mean_energy: mean energy and its error.
        virial, d_virial: mean virial, the number of coordinates if the samples are right, and its
            error.
        coupled: number of samples in `w2`.
    """

    w2: float
    energy_w2: float
    mean_energy: float
    d_mean_energy: float
    virial: float
    d_virial: float
    coupled: int


def compare_torsions(
    samples: TorsionSamples, target: TorsionSamples, generator: np.random.Generator
) -> TorsionComparison:
    """Resample weighted samples and measure how far they are from the target's.

    Args:
        samples: with any weights.
        target: with equal weights.
        generator: resamples and chooses the samples that are coupled.
    """
    chosen, ours, theirs = _draw(samples.log_w, len(target.u), _COUPLED_TORSIONS, generator)
    return TorsionComparison(
        torsion_w2=torus_w2(samples.angles[ours], target.angles[theirs]),
        energy_w2=energy_w2(samples.u[chosen], target.u),
        coupled=len(ours),
    )


def compare_particles(
    samples: ParticleSamples, target: ParticleSamples, generator: np.random.Generator
) -> ParticleComparison:
    """Resample weighted samples for the distances; means are taken with the weights.

    Args:
        samples: with any weights.
        target: with equal weights.
        generator: resamples, chooses the samples that are coupled, and aligns them.
    """
    most = _COUPLED_FEW if samples.positions.shape[1] <= _FEW else _COUPLED_PARTICLES
    chosen, ours, theirs = _draw(samples.log_w, len(target.u), most, generator)
    w2 = aligned_w2(samples.positions[ours], target.positions[theirs], generator)
    mean_energy, d_mean_energy = _weighted_mean(samples, samples.u)
    virial, d_virial = _weighted_mean(samples, samples.virial)
    return ParticleComparison(
        w2=w2,
        energy_w2=energy_w2(samples.u[chosen], target.u),
        mean_energy=mean_energy,
        d_mean_energy=d_mean_energy,
        virial=virial,
        d_virial=d_virial,
        coupled=len(ours),
    )


def _draw(
    log_w: np.ndarray, m: int, most: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All n samples resampled, and as many of them as of the m of the target that are coupled."""
    n = len(log_w)
    chosen = resample(log_w, n, generator)
    coupled = min(n, m, most)
    return chosen, generator.permutation(chosen)[:coupled], generator.permutation(m)[:coupled]


def energy_w2(u: np.ndarray, v: np.ndarray) -> float:
    """E-W2 of two sets of energies, (n,) and (m,), of equal weights; inf if one has an inf."""
    # sqrt int_0^1 (U(p) - V(p))^2 dp; the quantile functions jump at multiples of 1/n and 1/m
    edges = np.union1d(*(np.arange(len(a) + 1) / len(a) for a in (u, v)))
    middle, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    a, b = (np.sort(e)[(middle * len(e)).astype(int)] for e in (u, v))
    return float(np.sqrt((width * np.square(a - b)).sum()))


def torus_w2(a: np.ndarray, b: np.ndarray) -> float:
    """T-W2 of two sets of angles, (m, torsions) each, of equal weights; nan without torsions."""
    if a.shape[1] == 0:
        return float("nan")
    square = np.zeros((len(a), len(b)))
    for ours, theirs in zip(a.T, b.T, strict=True):
        turn = np.abs(ours[:, None] - theirs) % (2.0 * np.pi)
        square += np.minimum(turn, 2.0 * np.pi - turn) ** 2
    return float(np.sqrt(square[linear_sum_assignment(square)].mean()))


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
    seen = np.isfinite(samples.log_w)  # a sample without weight may have no energy either
    w, f = normalised_weights(samples.log_w[seen]), f[seen]
    mean = float((w * f).sum())
    # d mean = sum_i w_i (f_i - mean)
    variance = samples.inefficiency * np.square(w * (f - mean)).sum()
    return mean, float(np.sqrt(variance))
