"""Command line: measure what the README claims, and print it with the machine it was measured on.

    python -m onestep_md.benchmark alanine            # train, sample, compare with the reference
    python -m onestep_md.benchmark reference systems/alanine.yaml --duration 10000
    python -m onestep_md.benchmark densities gmm9 funnel --seeds 3
    python -m onestep_md.benchmark particles dw4
    python -m onestep_md.benchmark molecules          # thirty small ones, log Z checked
    python -m onestep_md.benchmark weights runs/gmm9
    python -m onestep_md.benchmark throughput         # the evaluator pool on this machine
    python -m onestep_md.benchmark chaos              # runs that lose evaluators, nodes, drivers
    python -m onestep_md.benchmark gpu --minutes 10   # what only a GPU can show

The reference is a long replica-exchange run of the same target, kept as populations of regions in
`systems/reference/`.
"""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onestep_md.config import load_config
from onestep_md.errors import RunFolderError, TargetError
from onestep_md.run import main
from onestep_md.run_folder import machine_line

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def alanine(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/benchmark-alanine"),
    system: Annotated[Path, typer.Option(help="YAML file.")] = Path("systems/alanine.yaml"),
    resume: Annotated[bool, typer.Option(help="Measure a run that is already there.")] = False,
) -> None:
    """Run a system from beginning to end and compare it with its reference."""
    from onestep_md import pipeline

    config = load_config(system)
    pipeline.run(config, out, resume, local=False, address=None)
    reference = system.parent / "reference" / f"{system.stem}.json"
    for line in summary(out, reference):
        print(line)


@app.command()
def reference(
    system: Annotated[Path, typer.Argument(help="YAML file with regions.")],
    duration: Annotated[float, typer.Option(help="ps of every replica.")] = 10_000.0,
    seed: Annotated[int, typer.Option(help="Not the seed of any training run.")] = 20261121,
) -> None:
    """Long replica exchange; writes the populations of the regions to systems/reference/."""
    from onestep_md import pipeline

    overrides = [
        "exploration.method=dynamics",
        f"exploration.duration={duration}",
        "exploration.equilibration=50",
        "exploration.frame_interval=0.2",
    ]
    config = load_config(system, overrides, seed)
    path = system.parent / "reference" / f"{system.stem}.json"
    pipeline.write_reference(config, path)
    print(path)


@app.command()
def densities(
    targets: Annotated[list[str] | None, typer.Argument(help="Names; default: all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of all the runs.")] = Path("runs/densities"),
    systems: Annotated[Path, typer.Option(help="Folder of the YAML files.")] = Path("systems"),
    method: Annotated[list[str], typer.Option(help="train.method, repeatable.")] = ["buffer"],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Runs of every target.")] = 1,
    override: Annotated[list[str] | None, typer.Option("--set", help="As in `run`.")] = None,
) -> None:
    """Benchmark densities with known log Z; finished runs are kept. Writes table.md and .csv."""
    from onestep_md import density_table
    from onestep_md.config.types import DENSITIES

    rows = []
    for name in targets or DENSITIES:
        for chosen in method:
            folders = []
            for seed in range(1, seeds + 1):
                folder = out / f"{name}-{chosen}-{seed}"
                options = [*(override or ()), f"train.method={chosen}"]
                try:
                    _finish(systems / f"{name}.yaml", options, seed, folder)
                    folders.append(folder)
                except TargetError as error:  # its data are not here, say
                    print(f"{name} is left out: {error}")
            if folders:
                rows += density_table.collect(name, chosen, folders)
                table = density_table.write_table(rows, out / "table")
    for line in table if rows else ():
        print(line)


@app.command()
def particles(
    targets: Annotated[list[str] | None, typer.Argument(help="Names; default: all.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of all the runs.")] = Path("runs/particles"),
    systems: Annotated[Path, typer.Option(help="Folder of the YAML files.")] = Path("systems"),
    seed: Annotated[int, typer.Option(help="Of every run.")] = 1,
    override: Annotated[list[str] | None, typer.Option("--set", help="As in `run`.")] = None,
) -> None:
    """Flows in Cartesian coordinates beside published samplers; finished runs are kept."""
    from onestep_md.particle_table import PUBLISHED, PUBLISHED_MOLECULES, write_table

    folders = {}
    for name in targets or (*PUBLISHED, *PUBLISHED_MOLECULES):
        folders[name] = out / f"{name}-{seed}"
        _finish(systems / f"{name}.yaml", override or (), seed, folders[name])
        table = write_table(folders, out / "table.md")
    for line in table:
        print(line)


