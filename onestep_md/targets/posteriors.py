"""Benchmark densities that are Bayesian posteriors: log prior + log likelihood of given data.

Constrained parameters are replaced by their logarithm, with the log-determinant included, so
exp(log_prob) integrates to the evidence. Two small data sets are printed here; `DATA_SETS` lists
the others, which are read from a file of the user's.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from onestep_md.errors import TargetError

LOG_2PI = math.log(2 * math.pi)
UCI = "UCI Machine Learning Repository"
SPATSTAT = "finpines of the R package spatstat"

# Observations of a random walk at times 0..9 and 20..29: the published values of the Inference
# Gym's "Brownian motion, missing middle observations" (Sountsov, Radul and others, 2020).
BROWNIAN_TIMES = (*range(10), *range(20, 30))
BROWNIAN_VALUES = (
    *(0.21592641, 0.118771404, -0.07945447, 0.037677474, -0.27885845),
    *(-0.1484156, -0.3250906, -0.22957903, -0.44110894, -0.09830782),
    *(-0.8786016, -0.83736074, -0.7384849, -0.8939254, -0.7774566),
    *(-0.70238715, -0.87771565, -0.51853573, -0.6948214, -0.6202789),
)

# Germinated seeds out of those sown on 21 plates, by seed variety and root extract: Crowder,
# Beta-binomial anova for proportions, Applied Statistics 27, 1978, table 3.
SEEDS_GERMINATED = (
    *(10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10),
    *(8, 10, 8, 23, 0, 3, 22, 15, 32, 3),
)
SEEDS_SOWN = (
    *(39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13),
    *(16, 30, 28, 45, 4, 12, 41, 30, 51, 7),
)
SEEDS_VARIETY = (*[0] * 11, *[1] * 10)
SEEDS_EXTRACT = (*[0] * 5, *[1] * 6, *[0] * 5, *[1] * 5)


@dataclass(frozen=True)
class DataSet:
    """A public data set that is not shipped.

    Args:
        file: its usual file name.
        title: its public name.
        source: its publisher.
        rows: number of data rows of the public file.
        delimiter: between columns; None for white space.
        header: number of lines before the data.
    """

    file: str
    title: str
    source: str
    rows: int
    delimiter: str | None
    header: int = 0


DATA_SETS = {
    "ionosphere": DataSet("ionosphere.data", "Ionosphere", UCI, 351, ","),
    "sonar": DataSet(
        "sonar.all-data", "Connectionist Bench (Sonar, Mines vs. Rocks)", UCI, 208, ","
    ),
    "credit": DataSet("german.data-numeric", "Statlog (German Credit Data)", UCI, 1000, None),
    "lgcp": DataSet("pines.csv", "Finnish pines, in the unit square", SPATSTAT, 126, ",", 1),
}


def normal_log_prob(x: Tensor, log_std: Tensor | float) -> Tensor:
    """Normal log density of mean 0 and standard deviation exp(log_std), elementwise."""
    z = x * math.exp(-log_std) if isinstance(log_std, float) else x * torch.exp(-log_std)
    return -0.5 * z.square() - log_std - 0.5 * LOG_2PI


@dataclass(frozen=True, eq=False)
class Brownian:
    """A random walk of 30 steps with unknown scales, observed at its first and last ten times.

    x = (log s_walk, log s_noise, 30 positions); both scales are LogNormal(0, 2), the walk starts
    at N(0, s_walk), each observation is its position plus N(0, s_noise).
    """

    name: str = "brownian"
    dim: int = 32
    # Given the scales everything is Gaussian, which leaves a 2-D integral. Computed here by the
    # trapezoidal rule over log scales in [-16, 8]; [-7, 3] is too narrow and gives 1.1876.
    log_z = 1.187749
    modes = None

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density, see `densities.Density`."""
        walk, noise, positions = x[..., :1], x[..., 1:2], x[..., 2:]
        observed = torch.tensor(BROWNIAN_VALUES, dtype=torch.float64)
        steps = torch.cat([positions[..., :1], positions.diff(dim=-1)], -1)
        scales = normal_log_prob(x[..., :2], math.log(2.0)).sum(-1)
        prior = normal_log_prob(steps, walk).sum(-1)
        likelihood = normal_log_prob(positions[..., BROWNIAN_TIMES] - observed, noise).sum(-1)
        return scales + prior + likelihood

    def sample(self, n: int, generator: torch.Generator) -> None:
        """Return None: no sampler is provided."""
        return None


