"""Conformers of rings: which ones frames show, and how the coordinates of each vary."""

import torch
from torch import Tensor

from onestep_md.coordinates.chart import regress
from onestep_md.coordinates.marginals import circular_mean, find_wells

_FEWEST = 8  # frames of a conformer; those of rarer ones belong to the nearest
_MOST = 64  # conformers
# frames per coordinate of rings that a conformer shares with all; of 1, 4 and 16 the best for the
# likelihood of unseen frames of a cyclic pentapeptide
_SHARED = 4
_ROUNDS = 5  # in which conformers and their means are fitted in turn


def find_conformers(torsions: Tensor) -> tuple[Tensor, Tensor]:
    """Number the conformers (frames,) of torsions (frames, n), and find their means."""
    wells, label = torch.unique(find_wells(torsions), dim=0, return_inverse=True)
    counts = torch.bincount(label, minlength=len(wells))
    frequent = counts.argsort(descending=True, stable=True)[:_MOST].tolist()
    chosen = [c for c in frequent if counts[c] >= _FEWEST] or frequent[:1]
    means = torch.stack([circular_mean(torsions[label == c]) for c in chosen])
    for _ in range(_ROUNDS):
        means, label = _without_rare(torsions, means)
        means = torch.stack([circular_mean(torsions[label == c]) for c in range(len(means))])
    means, label = _without_rare(torsions, means)
    return label, means


def _without_rare(torsions: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Drop the means that are nearest to few frames; those left, and the nearest of each frame."""
    while True:
        label = _nearest(torsions, means)
        counts = torch.bincount(label, minlength=len(means))
        enough = counts >= min(_FEWEST, int(counts.max()))
        if enough.all():
            return means, label
        means = means[enough]


def _nearest(torsions: Tensor, means: Tensor) -> Tensor:
    """Find the nearest means (frames,) to torsions (frames, n)."""
    return (1.0 - torch.cos(torsions[:, None] - means)).sum(-1).argmin(-1)


def estimate_covariances(
    residual: Tensor, label: Tensor, weight: Tensor, in_ring: Tensor
) -> list[Tensor]:
    """Estimate the covariance (n, n) of each conformer.

    Coordinates of the rings R have their own in each conformer, the others follow them by one
    regression for all, others = B R + e, so that few frames of a conformer suffice.

    Args:
        residual: (frames, n) deviations from the means of the conformers.
        label: (frames,) numbers of the conformers.
        weight: (frames,) weights that sum to one.
        in_ring: (n,) which coordinates are R.
    """
    rings, others = in_ring.nonzero().squeeze(-1), (~in_ring).nonzero().squeeze(-1)
    # the ridge of the regression is meant for features of about unit variance
    scale = residual[:, rings].std(0)
    ring = residual[:, rings] / scale
    _, slope, rest = regress(ring, residual[:, others] - weight @ residual[:, others], weight)
    pooled, n = torch.cov(ring.T, aweights=weight).reshape(len(rings), -1), len(rings)
    shared = _SHARED * n
    covariances = []
    for c in range(int(label.max()) + 1):
        inside = label == c
        own = torch.cov(ring[inside].T, aweights=weight[inside]).reshape(n, n)
        # as if more frames varied as all do: few frames of its own span too few directions
        own = (inside.sum() * own.nan_to_num() + shared * pooled) / (inside.sum() + shared)
        # (R, others) = (scale, B^T) R / scale + (0, e)
        joint = residual.new_zeros(n, len(in_ring))
        joint[:, rings], joint[:, others] = torch.diag(scale), slope
        covariance = joint.T @ own @ joint
        covariance[others[:, None], others] += rest
        covariances.append(covariance)
    return covariances
