"""Command line: measure what the README claims, and print it with the machine it was measured on.

    python -m onestep_md.benchmark alanine            # train, sample, compare with the reference
    python -m onestep_md.benchmark reference systems/alanine.yaml --duration 10000
    python -m onestep_md.benchmark replica-exchange runs/alanine --share 0.5
    python -m onestep_md.benchmark densities gmm9 funnel --seeds 3
    python -m onestep_md.benchmark particles dw4
    python -m onestep_md.benchmark molecules          # thirty small ones, log Z checked
    python -m onestep_md.benchmark states runs/alanine systems/alanine-states.yaml
    python -m onestep_md.benchmark solvation          # five molecules in three solvents
    python -m onestep_md.benchmark weights runs/gmm9
    python -m onestep_md.benchmark throughput         # the evaluator pool on this machine
    python -m onestep_md.benchmark energies           # OpenMM beside batches by torch
    python -m onestep_md.benchmark learner            # training steps, by K
    python -m onestep_md.benchmark losses systems/gmm9.yaml   # trainings without each loss
    python -m onestep_md.benchmark chaos              # runs that lose evaluators, nodes, drivers
    python -m onestep_md.benchmark gpu --minutes 10   # what only a GPU can show

The reference is a long replica-exchange run of the same target, kept as populations of regions in
`systems/reference/`.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onestep_md.command_line import main
from onestep_md.config import load_config
from onestep_md.errors import ConfigError, TargetError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def alanine(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/benchmark-alanine"),
    system: Annotated[Path, typer.Option(help="YAML file.")] = Path("systems/alanine.yaml"),
    resume: Annotated[bool, typer.Option(help="Measure a run that is already there.")] = False,
) -> None:
    """Run a system from beginning to end and compare it with its reference."""
    from onestep_md import pipeline
    from onestep_md.benchmark.reference import summary

    config = load_config(system)
    pipeline.run({out.name: config}, out, resume, local=False, address=None)
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
    from onestep_md.benchmark.reference import write_reference

    overrides = [
        "exploration.method=dynamics",
        f"exploration.duration={duration}",
        "exploration.equilibration=50",
        "exploration.frame_interval=0.2",
    ]
    config = load_config(system, overrides, seed)
    path = system.parent / "reference" / f"{system.stem}.json"
    write_reference(config, path)
    print(path)


@app.command()
def replica_exchange(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs on molecules with regions.")],
    share: Annotated[float, typer.Option(help="Of the CPU time of each run, up to 1.")] = 1.0,
) -> None:
    """Runs beside replica exchange, OpenMM's and ours, of as much CPU time or energies."""
    from onestep_md.benchmark.replica_exchange import compare_with_replica_exchange

    for line in compare_with_replica_exchange(runs, share):
        print(line, flush=True)


@app.command()
def states(
    run: Annotated[Path, typer.Argument(help="Finished run; a YAML file for --reference.")],
    file: Annotated[Path, typer.Argument(help="YAML file of states.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/states"),
    reference: Annotated[bool, typer.Option(help="Make what it is compared with.")] = False,
    duration: Annotated[float, typer.Option(help="ps of a replica, for --reference.")] = 1500.0,
    seed: Annotated[int, typer.Option(help="Of the samples and bridges.", min=0)] = 0,
) -> None:
    """Free energies between states beside replica exchange and MBAR, which know no flow."""
    from onestep_md.benchmark.state_reference import compare_states, write_state_reference

    path = file.parent / "reference" / f"{file.stem}.json"
    if reference:
        write_state_reference(run, file, path, duration)
        return
    for line in compare_states(run, file, path, out, seed):
        print(line)


@app.command()
def solvation(
    only: Annotated[str, typer.Option(help="Names with commas between them.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of all the runs.")] = Path("runs/solvation"),
    systems: Annotated[Path, typer.Option(help="Folder of the YAML files.")] = Path(
        "systems/solvation"
    ),
    reference: Annotated[bool, typer.Option(help="Make what they are compared with.")] = False,
    seed: Annotated[int | None, typer.Option(help="Instead of that of the files.")] = None,
) -> None:
    """Free energies of solvation beside log Z by quadrature; finished runs are kept."""
    from onestep_md.benchmark.solvation import make_solvation_references, measure_solvation

    files = sorted(path for path in systems.glob("*.yaml") if not path.stem.endswith("-states"))
    chosen = [path for path in files if not only or path.stem in only.split(",")]
    references = systems.parent / "reference" / "solvation.json"
    if reference:
        make_solvation_references(chosen, references)
        return
    for line in measure_solvation(chosen, references, out, seed):
        print(line)


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
    from onestep_md.benchmark import densities
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
                rows += densities.collect(name, chosen, folders)
                table = densities.write_table(rows, out / "table")
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
    from onestep_md.benchmark.particles import PUBLISHED, PUBLISHED_MOLECULES, write_table

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
    from onestep_md.benchmark.molecules import make_references, measure_molecules

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
        pipeline.run({folder.name: config}, folder, folder.exists(), local=True, address=None)


@app.command()
def weights(
    run: Annotated[Path, typer.Argument(help="Finished run on a density.")],
    n: Annotated[int, typer.Option(help="Samples for every K.")] = 10_000,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code that is in the run folder run.")
    ] = False,
) -> None:
    """Log Z and ELBO by exact, first-order and path weights against K: a table and a figure."""
    from onestep_md.benchmark.weights import compare_weights

    for line in compare_weights(run, n, trust):
        print(line)