@dataclass(frozen=True, eq=False)
class Seeds:
    """Random-effects logistic regression of germination on variety, extract and both.

    x = (log tau, a0, a1, a2, a12, b_1 .. b_21); tau ~ Gamma(0.01, rate 0.01), a ~ N(0, 10^2),
    b_j ~ N(0, 1/tau), germinated_j ~ Binomial(sown_j, logistic(a0 + a1 variety_j +
    a2 extract_j + a12 variety_j extract_j + b_j)), binomial coefficient included.
    """

    name: str = "seeds"
    dim: int = 26
    # Computed here: quadrature over log tau, importance sampling of the rest; +-0.005.
    log_z = -73.40
    modes = None

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density, see `densities.Density`."""
        log_tau, a, b = x[..., :1], x[..., 1:5], x[..., 5:]
        variety, extract, r, n = torch.tensor(
            (SEEDS_VARIETY, SEEDS_EXTRACT, SEEDS_GERMINATED, SEEDS_SOWN), dtype=torch.float64
        )
        design = torch.stack([torch.ones_like(r), variety, extract, variety * extract])
        logit = a @ design + b
        # Gamma density of tau, times tau for the change to log tau
        shape = rate = 0.01
        constant = shape * math.log(rate) - math.lgamma(shape)
        scale = (constant + shape * log_tau - rate * torch.exp(log_tau)).sum(-1)
        effects = normal_log_prob(a, math.log(10.0)).sum(-1)
        random_effects = normal_log_prob(b, -0.5 * log_tau).sum(-1)
        choose = torch.lgamma(n + 1) - torch.lgamma(r + 1) - torch.lgamma(n - r + 1)
        likelihood = (choose + r * logit - n * softplus(logit)).sum(-1)
        return scale + effects + random_effects + likelihood

    def sample(self, n: int, generator: torch.Generator) -> None:
        """Return None: no sampler is provided."""
        return None


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """Independent normal priors on the weights, one Bernoulli label per row of features.

    Args:
        name: as in `build_density`.
        features: (rows, dim), float64.
        labels: (rows,), 0 or 1.
        prior_std: of every weight.
        log_z: evidence, if it is known for exactly these data.
    """

    name: str
    features: Tensor
    labels: Tensor
    prior_std: float
    log_z: float | None
    modes = None

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.features.shape[1]

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density, see `densities.Density`."""
        sign = 2.0 * self.labels - 1.0
        # log logistic(z) = -softplus(-z)
        likelihood = -softplus(-sign * (x @ self.features.T)).sum(-1)
        return normal_log_prob(x, math.log(self.prior_std)).sum(-1) + likelihood

    def sample(self, n: int, generator: torch.Generator) -> None:
        """Return None: no sampler is provided."""
        return None


