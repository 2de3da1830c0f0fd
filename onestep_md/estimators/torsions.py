r"""How far samples of a molecule are from those of the target, in torsions and in energy.

    T-W2  sqrt min over couplings of <sum_t d(a_t, b_t)^2> over the reported torsions, in radians,
          d the shorter way round the circle
    E-W2  the 2-Wasserstein distance of the reduced potentials

as published for peptides in Cartesian coordinates (Tan et al., arXiv 2502.18462). T-W2 of two
finite sets of the SAME density is not zero, so it is computed between two sets of the exploration
as well.
"""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from onestep_md.estimators.particles import energy_w2
from onestep_md.estimators.weights import resample

_COUPLED = 2000  # samples whose T-W2 is computed


@dataclass(frozen=True)
class TorsionSamples:
    """Samples of one kind.

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
    """Samples of one kind beside those of the target.

    Attributes:
        torsion_w2: T-W2 in radians, of `coupled` samples against as many; nan without torsions.
        energy_w2: E-W2 in kT, of all samples.
        coupled: see torsion_w2.
    """

    torsion_w2: float
    energy_w2: float
    coupled: int

    def as_dict(self) -> dict[str, float | None]:
        """For JSON files, which have no nan."""
        values = asdict(self)
        return {key: v if np.isfinite(v) else None for key, v in values.items()}


def compare_torsions(
    samples: TorsionSamples, target: TorsionSamples, generator: np.random.Generator
) -> TorsionComparison:
    """Weighted samples are resampled first.

    Args:
        samples: of any weights.
        target: of equal weights.
        generator: of the resampling and of the choice of samples.
    """
    n = len(samples.u)
    chosen = resample(samples.log_w, n, generator)
    coupled = min(n, len(target.u), _COUPLED)
    ours = generator.permutation(chosen)[:coupled]
    theirs = generator.permutation(len(target.u))[:coupled]
    return TorsionComparison(
        torsion_w2=torus_w2(samples.angles[ours], target.angles[theirs]),
        energy_w2=energy_w2(samples.u[chosen], target.u),
        coupled=coupled,
    )


def torus_w2(a: np.ndarray, b: np.ndarray) -> float:
    """T-W2 of two sets of angles, (m, torsions) each, of equal weights; nan without torsions."""
    if a.shape[1] == 0:
        return float("nan")
    square = np.zeros((len(a), len(b)))
    for ours, theirs in zip(a.T, b.T, strict=True):
        turn = np.abs(ours[:, None] - theirs) % (2.0 * np.pi)
        square += np.minimum(turn, 2.0 * np.pi - turn) ** 2
    return float(np.sqrt(square[linear_sum_assignment(square)].mean()))
