"""Benchmark densities with closed forms, and `build_density` for any benchmark by its name.

A density is known by its logarithm alone: x in R^dim, no molecule, no units, u(x) = -log_prob(x).
Every name stands for one definition, constants included, because the literature uses the same
word for different targets.
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from onestep_md.errors import TargetError
from onestep_md.targets import posteriors
from onestep_md.targets.particles import DoubleWellParticles, LennardJones
from onestep_md.targets.posteriors import normal_log_prob

WELL_EDGE = 6.0  # every well density here is below exp(-700) of its maximum beyond it
WELL_CELLS = 24_000  # 5e-4 wide: the drawn density is piecewise constant on them


class Density(Protocol):
    """A log density up to a constant, everything float64 on the CPU.

    Attributes:
        name: the definition it stands for.
        dim: number of coordinates.
        log_z: natural log of the normaliser, of the integral of exp(log_prob); None if unknown.
        modes: (m, dim) centres for counting covered modes, or None.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def log_z(self) -> float | None: ...

    @property
    def modes(self) -> Tensor | None: ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density: (batch, dim) to (batch,), or (dim,) to () in torch.func."""
        ...

    def sample(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Draw (n, dim) independent samples; None if there is no sampler."""
        ...


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Equal weights, one isotropic standard deviation; normalised.

    Args:
        name: as in `build_density`.
        modes: (components, dim) means.
        std: of every component.
    """

    name: str
    modes: Tensor
    std: float
    log_z = 0.0

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.modes.shape[1]

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute log (1/m) sum_k N(x; mean_k, std^2), which is normalised, see `Density`."""
        z = (x[..., None, :] - self.modes) / self.std
        each = normal_log_prob(z, 0.0).sum(-1) - self.dim * math.log(self.std)
        return torch.logsumexp(each, -1) - math.log(len(self.modes))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, dim) exactly."""
        component = torch.randint(len(self.modes), (n,), generator=generator)
        return self.modes[component] + self.std * _normal((n, self.dim), generator)


@dataclass(frozen=True, eq=False)
class Funnel:
    """x0 ~ N(0, 3^2) and x_i ~ N(0, exp(x0)) given x0; normalised, not truncated.

    References:
        R. M. Neal, Slice sampling, Annals of Statistics 31, 2003, section 8.
    """

    name: str = "funnel"
    dim: int = 10
    log_z = 0.0
    modes = None

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute log N(x0; 0, 9) + sum_i log N(x_i; 0, exp(x0)), see `Density`."""
        neck, rest = x[..., :1], x[..., 1:]
        log_neck = normal_log_prob(neck, math.log(3.0)).sum(-1)
        return log_neck + normal_log_prob(rest, neck / 2).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, dim) exactly."""
        z = _normal((n, self.dim), generator)
        neck = 3.0 * z[:, :1]
        return torch.cat([neck, torch.exp(neck / 2) * z[:, 1:]], 1)


@dataclass(frozen=True, eq=False)
class ManyWells:
    """Independent quartic double wells a, and standard normals b, not normalised.

    log p = sum_a (constant + linear a + quadratic a^2 - a^4) - 0.5 sum_b b^2

    Args:
        name: as in `build_density`.
        dim: number of coordinates.
        wells: the coordinates a.
        normals: the coordinates b; together with the wells, all of them.
        linear: coefficient of a; 0 makes both wells equally deep.
        quadratic: coefficient of a^2.
        constant: added for each well.
    """

    name: str
    dim: int
    wells: slice
    normals: slice
    linear: float
    quadratic: float
    constant: float

    def log_well(self, a: Tensor) -> Tensor:
        """Compute the log density of well coordinates, elementwise."""
        return self.constant + a * (self.linear + a * (self.quadratic - a * a))

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the formula above, see `Density`."""
        wells, normals = x[..., self.wells], x[..., self.normals]
        return self.log_well(wells).sum(-1) - 0.5 * normals.square().sum(-1)

    @property
    def log_z(self) -> float:
        """Log Z by the trapezoidal rule, exact to rounding: the density is 0 at both ends."""
        grid, density = self._grid()
        log_well = math.log(torch.trapezoid(density, grid).item())
        count = len(range(self.dim)[self.wells])
        return count * log_well + (self.dim - count) * 0.5 * math.log(2 * math.pi)

    @property
    def modes(self) -> Tensor | None:
        """All 2^wells combinations of +-sqrt(quadratic/2), up to 1024 of them.

        There are none for more (mw32 has 65,536), which no sample covers, and none for wells of
        unequal depth, for which the formula does not hold.
        """
        count = len(range(self.dim)[self.wells])
        if count > 10 or self.linear != 0.0:
            return None
        signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=count)))
        modes = torch.zeros(len(signs), self.dim, dtype=torch.float64)
        modes[:, self.wells] = math.sqrt(self.quadratic / 2) * signs.double()
        return modes

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (n, dim), wells by their inverse distribution function on a grid of 5e-4."""
        x = _normal((n, self.dim), generator)
        grid, density = self._grid()
        cdf = torch.cat([torch.zeros(1).double(), torch.cumulative_trapezoid(density, grid)])
        cdf /= cdf[-1].clone()
        p = torch.rand(x[:, self.wells].shape, generator=generator, dtype=torch.float64)
        # right=True: cdf[upper - 1] <= p < cdf[upper], so that no cell has zero weight
        upper = torch.searchsorted(cdf, p, right=True)
        fraction = (p - cdf[upper - 1]) / (cdf[upper] - cdf[upper - 1])
        x[:, self.wells] = torch.lerp(grid[upper - 1], grid[upper], fraction)
        return x

    def _grid(self) -> tuple[Tensor, Tensor]:
        grid = torch.linspace(-WELL_EDGE, WELL_EDGE, WELL_CELLS + 1, dtype=torch.float64)
        return grid, torch.exp(self.log_well(grid))


def gmm9() -> GaussianMixture:
    """Nine components of variance 0.3 on {-5, 0, 5}^2."""
    means = torch.tensor(list(itertools.product((-5.0, 0.0, 5.0), repeat=2)))
    return GaussianMixture("gmm9", means.double(), math.sqrt(0.3))


def gmm40_fab() -> GaussianMixture:
    """The 40 components in the plane of Midgley et al., arXiv 2208.01893.

    Their means are torch's float32 uniforms after seed 0, drawn here without touching the global
    state, and their standard deviation is softplus(1) = 1.313262. Their cut of log densities
    below -1e4 is left out.
    """
    uniform = torch.rand((40, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return GaussianMixture("gmm40_fab", ((uniform - 0.5) * 80.0).double(), math.log1p(math.e))


def gmm40() -> GaussianMixture:
    """40 components of standard deviation 1 in 50 dimensions, means uniform in [-40, 40].

    The means are NOT those of the published benchmark (VSM and its successors draw them by
    JAX's random numbers): they are torch's after seed 0. Same kind of target and same
    difficulty, so figures are comparable in kind only.
    """
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand((40, 50), generator=generator, dtype=torch.float64)
    return GaussianMixture("gmm40", (uniform - 0.5) * 80.0, 1.0)


def mw54() -> ManyWells:
    """-sum_{i<5} (x_i^2 - 4)^2; 32 modes, log Z = -0.541056."""
    return ManyWells("mw54", 5, slice(0, 5), slice(5, 5), 0.0, 8.0, -16.0)


def mw52() -> ManyWells:
    """-sum_{i<5} (x_i^2 - 2)^2 - 0.5 sum_{5<=i<50} x_i^2; 32 modes, log Z = 42.817243."""
    return ManyWells("mw52", 50, slice(0, 5), slice(5, 50), 0.0, 4.0, -4.0)


def mw32() -> ManyWells:
    """16 pairs (a, b) with 0.5 a + 6 a^2 - a^4 - 0.5 b^2; log Z = 164.695675.

    The right well of each pair holds 0.84431 of its weight.
    """
    return ManyWells("mw32", 32, slice(0, 32, 2), slice(1, 32, 2), 0.5, 6.0, 0.0)


# builders named in posteriors.DATA_SETS take the path of their file, the others nothing
BUILDERS: dict[str, Callable[..., Density]] = {
    "gmm9": gmm9,
    "gmm40_fab": gmm40_fab,
    "gmm40": gmm40,
    "funnel": Funnel,
    "mw54": mw54,
    "mw52": mw52,
    "mw32": mw32,
    "dw4": DoubleWellParticles,
    "lj13_f1": functools.partial(LennardJones, 13),
    "lj55_f1": functools.partial(LennardJones, 55),
    "brownian": posteriors.Brownian,
    "seeds": posteriors.Seeds,
    "ionosphere": posteriors.ionosphere,
    "sonar": posteriors.sonar,
    "credit": posteriors.credit,
    "lgcp": posteriors.lgcp,
}


def build_density(name: str, data: Path | None) -> Density:
    """Build the benchmark density of that name.

    Args:
        name: A key of BUILDERS.
        data: path of the data file, for the names in `posteriors.DATA_SETS` only.

    Raises:
        TargetError: unknown name, or a data file that is missing, unreadable or not needed.
    """
    if name not in BUILDERS:
        raise TargetError(f"target.name: no density {name!r}; there are {', '.join(BUILDERS)}.")
    if name in posteriors.DATA_SETS:
        return BUILDERS[name](posteriors.data_file(name, data))
    if data is not None:
        raise TargetError(f"target.data: the density {name} needs no data; remove this key.")
    return BUILDERS[name]()


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
