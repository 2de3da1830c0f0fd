r"""Log Z by quadrature over the torsions of a molecule, without any training.

F(q) = u(x(q)) - log|det dx/dq| is a function of torsions tau, which turn, and of other coordinates
y, which are stiff. At every node of a grid in tau, y is relaxed to the minimum y* of F, and F is
expanded there: H its Hessian, s = dF/dtau. With S = -H_yy^{-1} H_ytau

    F(tau + delta, y) ~ F* + s delta + (y - y* - S delta)^T H_yy (y - y* - S delta) / 2,

which has a closed integral over every cell of the grid. Without torsions that turn it is the
harmonic limit. The expansion is only a proposal: samples of it carry the exact weights
exp(-F) / proposal, and log Z is the logarithm of their mean, without any bias of the expansion. A
first set of samples corrects mean and covariance of y about the minima, where F is not quadratic,
and is then discarded. Rings have several minima y* at the same tau, the wells; then every cell is
a mixture of them.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.weights import ess, log_mean_weight, relative_weights

Energy = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_NUDGE = 0.01  # step of the numerical Hessian, in widths of a coordinate
_SOFTEST = 0.05  # least curvature, in kT per squared width
_FARTHEST = 3.0  # largest step of a relaxation, in widths
_STEEPEST = 20.0  # kT across half a cell
_WIDER = 1.15  # variance of the proposal, for tails a little heavier than those of a minimum
_ROWS = 20_000  # conformations evaluated at a time
_SAMPLES = 500  # drawn at a time
_ENOUGH = 10.0  # effective samples per stiff coordinate, at least, for their covariance


@dataclass(frozen=True)
class Quadrature:
    """Samples of the proposal with their exact weights.

    Attributes:
        log_z: log Z with its standard error.
        q: (n, dim) coordinates.
        log_w: (n,) log weights.
    """

    log_z: Estimate
    q: np.ndarray
    log_w: np.ndarray

    @property
    def ess(self) -> float:
        """Kish's effective sample size as a fraction."""
        return ess(self.log_w)


@dataclass(frozen=True)
class Coordinates:
    """Kinds and widths of the coordinates.

    Attributes:
        turning: columns of the torsions on the grid.
        angular: (dim,) bool, whether a coordinate is periodic.
        width: (dim,) typical variation of a coordinate, in nm or rad.
    """

    turning: np.ndarray
    angular: np.ndarray
    width: np.ndarray

    @property
    def stiff(self) -> np.ndarray:
        """Columns of the other coordinates."""
        return np.setdiff1d(np.arange(len(self.width)), self.turning)

    def difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """A - b along the last axis, the short way round where periodic."""
        d = a - b
        turn = 2.0 * math.pi
        return np.where(self.angular, d - turn * np.round(d / turn), d)


def torsion_quadrature(
    energy: Energy,
    wells: np.ndarray,
    known: Coordinates,
    points: int,
    n: int,
    generator: np.random.Generator,
) -> Quadrature:
    """Compute log Z from n weighted samples.

    Args:
        energy: F and its gradient at (n, dim); F is inf outside the domain of the coordinates.
        wells: (wells, dim) one geometry of every well of the stiff coordinates.
        known: kinds and widths of the coordinates.
        points: number of grid points of every torsion that turns.
        n: number of samples.
        generator: draws the samples.
    """
    cells = _Cells(energy, wells, known, points)
    cells.adapt(*_weighted(energy, cells, n, generator))
    _, q, log_w = _weighted(energy, cells, n, generator)
    w = relative_weights(log_w)
    error = float(w.std(ddof=1) / w.mean() / math.sqrt(n))
    return Quadrature(Estimate(log_mean_weight(log_w), error), q, log_w)


