"""The table of `python -m onestep_md.benchmark losses`: what training has of each of its losses.

All trainings of a seed start from one exploration, and from equal networks. Finished ones are
kept, so that a table that was interrupted goes on.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from onestep_md.benchmark.cells import cell
from onestep_md.config import Config, load_config
from onestep_md.distributed.pool import Evaluators
from onestep_md.exploration.explored import Exploration
from onestep_md.files import write_json
from onestep_md.flow.losses import difference
from onestep_md.kinds import load_target
from onestep_md.progress import Display
from onestep_md.results.evidence import measure_all
from onestep_md.run_folder import machine, machine_line
from onestep_md.sampling.model import build_model
from onestep_md.sampling.sampler import Sampler, sampler_of, save_sampler
from onestep_md.sampling.target import Target
from onestep_md.stages import explore_or_load, open_pool
from onestep_md.training import hardware
from onestep_md.training.likelihood import pretrain
from onestep_md.training.task import Keeper
from onestep_md.training.train import train

STEPS = (1, 2, 4, 8, 32, 128)
# the defaults of densities: molecules have them off
ALL = {"flow_weight": 0.01, "state_weight": 0.1, "volume_weight": 0.02, "volume_loss": "logdet"}
VARIANTS: dict[str, dict[str, float | str]] = {
    "all": {},
    "volume by tangents": {"volume_loss": "tangent"},
    "without flow matching": {"flow_weight": 0.0},
    "without state consistency": {"state_weight": 0.0},
    "without volume consistency": {"volume_weight": 0.0},
    "without energy": {"energy_weight": 0.0},
    "without likelihood": {"likelihood_weight": 0.0},
    "likelihood and energy": {"flow_weight": 0.0, "state_weight": 0.0, "volume_weight": 0.0},
}
_STARTS = 500  # base samples whose ends are compared


@dataclass(frozen=True)
class Row:
    """One K of one training.

    Attributes:
        variant: one of VARIANTS.
        seed: of exploration, training and samples.
        steps: K.
        ess: of the samples, as a fraction.
        eubo: evidence upper bound less the true log Z, where that is known, else itself.
        gap: root mean square difference of a coordinate between the ends of K and 2 K steps.
        seconds: of training.
    """

    variant: str
    seed: int
    steps: int
    ess: float
    eubo: float
    gap: float
    seconds: float


def measure_losses(
    file: Path,
    out: Path,
    variants: Sequence[str],
    seeds: int,
    samples: int,
    options: Sequence[str],
) -> list[str]:
    """Train a system without each of its losses, and format tables in Markdown.

    Args:
        file: YAML file of a system with `train.method: buffer`.
        out: folder of the trainings.
        variants: names from VARIANTS.
        seeds: trainings of every variant.
        samples: for every K.
        options: keys that are replaced, as in `run --set`.
    """
    rows = []
    for seed in range(1, seeds + 1):
        config = load_config(file, options, seed)
        config = config.changed("sample", steps=STEPS, n=samples, n_one_step=samples)
        steps = config.buffer_training.steps
        hardware.prepare(config.cluster, local=True)
        target = load_target(config)
        folder = out / f"{file.stem}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        display = Display(folder / "log.txt")
        display.say(f"{file.stem}, seed {seed}: {len(variants)} trainings of {steps} steps")
        pool = open_pool(config, [target], local=True, address=None)
        try:
            explored, _ = explore_or_load(config, target, pool, folder, display)
            for variant in variants:
                own = folder / variant.replace(" ", "-")
                rows += _finish(config, target, explored, pool, own, variant, display)
        finally:
            pool.close()
            display.close()
    lines = [machine_line(machine()), "", *_tables(rows, variants)]
    (out / f"{file.stem}.md").write_text("\n".join(lines) + "\n")
    return lines


def _finish(
    config: Config,
    target: Target,
    explored: Exploration,
    pool: Evaluators,
    folder: Path,
    variant: str,
    display: Display,
) -> list[Row]:
    """Train one variant, or what is left of it, and measure its maps."""
    path = folder / "losses.json"
    if path.exists():
        return [Row(**row) for row in json.loads(path.read_text())]
    folder.mkdir(exist_ok=True)
    config = config.changed("train", **(ALL | VARIANTS[variant]))
    model = build_model(config, target, explored)
    model.state.to(hardware.device(config.cluster))
    task = model.task(variant, pool, folder)
    keeper = Keeper([task], folder, model.identity, config.train.checkpoint_interval)
    keeper.restore()
    display.start(variant)
    pretrain([task], config.buffer_training, keeper, display.advance)
    train([task], config.train, keeper, display.advance)
    display.stop()
    save_sampler(folder, model)
    sampler, zero = sampler_of(model), target.known_log_z or 0.0
    rows = [
        Row(
            variant=variant,
            seed=config.seed,
            steps=steps,
            ess=evidence.ess,
            eubo=evidence.eubo.value - zero,
            gap=measure_gap(sampler, steps),
            seconds=model.state.seconds,
        )
        for steps, (_, evidence) in measure_all(config, sampler, pool).items()
    ]
    write_json(path, [dataclasses.asdict(row) for row in rows])
    return rows


@torch.no_grad()
def measure_gap(sampler: Sampler, steps: int) -> float:
    """Root mean square difference of a coordinate between the ends of `steps` and of twice them.

    Coordinates are those of the flow, in which a molecule's stiff ones have a variance near 1.
    """
    z = sampler.chart.sample_base(_STARTS, torch.Generator().manual_seed(0)).double()
    flow = sampler.flow
    end, other = (flow(z, count)[0] for count in (steps, 2 * steps))
    return float(difference(end, other, flow.n_linear).square().mean().sqrt())


def _tables(rows: Sequence[Row], variants: Sequence[str]) -> list[str]:
    """A table each of ESS, EUBO and the gap; numbers of several seeds stand side by side."""
    lines = []
    for title, key, factor, form in (
        ("ESS, %", "ess", 100.0, ".1f"),
        ("EUBO", "eubo", 1.0, ".3f"),
        ("distance of the ends of K and 2 K steps", "gap", 1.0, ".3f"),
    ):
        heads = " | ".join(f"K = {steps}" for steps in STEPS)
        lines += [f"| {title} | {heads} | seconds |", "|" + "---|" * (len(STEPS) + 2)]
        for variant in variants:
            own = [row for row in rows if row.variant == variant]
            cells = [
                ", ".join(
                    cell(factor * getattr(row, key), form) for row in own if row.steps == steps
                )
                for steps in STEPS
            ]
            seconds = ", ".join(f"{row.seconds:.0f}" for row in own if row.steps == 1)
            lines.append(f"| {variant} | {' | '.join(cells)} | {seconds} |")
        lines.append("")
    return lines[:-1]
