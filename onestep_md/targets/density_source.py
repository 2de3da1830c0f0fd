"""A density with its name, its identity and the function that builds it.

It is the counterpart of `molecule`. `build` travels to the evaluators, which make their own copy.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from onestep_md.config import BenchmarkTarget, PythonTarget
from onestep_md.targets.densities import Density, build_density
from onestep_md.targets.python_density import draw_probes, load_python_density
from onestep_md.targets.python_source import find_sources, read_code


@dataclass(frozen=True)
class DensityFingerprint:
    """The identity of a density; runs with equal fingerprints sample the same one."""

    name: str
    dim: int
    log_z: float | None  # for comparison only
    digest: str  # of the log density at fixed points, and of a user's code

    @property
    def identity(self) -> str:
        """One line that distinguishes densities."""
        return f"density {self.name} {self.digest[:12]}"

    def lines(self) -> list[str]:
        """List the properties for printing, one per line."""
        rows = (
            ("density", f"{self.name}, {self.dim} dimensions"),
            ("log Z", "not known" if self.log_z is None else f"{self.log_z:.6g}, for comparison"),
            ("digest", self.digest[:16]),
        )
        return [f"{name:<14}{value}" for name, value in rows]

    def as_dict(self) -> dict:
        """Convert to a dict for JSON files."""
        return asdict(self)


@dataclass(frozen=True)
class DensitySource:
    """An unnormalised density on R^dim.

    Attributes:
        density: log density, and sampler and constants if they are known.
        build: makes the same density in another process.
        sources: its files of data or Python code, if there are any.
        fingerprint: identity of the target.
    """

    density: Density
    build: Callable[[], Density]
    sources: tuple[Path, ...]
    fingerprint: DensityFingerprint


def load_density(settings: BenchmarkTarget | PythonTarget, folder: Path) -> DensitySource:
    """Build the density that the configuration names.

    Args:
        settings: the `target` section, of kind density or python.
        folder: start of relative paths.

    Raises:
        TargetError: unknown name, missing data, or a function that breaks its contract.
    """
    build: Callable[[], Density]
    built: Density
    sources: tuple[Path, ...]
    if settings.kind == "python":
        build = functools.partial(load_python_density, settings.function, settings.dim, folder)
        built = own = build()
        sources = () if own.source is None else find_sources(own.source)
        code = [read_code(file) for file in sources]
    else:
        source = None if settings.data is None else folder / settings.data
        build = functools.partial(build_density, settings.name, source)
        built, sources, code = build(), () if source is None else (source,), []
    digest = _digest(built, code)
    fingerprint = DensityFingerprint(built.name, built.dim, built.log_z, digest)
    return DensitySource(built, build, sources, fingerprint)


def _digest(built: Density, code: list[str]) -> str:
    x = draw_probes(built.log_prob, built.dim)
    values = [f"{value:.6e}" for value in built.log_prob(x).tolist()]  # equal on other machines
    return hashlib.sha256("\n".join([str(values), *code]).encode()).hexdigest()