@app.command()
def molecules(
    only: Annotated[str, typer.Option(help="Names with commas between them.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of all the runs.")] = Path("runs/molecules"),
    systems: Annotated[Path, typer.Option(help="Folder of the YAML files.")] = Path(
        "systems/molecules"
    ),
    reference: Annotated[bool, typer.Option(help="Make what they are compared with.")] = False,
    duration: Annotated[float, typer.Option(help="ps of a replica, for --reference.")] = 4000.0,
    seed: Annotated[int | None, typer.Option(help="Instead of that of the files.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="As in `run`.")] = None,
) -> None:
    """Small molecules: log Z and regions beside independent values; finished runs are kept."""
    from onestep_md.benchmark_molecules import make_references, measure_molecules

    names = only.split(",") if only else sorted(path.stem for path in systems.glob("*.yaml"))
    files = [systems / f"{name}.yaml" for name in names]
    references = systems.parent / "reference" / "molecules.json"
    if reference:
        make_references(files, references, duration)
        return
    for line in measure_molecules(files, references, out, override or (), seed):
        print(line)


def _finish(system: Path, overrides: Sequence[str], seed: int, folder: Path) -> None:
    """Run what is in `system` in this process, or what is left of it; nothing if it has ended."""
    from onestep_md import pipeline

    if not (folder / "results.json").exists():
        config = load_config(system, overrides, seed)
        pipeline.run(config, folder, folder.exists(), local=True, address=None)


@app.command()
def weights(
    run: Annotated[Path, typer.Argument(help="Finished run on a density.")],
    n: Annotated[int, typer.Option(help="Samples for every K.")] = 10_000,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code that is in the run folder run.")
    ] = False,
) -> None:
    """Log Z and ELBO by exact, first-order and path weights against K: a table and a figure."""
    from onestep_md.weight_kinds import compare_weights

    for line in compare_weights(run, n, trust):
        print(line)


@app.command()
def throughput(
    system: Annotated[Path, typer.Option(help="YAML file.")] = Path("systems/alanine.yaml"),
) -> None:
    """Evaluator pool against bare loops and against its model, and the driver's memory."""
    from onestep_md.benchmark_throughput import measure_throughput

    for line in measure_throughput(system):
        print(line)


@app.command()
def chaos(
    system: Annotated[Path, typer.Option(help="YAML file.")] = Path("systems/alanine-quick.yaml"),
    drivers: Annotated[int, typer.Option(help="Runs whose driver is killed and resumed.")] = 20,
    steps: Annotated[int, typer.Option(help="Training steps of every run.")] = 150,
    seed: Annotated[int, typer.Option(help="Of the moments at which drivers are killed.")] = 1,
) -> None:
    """Runs that lose evaluators, nodes and drivers; fails unless all equal the undisturbed one."""
    from onestep_md.benchmark_chaos import measure_chaos

    for line in measure_chaos(system, drivers, steps, seed):
        print(line)


@app.command()
def gpu(
    minutes: Annotated[float, typer.Option(help="In all; each part is cut.")] = 10.0,
    out: Annotated[Path, typer.Option(help="Folder of table, logs and models.")] = Path(
        "runs/gpu"
    ),
    systems: Annotated[Path, typer.Option(help="Folder of the YAML files.")] = Path("systems"),
    local: Annotated[bool, typer.Option(help="No Ray: energies in each process.")] = False,
) -> None:
    """Numbers, speeds and trainings on a GPU; fails if its numbers differ from the CPU's."""
    started = time.time()  # imports count
    from onestep_md.benchmark_gpu import Plan, measure_gpu

    measure_gpu(minutes, out, systems, local, Plan(), started)


def summary(run: Path, reference_path: Path) -> list[str]:
    """Markdown table of a finished run; regions beside the reference where there is one."""
    from onestep_md.estimators.estimate import (
        ESS_NOTE,
        Estimate,
        agreement,
        stored_ess,
        stored_forward,
        stored_text,
    )

    results = json.loads((run / "results.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    regions = json.loads((run / "free_energy.json").read_text())["regions"]
    rows = {row["steps"]: row for row in results["evidence"]}
    if 1 not in rows:
        raise RunFolderError(f"{run}: no one-step samples to summarise")
    seconds, count = results["seconds"], results["evaluations"]
    lines = [
        machine_line(environment),
        "",
        "| quantity | measured |",
        "|---|---|",
        f"| whole run | {sum(seconds.values()) / 60:.1f} min |",
        f"| energy evaluations | {sum(count.values()):.2e} |",
        f"| drawing 10^4 one-step samples | {10 * rows[1]['seconds_per_1000']:.1f} s |",
    ]
    for steps, row in rows.items():
        lines.append(
            f"| K = {steps} | ESS {stored_ess(row)}, forward {stored_forward(row)}, "
            f"log Z {stored_text(row['log_z'])}, ELBO {stored_text(row['elbo'])}, "
            f"EUBO {stored_text(row['eubo'])}, BAR {stored_text(row['bar'])}, "
            f"det <= 0: {row['negative_determinants']}/{row['checked']}, "
            f"round trip {_number(row['round_trip']):.0e} |"
        )
        if row.get("ess_sets"):
            low, high = 100 * min(row["ess_sets"]), 100 * max(row["ess_sets"])
            sets = f"{len(row['ess_sets'])} sets of 10,000 samples"
            lines.append(f"| K = {steps}, ESS of {sets} | {low:.1f} to {high:.1f} % |")
    if reference_path.exists():
        known = json.loads(reference_path.read_text())
        by_name = {region["name"]: region for region in known["regions"]}
        for region in regions:
            other = by_name[region["name"]]
            # the reference may have another zero: compare relative to the region used here
            zero = by_name[region["reference"]]["delta_f"]
            if region["name"] == region["reference"]:
                continue
            ours = Estimate(_number(region["delta_f"]), _number(region["d_delta_f"]))
            theirs = Estimate(_number(other["delta_f"]) - zero, _number(other["d_delta_f"]))
            few = "; FEW SAMPLES" if region.get("few_samples") else ""
            worth = region.get("effective_samples")
            worth = "" if worth is None else f" ({worth:.0f} effective samples{few})"
            lines.append(
                f"| F({region['name']}) - F({region['reference']}) | {ours.format()}{worth}, "
                f"reference {theirs.format()}, z = {agreement(ours, theirs):+.1f} |"
            )
    if not all(row.get("ess_error_known", True) for row in rows.values()):
        lines += ["", f"{ESS_NOTE}."]
    return lines


def _number(value: float | None) -> float:
    """JSON's null, which stands for what is infinite or unknown, as nan."""
    return math.nan if value is None else value


if __name__ == "__main__":
    main(app)