@app.command()
def throughput(
    system: Annotated[Path, typer.Option(help="YAML file.")] = Path("systems/alanine.yaml"),
) -> None:
    """Evaluator pool against bare loops and against its model, and the driver's memory."""
    from onestep_md.benchmark.throughput import measure_throughput

    for line in measure_throughput(system):
        print(line)


@app.command()
def energies(
    systems: Annotated[Path, typer.Option(help="Folder of the YAML files.")] = Path("systems"),
) -> None:
    """Energies per CPU second of OpenMM's platforms and of torch in batches."""
    from onestep_md.benchmark.energies import measure_energies

    for line in measure_energies(systems):
        print(line)


@app.command()
def learner(
    systems: Annotated[list[Path] | None, typer.Argument(help="YAML files.")] = None,
) -> None:
    """Training steps per CPU second by K, beside what their matrix products alone would take."""
    from onestep_md.benchmark.learner import measure_learner

    names = ("alanine", "trialanine", "thymidine", "gmm9")
    for line in measure_learner(systems or [Path(f"systems/{name}.yaml") for name in names]):
        print(line)


@app.command()
def losses(
    systems: Annotated[list[Path], typer.Argument(help="YAML files with train.method: buffer.")],
    out: Annotated[Path, typer.Option(help="Folder of all trainings.")] = Path("runs/losses"),
    only: Annotated[str, typer.Option(help="Variants with commas between them.")] = "",
    seeds: Annotated[int, typer.Option(help="Trainings of every variant.", min=1)] = 2,
    samples: Annotated[int, typer.Option(help="For every K.", min=100)] = 2000,
    override: Annotated[list[str] | None, typer.Option("--set", help="As in `run`.")] = None,
) -> None:
    """Trainings without each of their losses, to 128 steps; finished ones are kept."""
    from onestep_md.benchmark.losses import VARIANTS, measure_losses

    chosen = only.split(",") if only else list(VARIANTS)
    if unknown := [name for name in chosen if name not in VARIANTS]:
        raise ConfigError(f"--only: no {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    for file in systems:
        for line in measure_losses(file, out, chosen, seeds, samples, override or ()):
            print(line)


@app.command()
def chaos(
    system: Annotated[Path, typer.Option(help="YAML file.")] = Path("systems/alanine-quick.yaml"),
    drivers: Annotated[int, typer.Option(help="Runs whose driver is killed and resumed.")] = 20,
    steps: Annotated[int, typer.Option(help="Training steps of every run.")] = 150,
    seed: Annotated[int, typer.Option(help="Of the moments at which drivers are killed.")] = 1,
) -> None:
    """Runs that lose evaluators, nodes and drivers; fails unless all equal the undisturbed one."""
    from onestep_md.benchmark.chaos import measure_chaos

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
    from onestep_md.benchmark.gpu import Plan, measure_gpu

    measure_gpu(minutes, out, systems, local, Plan(), started)


if __name__ == "__main__":
    main(app)
