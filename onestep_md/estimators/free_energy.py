"""Free-energy differences between regions of configuration space, with bootstrap errors.

delta_f of a region relative to the reference region is -log(p / p_reference) in kT. Weighted flow
samples are independent and are resampled one by one; dynamics frames are correlated and are
resampled in contiguous blocks (Kuensch 1989), pooled over walkers so that walkers that disagree
widen the error bars. Samples of an annealing count as frames, see `correlation`;
`estimate.z_score` compares two free energies.
"""

from dataclasses import dataclass

import numpy as np

from onestep_md.estimators.correlation import contiguous_blocks, statistical_inefficiency
from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.estimators.limits import ENOUGH_IN_REGION, khat_fails
from onestep_md.estimators.weights import ess, harmless, khat, normalised_weights

BLOCKS = 20  # blocks to aim for; fewer make the error bars themselves uncertain
FEWEST_BLOCKS = 4  # below it no error bar is given
MOSTLY = 0.95  # fraction of replicates that must visit a region for it to get an error bar


@dataclass(frozen=True)
class RegionFreeEnergy:
    """Population and free energy of one region.

    An error is inf where there are too few independent visits; a region without any has
    delta_f = inf.
    """

    name: str
    reference: str  # region with delta_f = 0
    probability: Estimate
    delta_f: Estimate  # kT
    n_samples_inside: int  # raw count, before weighting
    effective: float  # effective samples: Kish's ESS of their weights, or independent frames
    khat: float  # tail index of their weights; nan for fewer than 25, -inf for equal ones
    harmless: bool  # no weight is large enough for k-hat to matter, see `weights.harmless`

    @property
    def few(self) -> bool:
        """Whether the region has too few samples for an error bar."""
        return self.effective < ENOUGH_IN_REGION

    @property
    def heavy_tail(self) -> bool:
        """Whether there are enough samples by their ESS but not by their k-hat."""
        return not self.few and khat_fails(self.khat, self.n_samples_inside, self.harmless)

    @property
    def mark(self) -> str:
        """Mark of the row in a table; empty if all is well."""
        return "FEW SAMPLES" if self.few else "HEAVY TAIL" if self.heavy_tail else ""


def region_free_energies(
    names: list[str],
    inside: np.ndarray,
    log_w: np.ndarray,
    reference: str | None,
    generator: np.random.Generator,
    replicates: int = 200,
) -> list[RegionFreeEnergy]:
    """Free energies from independent weighted samples.

    Args:
        names: names of the regions.
        inside: bool (n, regions), whether a sample lies in a region.
        log_w: (n,) log weights; zeros for unweighted samples.
        reference: name of the region with delta_f = 0; None for the most populated one.
        generator: draws the bootstrap replicates.
        replicates: number of bootstrap replicates.
    """
    inside = _checked_inside(names, inside)
    if not np.isfinite(log_w).any():
        nothing, zero = no_estimate("no sample has any weight"), reference or names[0]
        counts = inside.sum(axis=0).tolist()
        return [
            RegionFreeEnergy(name, zero, nothing, nothing, count, 0.0, float("nan"), False)
            for name, count in zip(names, counts, strict=True)
        ]
    weights = normalised_weights(log_w)
    n = weights.size
    weighted = weights[:, None] * np.column_stack([inside, np.ones(n)])  # last column: sum of w
    sums = resampled_sums(weighted, generator, replicates)
    worth = [weigh_region(np.asarray(log_w)[column]) for column in inside.T]
    return _assemble(names, inside, weighted.sum(axis=0), sums, reference, ess(log_w) * n, worth)


def resampled_sums(
    columns: np.ndarray, generator: np.random.Generator, replicates: int
) -> np.ndarray:
    """Sums (replicates, k) of the columns (n, k) of independent samples, drawn anew each time."""
    n = len(columns)
    sums = np.empty((replicates, columns.shape[1]))
    for row in sums:
        counts = np.bincount(generator.integers(n, size=n), minlength=n)
        row[:] = counts @ columns
    return sums


def weigh_region(log_w: np.ndarray) -> tuple[float, float, bool]:
    """Effective samples, k-hat and harmlessness of the weights inside a region."""
    if not np.isfinite(log_w).any():
        return 0.0, float("nan"), False
    effective = ess(log_w) * log_w.size
    # for a small region var(log p) = sum w^2 / (sum w)^2, over the samples inside
    return effective, khat(log_w), harmless(log_w, effective**-0.5)


def dynamics_free_energies(
    names: list[str],
    inside: np.ndarray,
    walkers: np.ndarray | None,
    reference: str | None,
    generator: np.random.Generator,
    replicates: int = 200,
) -> list[RegionFreeEnergy]:
    """Free energies from correlated, equally weighted dynamics frames.

    Args:
        names: names of the regions.
        inside: bool (n, regions), in time order within a walker.
        walkers: (n,) walker of every frame; None is one walker.
        reference: name of the region with delta_f = 0; None for the most populated one.
        generator: draws the bootstrap replicates.
        replicates: number of bootstrap replicates.
    """
    inside = _checked_inside(names, inside)
    n = inside.shape[0]
    g = max(statistical_inefficiency(column, walkers) for column in inside.T)
    per_frame = np.column_stack([inside, np.ones(n)])  # last column: frames
    sums, widen = resampled_block_sums(per_frame, g, walkers, generator, replicates)
    worth = [(column.sum() / g, float("-inf"), True) for column in inside.T]
    total = per_frame.sum(axis=0)
    return _assemble(names, inside, total, sums, reference, n / g, worth, widen)