def _weighted(
    energy: Energy, cells: "_Cells", n: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row of every sample (n,), the samples (n, dim) and their log weights (n,)."""
    drawn = [cells.sample(len(part), generator) for part in _parts(np.empty(n), _SAMPLES)]
    row, q, log_density = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return row, q, -_evaluate(energy, q)[0] - log_density


class _Cells:
    """The grid with the expansion at its nodes; arrays have one row per cell and well."""

    def __init__(self, energy: Energy, wells: np.ndarray, known: Coordinates, points: int):
        self.known, self.points, self.wells = known, points, len(wells)
        self.half = math.pi / points
        k = len(known.turning)
        axis = (2.0 * np.arange(points) + 1.0) * self.half - math.pi
        grid = np.array(list(itertools.product(axis, repeat=k)))  # cells, k
        nodes = np.repeat(wells[None], len(grid), axis=0)  # cells, wells, dim
        nodes[:, :, known.turning] = grid[:, None]
        f, slope, hessian, self.q = relax(energy, nodes.reshape(-1, nodes.shape[-1]), known)
        stiff = known.stiff
        value, vectors = _curvature(hessian, known)
        half = vectors / np.sqrt(value)[:, None, :]
        # root root^T = H_yy^{-1}; triangular, so that its columns mean the same in every cell
        self.root = np.linalg.cholesky(half @ half.transpose(0, 2, 1))
        self.log_det = np.log(value).sum(-1) - 2.0 * np.log(known.width[stiff]).sum()
        mixed = hessian[:, stiff][:, :, known.turning]
        self.follow = -self.root @ (self.root.transpose(0, 2, 1) @ mixed)
        limit = _STEEPEST / self.half
        self.slope = np.clip(slope[:, known.turning], -limit, limit)
        inside = 2.0 * self.half * _sinhc(self.slope * self.half)
        self.log_p = -f - 0.5 * self.log_det + np.log(inside).sum(-1)
        self.log_p -= np.logaddexp.reduce(self.log_p)

    def adapt(self, row: np.ndarray, q: np.ndarray, log_w: np.ndarray) -> None:
        """Give y about the minima of every well the mean and covariance of weighted samples."""
        z = self._standardised(q, row[:, None])[1][:, 0]
        w = relative_weights(log_w)
        for well in range(self.wells):
            inside = row % self.wells == well
            if w[inside].sum() ** 2 < _ENOUGH * z.shape[1] * (w[inside] ** 2).sum():
                continue
            mean = np.average(z[inside], axis=0, weights=w[inside])
            covariance = np.atleast_2d(np.cov(z[inside].T, aweights=w[inside], ddof=0))
            spread = np.linalg.cholesky(covariance)
            rows = np.arange(well, len(self.q), self.wells)
            self.q[np.ix_(rows, self.known.stiff)] += self.root[rows] @ mean
            self.root[rows] = self.root[rows] @ spread
            self.log_det[rows] -= 2.0 * np.log(np.diagonal(spread)).sum()

    def sample(
        self, n: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw rows (n,) and samples (n, dim) in them; the logarithm of their density (n,)."""
        p = np.exp(self.log_p)
        row = generator.choice(len(p), size=n, p=p / p.sum())
        uniform = generator.random((n, len(self.known.turning)))
        x = self.slope[row] * self.half
        # the distribution of delta / half in [-1, 1] with density exp(-x delta / half)
        inverse = -np.log(np.exp(x) * (1.0 - uniform) + np.exp(-x) * uniform)
        flat = np.abs(x) < 1e-6
        delta = self.half * np.where(flat, 2.0 * uniform - 1.0, inverse / np.where(flat, 1.0, x))
        noise = generator.normal(size=(n, len(self.known.stiff))) * math.sqrt(_WIDER)
        q = self.q[row]
        q[:, self.known.stiff] += np.einsum("nij,nj->ni", self.follow[row], delta)
        q[:, self.known.stiff] += np.einsum("nij,nj->ni", self.root[row], noise)
        q[:, self.known.turning] += delta
        return row, q, self._log_density(q, row // self.wells)

    def _standardised(self, q: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Torsions (n, rows, k) from the nodes; y (n, rows, m) about minima, in widths."""
        away = self.known.difference(q[:, None], self.q[rows])
        delta = away[..., self.known.turning]
        y = away[..., self.known.stiff]
        z = np.empty_like(y)
        for part in _parts(np.arange(len(q)), _SAMPLES):
            some = rows[part]
            rest = y[part] - np.einsum("nwij,nwj->nwi", self.follow[some], delta[part])
            z[part] = np.linalg.solve(self.root[some], rest[..., None])[..., 0]
        return delta, z

    def _log_density(self, q: np.ndarray, cell: np.ndarray) -> np.ndarray:
        rows = cell[:, None] * self.wells + np.arange(self.wells)
        delta, z = self._standardised(q, rows)
        constant = z.shape[-1] * math.log(2.0 * math.pi * _WIDER)
        log_y = -0.5 * ((z * z).sum(-1) / _WIDER + constant - self.log_det[rows])
        slope = self.slope[rows]
        log_tau = -slope * delta - np.log(2.0 * self.half * _sinhc(slope * self.half))
        return np.logaddexp.reduce(self.log_p[rows] + log_y + log_tau.sum(-1), axis=1)


def relax(
    energy: Energy, q: np.ndarray, known: Coordinates, rounds: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Take Newton steps in the stiff coordinates, each only where F falls.

    Args:
        energy: F and its gradient.
        q: (n, dim) starting points.
        known: of the coordinates.
        rounds: number of steps.

    Returns:
        F (n,), gradient (n, dim), Hessian (n, dim, dim) and q (n, dim) after the steps.
    """
    q, stiff = q.copy(), known.stiff
    f, gradient = _evaluate(energy, q)
    for _ in range(rounds):
        hessian = _hessian(energy, q, known)
        value, vectors = _curvature(hessian, known)
        downhill = np.einsum("nij,ni->nj", vectors, gradient[:, stiff]) / value
        step = -np.einsum("nij,nj->ni", vectors, downhill)
        longest = np.abs(step / known.width[stiff]).max(-1, initial=_FARTHEST)
        step *= (_FARTHEST / longest)[:, None]
        for part in (1.0, 0.25):
            tried = q.copy()
            tried[:, stiff] += part * step
            f_tried, gradient_tried = _evaluate(energy, tried)
            better = f_tried < f
            q[better], f[better], gradient[better] = (
                tried[better], f_tried[better], gradient_tried[better]
            )  # fmt: skip
            step[better] = 0.0
    return f, gradient, _hessian(energy, q, known), q


def _hessian(energy: Energy, q: np.ndarray, known: Coordinates) -> np.ndarray:
    """Central differences of the gradient, (n, dim, dim); zero where F is not finite."""
    n, dim = q.shape
    nudge = np.diag(_NUDGE * known.width)
    moved = (q[:, None, None] + np.stack([nudge, -nudge], 1)).reshape(-1, dim)
    gradient = _evaluate(energy, moved)[1].reshape(n, dim, 2, dim)
    hessian = (gradient[:, :, 0] - gradient[:, :, 1]) / (2.0 * _NUDGE * known.width[:, None])
    return 0.5 * (hessian + hessian.transpose(0, 2, 1))


def _curvature(hessian: np.ndarray, known: Coordinates) -> tuple[np.ndarray, np.ndarray]:
    """H_yy = vectors^{-T} diag(value) vectors^{-1}, made positive; vectors in units of widths."""
    stiff, width = known.stiff, known.width[known.stiff]
    scaled = hessian[:, stiff][:, :, stiff] * width * width[:, None]
    value, vectors = np.linalg.eigh(scaled)
    value = np.maximum(np.abs(value), _SOFTEST)
    return value, width[:, None] * vectors


def _evaluate(energy: Energy, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parts = [energy(part) for part in _parts(q)]
    return np.concatenate([f for f, _ in parts]), np.concatenate([g for _, g in parts])


def _parts(rows: np.ndarray, size: int = _ROWS) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _sinhc(x: np.ndarray) -> np.ndarray:
    small = np.abs(x) < 1e-6
    return np.where(small, 1.0, np.sinh(x) / np.where(small, 1.0, x))
