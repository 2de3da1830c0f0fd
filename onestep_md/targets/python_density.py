"""A user's own density: a Python function named in the YAML file as `module:function`.

The function takes (batch, dim) float64 and returns the unnormalised log density, (batch,), in
torch operations. Loading calls it on a few points, so that a mistake is reported at once with the
contract, and not as a dead evaluator an hour later.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from onestep_md.errors import TargetError
from onestep_md.targets.density_evaluator import evaluate_with_gradient

TRIAL_POINTS = 16
_WIDTHS = tuple(4.0**k for n in range(1, 10) for k in (n, -n))  # if no point is inside at 1
CONTRACT = "It takes (batch, dim) float64 and returns (batch,) float64, in torch operations."


@dataclass(frozen=True, eq=False)
class PythonDensity:
    """A checked function of the user's with the interface of `densities.Density`.

    Args:
        name: `module:function`.
        dim: number of coordinates.
        function: (batch, dim) to (batch,).
        source: the Python file of the function, if it has one.
    """

    name: str
    dim: int
    function: Callable[[Tensor], Tensor]
    source: Path | None = None
    log_z = None
    modes = None

    def log_prob(self, x: Tensor) -> Tensor:
        """Compute the log density, see `densities.Density`; single points (dim,) work as well."""
        return self.function(x) if x.ndim == 2 else self.function(x[None])[0]

    def sample(self, n: int, generator: torch.Generator) -> None:
        """Return None: no sampler is known."""
        return None


def load_python_density(spec: str, dim: int, folder: Path) -> PythonDensity:
    """Import a function and try it on a few standard normal points.

    Args:
        spec: `module:function`; the module is looked for in `folder` first, which stays on
            Python's path.
        dim: number of coordinates.
        folder: folder of the YAML file.

    Raises:
        TargetError: it cannot be imported, or does not return a differentiable (batch,).
    """
    module_name, separator, function_name = spec.partition(":")
    if not (module_name and separator and function_name):
        raise TargetError(f"target.function: expected module:function, found {spec!r}.")
    module = _import(module_name, Path(folder).resolve())
    function = getattr(module, function_name, None)
    if not callable(function):
        raise TargetError(
            f"target.function: {module_name} ({module.__file__}) has no function "
            f"{function_name!r}. {CONTRACT}"
        )
    file = getattr(module, "__file__", None)
    source = Path(file) if file and file.endswith(".py") else None
    density = PythonDensity(spec, dim, function, source)
    _try_out(density)
    return density


def _import(name: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    # Python remembers folder listings, and the file may be younger
    importlib.invalidate_caches()
    own = folder / f"{name}.py"
    try:
        return _run_file(own) if own.exists() else importlib.import_module(name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        reason = f"no {name}.py in {folder}" if missing else f"{type(error).__name__}: {error}"
        raise TargetError(f"target.function: cannot import {name}: {reason}.") from error


def _run_file(file: Path) -> ModuleType:
    """Run a file as a module named by its path: every run folder has a copy of its own."""
    spec = importlib.util.spec_from_file_location(str(file), file)
    assert spec is not None and spec.loader is not None  # as for every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickle look a module up by its name
    sys.modules[str(file)] = module
    spec.loader.exec_module(module)
    return module


def draw_probes(log_prob: Callable[[Tensor], Tensor], dim: int) -> Tensor:
    """Draw fixed points (n, dim): standard normals, and others if the density is 0 at all of them.

    The others are the first wider or narrower ones with a point inside of the support.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TRIAL_POINTS, dim, generator=generator, dtype=torch.float64)
    if log_prob(x).isfinite().any():
        return x
    for width in _WIDTHS:
        more = torch.randn(TRIAL_POINTS, dim, generator=generator, dtype=torch.float64)
        try:
            inside = log_prob(width * more).isfinite().any()
        except (RuntimeError, ValueError, ArithmeticError, TargetError):
            continue  # it need not have a value so far out
        if inside:
            return torch.cat([x, width * more])
    return x


def _try_out(density: PythonDensity) -> None:
    x = draw_probes(lambda x: _call(density, x), density.dim)
    log_p = _call(density, x)
    first = _call(density, x[:1])
    if log_p.isnan().all() or (log_p == torch.inf).any():
        raise _broken(density, f"the log densities {log_p.tolist()[:3]} .. at standard normals")
    if not torch.allclose(first, log_p[:1], rtol=1e-6, equal_nan=True):
        raise _broken(
            density,
            f"{first.item():.6g} for a point alone and {log_p[0]:.6g} for it in a batch; "
            "rows must not depend on each other",
        )
    try:
        grad_u = evaluate_with_gradient(density, x)[1]
    except Exception as error:
        raise _broken(density, f"a value without gradient ({error})") from error
    unknown = log_p.isfinite() & ~grad_u.isfinite().all(1)
    if unknown.any():
        raise TargetError(_without_gradient(density, x[unknown][0], log_p[unknown][0], unknown))


def _call(density: PythonDensity, x: Tensor) -> Tensor:
    try:
        log_p = density.function(x.clone())
    except Exception as error:
        raise TargetError(
            f"target.function: {density.name} raised {type(error).__name__} for x of shape "
            f"{tuple(x.shape)}: {error}\n{CONTRACT}"
        ) from error
    if not isinstance(log_p, Tensor):
        raise _broken(density, f"a {type(log_p).__name__}")
    if log_p.shape != x.shape[:1] or log_p.dtype != torch.float64:
        kind = str(log_p.dtype).removeprefix("torch.")
        raise _broken(
            density, f"shape {tuple(log_p.shape)}, {kind}, for x of shape {tuple(x.shape)}"
        )
    return log_p.detach()


def _without_gradient(density: PythonDensity, x: Tensor, log_p: Tensor, unknown: Tensor) -> str:
    """Explain that at x (dim,) log_p is finite and the gradient is not."""
    place = ", ".join(f"{value:.4g}" for value in x[:6].tolist()) + (", .." if len(x) > 6 else "")
    return (
        f"target.function: {density.name} has no finite gradient at {int(unknown.sum())} of "
        f"{len(unknown)} points tried, where its value is finite: {log_p:.4g} at x = ({place}).\n"
        "Often this is torch.where: both of its branches are differentiated, and infinity in the "
        "one that is not taken times zero is NaN. Make the argument safe inside of the branch: "
        "instead of\n"
        "  torch.where(y > 0, torch.sqrt(y), 0.0)\nwrite\n"
        "  torch.where(y > 0, torch.sqrt(torch.where(y > 0, y, 1.0)), 0.0)"
    )


def _broken(density: PythonDensity, returned: str) -> TargetError:
    return TargetError(f"target.function: {density.name} returned {returned}.\n{CONTRACT}")
