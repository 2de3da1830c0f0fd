"""The run folder: what may be written into it, what a run is made from, and reading that again."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from onestep_md.config import Config, config_text, keys_in_run_folder, load_configs
from onestep_md.errors import RunFolderError
from onestep_md.files import write_json, write_text
from onestep_md.sampling.target import Target

_PACKAGES = ("onestep_md", "torch", "ray", "openmm", "mdtraj", "numpy", "scipy", "pymbar")


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder that a run must not write into.

    Raises:
        RunFolderError: it already holds a run, or there is nothing to resume.
    """
    existing = folder / "config.yaml"
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; choose another folder with --out")
    if resume and not existing.exists():
        raise RunFolderError(f"{folder} holds no run to resume; start it without --resume")
    if not resume and folder.exists() and any(folder.iterdir()):
        what = "already holds a run" if existing.exists() else "is not empty"
        raise RunFolderError(
            f"{folder} {what}. Continue it with --resume, or choose another folder with --out."
        )


def keep_origin(folder: Path, config: Config, target: Target, resources: dict) -> None:
    """Keep what a run is made from: resolved configuration, versions and machine, the target.

    The run folder then works without the YAML file and the files that it names.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", config_text(config))
        record = _environment(config.seed, target.fingerprint.as_dict(), resources)
        write_json(folder / "environment.json", record)
        target.keep(folder)
    except OSError as error:
        raise RunFolderError(f"cannot write into {folder}: {error}") from error


def recorded_platform(folder: Path) -> str | None:
    """OpenMM platform of the evaluators that a run has had so far; None if it is new."""
    path = folder / "environment.json"
    return json.loads(path.read_text())["resources"]["platform"] if path.exists() else None


def load_run_config(folder: Path, trust: bool = False) -> Config:
    """Configuration of a finished or interrupted run, its target read from the run folder.

    Args:
        folder: of the run; it may be someone else's.
        trust: whether code in it may run. What its own config.yaml says of that does not count.

    Raises:
        RunFolderError: the folder holds no run, or one whose code may not run.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise RunFolderError(f"{folder} holds no run (no config.yaml in it)")
    configs = load_configs(path)
    if len(configs) > 1:
        raise RunFolderError(
            f"{folder} is a run on several molecules. Choose one of them: "
            + ", ".join(str(folder / name) for name in configs)
        )
    config = next(iter(configs.values()))
    target = config.target
    if target.kind == "molecule":
        return config.changed("target", **keys_in_run_folder(), trust=trust)
    if target.kind == "density":
        return config.changed("target", data=target.data and Path(target.data).name)
    if not trust:
        module = target.function.partition(":")[0]
        raise RunFolderError(
            f"{folder} is a run on a Python function, and to use it is to run its {module}.py. If "
            "you made it, or trust who did, give --trust (for train.teacher and "
            "exploration.from, set target.trust: true)."
        )
    return config.changed("target", trust=trust)


def _environment(seed: int, fingerprint: dict, resources: dict) -> dict:
    """Versions, machine and command line."""
    return {
        "command": _command(),
        "seed": seed,
        **machine(),
        "git": _git_commit(),
        "resources": resources,
        "fingerprint": fingerprint,
    }


def _command() -> str:
    """Command line of this process, with module names instead of paths into this package."""
    program, package = Path(sys.argv[0]), Path(__file__).parent
    if program.is_relative_to(package):
        parts = program.relative_to(package.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__main__")
        return shlex.join(["python", "-m", name, *sys.argv[1:]])
    return shlex.join([program.name, *sys.argv[1:]])


def machine() -> dict:
    """Host, processor and versions."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def machine_line(record: dict) -> str:
    """First line of a table of measurements; `record` is `machine()` or `environment.json`."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"machine: {record['machine']}, {record['cpus']} CPUs; {versions}"


def _processor() -> str:
    """Name of the processor; on Linux `platform` and psutil have none, but the kernel does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
