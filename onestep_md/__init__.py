"""Boltzmann samples of a molecule in one network evaluation, with exact weights.

    python -m onestep_md.run systems/alanine.yaml

trains, samples and writes a run folder; `onestep_md.load_run(folder)` reads its samples and
weights. Importing the package imports nothing heavy: what needs mdtraj comes on first use.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    if name == "load_run":
        from onestep_md.analysis.trajectories import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "load_run"])
