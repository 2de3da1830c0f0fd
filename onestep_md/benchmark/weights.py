r"""Three kinds of log weight for the same flow, to see what each says about log Z.

* exact: log|det DF| of the map that was run; ELBO <= log Z at every K.
* trace: the published deterministic-flow weight adds d tr(Dv) instead, the first order of
  log|det(I + d Dv)|. Since log(1 + l) <= l, it is too large wherever the spectrum is real, and the
  "ELBO" made with it is no bound (arXiv 2512.05251).
* path: the weight of diffusion samplers, noising against sampling kernels of a K-step path; a
  bound, of a sampler that needs many steps.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from onestep_md.benchmark.weights_figure import draw_weight_kinds
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import RunFolderError
from onestep_md.estimators.bounds import elbo, log_z
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.limits import DISAGREEMENT
from onestep_md.files import write_json
from onestep_md.flow.base import Flow
from onestep_md.flow.losses import push_forward
from onestep_md.flow.paths import path_times, simulate
from onestep_md.kinds import load_target
from onestep_md.run_folder import load_run_config
from onestep_md.sampling.sampler import load_sampler
from onestep_md.stages import open_pool

Kind = Literal["exact", "trace", "path"]
KINDS: tuple[Kind, ...] = ("exact", "trace", "path")
STEP_COUNTS = (1, 2, 4, 8, 16, 32)


def compare_weights(run: Path, n: int, trust: bool = False) -> list[str]:
    """Estimate log Z and ELBO of a finished run with every kind of weight and several K.

    Writes weight_kinds.json and figures/weight_kinds.png into the run folder, whose code may run
    where `trust` says so.

    Raises:
        RunFolderError: the run is not one on a density without angles.
    """
    config = load_run_config(run, trust)
    target = load_target(config)
    sampler = load_sampler(config, target, run)
    chart, flow = sampler.chart, sampler.flow
    grid = "angle" if config.train.method == "buffer" else config.train.grid
    if chart.n_circular:
        raise RunFolderError(f"{run}: diffusion paths are for densities on R^n")
    known = target.known_log_z
    evaluators = open_pool(config, [target], local=True, address=None)
    found: dict[Kind, dict[int, dict[str, Estimate]]] = {kind: {} for kind in KINDS}
    lines = [f"{'K':>3}  {'weight':<6} {'log Z':>20} {'ELBO':>20}"]
    for steps in STEP_COUNTS:
        for kind in KINDS:
            generator = torch.Generator().manual_seed(config.seed)
            log_w = log_weights_of_kind(kind, flow, chart, evaluators, n, steps, grid, generator)
            found[kind][steps] = {"log_z": log_z(log_w), "elbo": elbo(log_w)}
            texts = [found[kind][steps][name].format("") for name in ("log_z", "elbo")]
            above = known is not None and _above(found[kind][steps]["elbo"], known)
            note = "  ELBO above log Z: no bound" if above else ""
            lines.append(f"{steps:>3}  {kind:<6} {texts[0]:>20} {texts[1]:>20}{note}")
    if known is not None:
        lines.append(f"known log Z = {known:.6g}")
    values = {
        kind: {
            k: {name: [e.value, e.error] for name, e in pair.items()} for k, pair in row.items()
        }
        for kind, row in found.items()
    }
    write_json(run / "weight_kinds.json", {"log_z": known, "n": n, "kinds": values})
    lines.append(f"figure: {draw_weight_kinds(values, known, run / 'figures')}")
    return lines


def _above(bound: Estimate, known: float) -> bool:
    return bound.value > known + DISAGREEMENT * bound.error


def log_weights_of_kind(
    kind: Kind,
    flow: Flow,
    chart: Chart,
    evaluators: Evaluators,
    n: int,
    steps: int,
    grid: str,
    generator: torch.Generator,
) -> np.ndarray:
    """Compute log weights (n,) of n samples made in K = `steps` steps of a float64 flow.

    A path is visited at the times of `grid`, see `path_times`; the maps make equal steps of t.
    -inf where the energy overflows or the sample is outside the chart.
    """
    z = chart.sample_base(n, generator)
    with torch.no_grad():
        if kind == "path":
            paths = simulate(flow, z, path_times(grid, steps), generator)
            s, change = paths.s[-1], paths.log_noising - paths.log_sampling
        else:
            s, log_det = flow(z, steps) if kind == "exact" else _apply_with_traces(flow, z, steps)
            change = log_det - chart.log_base(z)
        x, log_det_chart = chart.to_x(s)
    u, _ = evaluators.evaluate(x.numpy())
    log_w = (change + log_det_chart).numpy() - u
    return np.where(np.isfinite(log_w), log_w, -np.inf)


def _apply_with_traces(flow: Flow, z: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Apply the K-step map, with sum_k d tr(Dv) = sum_k tr(DF_k - I) in the place of log|det|."""
    d, total = 1.0 / steps, z.new_zeros(len(z))
    for k in range(steps):

        def step(s: Tensor, t: float = k * d) -> Tensor:
            return flow.step(s, t, d)[0]

        for i in range(flow.dim):
            tangent = torch.zeros_like(z)
            tangent[:, i] = 1.0
            _, column = push_forward(step, z, tangent)
            total = total + column[:, i] - 1.0
        z = step(z)
    return z, total