def resampled_block_sums(
    columns: np.ndarray,
    g: float,
    walkers: np.ndarray | None,
    generator: np.random.Generator,
    replicates: int,
) -> tuple[np.ndarray, float]:
    """Sums of the columns (n, k) of correlated frames, over blocks that are drawn anew each time.

    Args:
        columns: one row per frame, in time order within a walker.
        g: statistical inefficiency of the frames.
        walkers: (n,) walker of every frame; None is one walker.
        generator: draws the blocks.
        replicates: how often.

    Returns:
        Sums (replicates, k), and the factor by which their spread is too small; inf where there
        are too few blocks.
    """
    n = len(columns)
    # long blocks are independent, many blocks give a steady error: ten correlation times if that
    # leaves BLOCKS of them, fewer otherwise, but never less than two
    length = max(min(10.0 * g, n / BLOCKS), 2.0 * g)
    block, cut = contiguous_blocks(n, length, walkers)
    n_blocks = int(block.max()) + 1
    per_block = np.stack([np.bincount(block, column, n_blocks) for column in columns.T], axis=1)
    counts = generator.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), size=replicates)
    if n_blocks < FEWEST_BLOCKS:
        widen = np.inf
    else:
        # the bootstrap varies around the sample's own mean: (B - 1) / B of the true variance
        widen = np.sqrt(n_blocks / (n_blocks - 1.0))
        # for correlations rho^t the mean of a block of L frames has the variance
        # (sigma^2 / L) (g - (g^2 - 1) / (2 L)), and g of it is wanted;
        # whole walkers are independent of each other and need no such correction
        if cut:
            widen /= np.sqrt(1.0 - (g - 1.0 / g) / (2.0 * max(n / n_blocks, 2.0 * g)))
    return counts @ per_block, float(widen)


def _assemble(
    names: list[str],
    inside: np.ndarray,
    total: np.ndarray,
    sums: np.ndarray,
    reference: str | None,
    n_effective: float,
    worth: list[tuple[float, float, bool]],
    widen: float = 1.0,
) -> list[RegionFreeEnergy]:
    """Turn sums over samples and over replicates, (..., regions + 1), into free energies."""
    with np.errstate(invalid="ignore"):  # replicates may have no weight at all
        p, p_replicates = total[:-1] / total[-1], sums[:, :-1] / sums[:, -1:]
    first = int(np.argmax(p)) if reference is None else names.index(reference)
    delta, delta_replicates = _delta_f(p, first), _delta_f(p_replicates, first)
    return [
        RegionFreeEnergy(
            name=name,
            reference=names[first],
            probability=_probability(p[i], p_replicates[:, i], widen, n_effective),
            delta_f=_with_error(i == first, delta[i], delta_replicates[:, i], widen),
            n_samples_inside=int(inside[:, i].sum()),
            effective=float(worth[i][0]),
            khat=worth[i][1],
            harmless=worth[i][2],
        )
        for i, name in enumerate(names)
    ]


def _delta_f(p: np.ndarray, first: int) -> np.ndarray:
    """-log(p_i / p_first) along the last axis; inf where p_i is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(p[..., first, None]) - np.log(p)


def _with_error(
    is_reference: bool, delta: float, replicates: np.ndarray, widen: float
) -> Estimate:
    """delta_f with its error, the spread of the replicates; inf where they do not give one."""
    if is_reference and np.isfinite(delta):
        error = 0.0
    elif not np.isfinite(delta):
        error = np.inf
    else:
        error = spread(replicates, widen)
    return Estimate(float(delta), float(error))


def spread(replicates: np.ndarray, widen: float = 1.0) -> float:
    """Standard error from the replicates of a number; inf where they do not give one."""
    finite = replicates[np.isfinite(replicates)]
    if np.isinf(widen) or finite.size < MOSTLY * replicates.size:
        return float("inf")
    return float(finite.std() * widen)


def _probability(p: float, replicates: np.ndarray, widen: float, n_effective: float) -> Estimate:
    """Population with its error; zero or all of n samples have an error of 1 / n."""
    if p <= 0.0 or p >= 1.0:
        error = 1.0 / n_effective
    else:
        error = np.inf if np.isinf(widen) else replicates.std() * widen
    return Estimate(float(p), float(error))


def _checked_inside(names: list[str], inside: np.ndarray) -> np.ndarray:
    """Membership as bool (n, regions)."""
    inside = np.asarray(inside, dtype=bool)
    if inside.ndim != 2 or inside.shape[0] == 0 or inside.shape[1] != len(names) or not names:
        raise ValueError(f"inside must be (n, {len(names)}) with n > 0, not {inside.shape}")
    return inside
