"""Boltzmann samples of a molecule in one network evaluation, with exact weights.

    python -m onestep_md.run systems/alanine.yaml

trains, samples and writes a run folder. In Python:

* `load(folder)`: the trained sampler of a run folder, a `BoltzmannSampler`,
* `train(config, out)`: train one,
* `load_run(folder)`: the samples and weights that a run has written.

Importing the package imports nothing heavy; what these need comes on first use.
"""

import importlib
import os

# Read when torch loads OpenMP: how long its threads spin before they sleep. By default some
# milliseconds: on two idle cores this is as fast, and on busy ones it took over ten times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
__all__ = ["BoltzmannSampler", "load", "load_run", "train"]

_HOMES = {
    "BoltzmannSampler": "onestep_md.sampler",
    "load": "onestep_md.sampler",
    "load_run": "onestep_md.analysis.trajectories",
    "train": "onestep_md.sampler",
}


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