class CoxProcess:
    """A log-Gaussian Cox process on a square grid of cells, log intensities not whitened.

    f ~ N(mu, K), mu = log 126 - 1.91/2, K_mn = 1.91 exp(-33 |m - n| / side) with |m - n| the
    distance of the cells' integer indices; log-likelihood sum(f y - exp(f) / cells), without
    the factorials of the Poisson distribution.

    Args:
        counts: (side, side) points per cell.

    References:
        J. Møller, A. R. Syversveen, R. P. Waagepetersen, Log Gaussian Cox processes,
        Scandinavian Journal of Statistics 25, 1998.
    """

    name = "lgcp"
    log_z = None  # not known exactly; published estimates lie around 500 to 513
    modes = None

    def __init__(self, counts: np.ndarray):
        side = len(counts)
        self.dim = side * side
        self._counts = torch.as_tensor(counts, dtype=torch.float64).flatten()
        self._mean = math.log(126.0) - 1.91 / 2
        index = torch.arange(side, dtype=torch.float64)
        cells = torch.cartesian_prod(index, index)
        factor = torch.linalg.cholesky(1.91 * torch.exp(-33.0 / side * torch.cdist(cells, cells)))
        eye = torch.eye(self.dim, dtype=torch.float64)
        self._whiten = torch.linalg.solve_triangular(factor, eye, upper=False)
        self._log_det = factor.diagonal().log().sum()

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density, see `densities.Density`."""
        z = (x - self._mean) @ self._whiten.T
        prior = normal_log_prob(z, 0.0).sum(-1) - self._log_det
        return prior + (x * self._counts - torch.exp(x) / self.dim).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> None:
        """Return None: no sampler is provided."""
        return None


def ionosphere(data: Path) -> LogisticRegression:
    """Standardised features and an intercept, w ~ N(0, 1), d = 35; log Z = -111.61 +- 0.03."""
    features, labels = _features_and_labels("ionosphere", data, 34, zero="b", one="g")
    return _make_regression("ionosphere", _standardise(features), labels, 1.0, -111.61)


def sonar(data: Path) -> LogisticRegression:
    """Standardised features and an intercept, w ~ N(0, 1), d = 61; log Z = -108.41 +- 0.06."""
    features, labels = _features_and_labels("sonar", data, 60, zero="R", one="M")
    return _make_regression("sonar", _standardise(features), labels, 1.0, -108.41)


def credit(data: Path) -> LogisticRegression:
    """Scaled, not centred features and an intercept, w ~ N(0, 10^2), d = 25; log Z = -585.10.

    The prior is part of this definition. Some published code leaves it out, which is another
    target (log Z = -504.48). That code also has the opposite sign of w, which changes nothing
    under a symmetric prior.
    """
    features, labels = _features_and_labels("credit", data, 24, zero="1", one="2")
    return _make_regression("credit", features / _spread(features), labels, 10.0, -585.10)


def lgcp(data: Path) -> CoxProcess:
    """126 Finnish pine saplings, counted in 40 x 40 cells of the unit square, d = 1600."""
    table = _read("lgcp", data)
    points = _parse_numbers("lgcp", data, table[:, 1:])
    if points.shape[1] != 2 or points.min() < 0.0 or points.max() > 1.0:
        raise _malformed("lgcp", data, "the columns index, x, y with x and y in [0, 1]")
    # the upper edge belongs to the last cell
    cells = np.minimum((points * 40).astype(int), 39)
    counts = np.zeros((40, 40))
    np.add.at(counts, tuple(cells.T), 1.0)
    return CoxProcess(counts)


def data_file(name: str, data: Path | None) -> Path:
    """Find the file of a data set.

    Raises:
        TargetError: the file is missing; the message says where it is published, and which key to
            set.
    """
    if data is not None and Path(data).is_file():
        return Path(data)
    wanted = DATA_SETS[name]
    state = "is not set" if data is None else f"is {data}, where there is no file"
    raise TargetError(
        f"target.data {state}: the density {name} needs the data set "
        f'"{wanted.title}" ({wanted.source}), which is not shipped.\n'
        f"Get its file {wanted.file} and set target.data to the path."
    )


def _features_and_labels(
    name: str, data: Path, columns: int, zero: str, one: str
) -> tuple[Tensor, Tensor]:
    """Read rows of numbers that end in one of two labels: (rows, columns) and (rows,)."""
    table = _read(name, data)
    labels = np.char.strip(table[:, -1])
    if table.shape[1] != columns + 1 or not np.isin(labels, (zero, one)).all():
        raise _malformed(name, data, f"{columns} numbers per row and a label {zero} or {one}")
    features = _parse_numbers(name, data, table[:, :-1])
    return torch.as_tensor(features), torch.as_tensor((labels == one).astype(np.float64))


def _make_regression(
    name: str, features: Tensor, labels: Tensor, prior_std: float, log_z: float
) -> LogisticRegression:
    rows = len(labels)
    features = torch.cat([torch.ones(rows, 1, dtype=torch.float64), features], 1)
    # the constant belongs to the whole public file, not to a part of it
    known = log_z if rows == DATA_SETS[name].rows else None
    return LogisticRegression(name, features, labels, prior_std, known)


def _spread(features: Tensor) -> Tensor:
    """Compute the standard deviation of each column, 1 for constant columns."""
    std = features.std(0, correction=0)
    return torch.where(std > 0, std, 1.0)


def _standardise(features: Tensor) -> Tensor:
    return (features - features.mean(0)) / _spread(features)


def _read(name: str, path: Path) -> np.ndarray:
    """Read the data rows of a file as strings, (rows, columns)."""
    form = DATA_SETS[name]
    try:
        lines = path.read_text().splitlines()[form.header :]
        rows = [line for line in lines if line.strip()]
        if len(rows) < 2:
            raise _malformed(name, path, "two rows or more")
        return np.loadtxt(rows, delimiter=form.delimiter, dtype=str, ndmin=2)
    except (OSError, ValueError) as error:
        raise _malformed(name, path, f"a table that can be read ({error})") from error


def _parse_numbers(name: str, path: Path, table: np.ndarray) -> np.ndarray:
    try:
        numbers = table.astype(np.float64)
    except ValueError as error:
        raise _malformed(name, path, f"numbers ({error})") from error
    if not np.isfinite(numbers).all():
        raise _malformed(name, path, "finite numbers")
    return numbers


def _malformed(name: str, path: Path, expected: str) -> TargetError:
    wanted = DATA_SETS[name]
    return TargetError(
        f"target.data: {path} is not the file {wanted.file} of the density {name}: "
        f"expected {expected}."
    )
