"""What computes the energies of a molecule, by name; and the fastest for it.

Reference, CPU, CUDA and others are platforms of OpenMM; torch and torch-CUDA compute in batches.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onestep_md.errors import TargetError
from onestep_md.targets.evaluator import PotentialEvaluator
from onestep_md.targets.molecule import Molecule

if TYPE_CHECKING:
    from onestep_md.targets.batched.evaluator import BatchedEvaluator

TORCH = {"torch": "cpu", "torch-CUDA": "cuda"}  # devices of torch by name
TIMING_FRAMES = 64


@dataclass(frozen=True)
class PlatformChoice:
    """The fastest platform, and the evaluations per second of all candidates."""

    name: str
    rates: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        timed = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in self.rates)
        return f"{self.name} (timed per evaluator: {timed})"


def make_evaluator(molecule: Molecule, platform: str) -> "PotentialEvaluator | BatchedEvaluator":
    """Make an evaluator of a molecule in this process.

    Raises:
        TargetError: the platform cannot be used.
    """
    if platform in TORCH:
        # Imported late: evaluators of OpenMM start sooner, and are smaller, without torch.
        from onestep_md.targets.batched.evaluator import BatchedEvaluator

        return BatchedEvaluator(molecule, TORCH[platform])
    return PotentialEvaluator(molecule, platform)


def time_platforms(molecule: Molecule) -> PlatformChoice:
    """Time 64 evaluations on Reference, CPU with one thread, and torch, and choose the fastest.

    Each may be ten times as fast as another, depending on the solvent model. Torch is no
    candidate where it does not know a force. CPU time counts, and the best of three rounds: other
    processes share the cores.
    """
    generator = np.random.default_rng(0)
    noise = generator.normal(scale=0.002, size=(TIMING_FRAMES, *molecule.positions.shape))
    x = molecule.positions + noise
    rates = []
    for name in ("Reference", "CPU", "torch"):
        try:
            evaluator = make_evaluator(molecule, name)
        except TargetError:
            if name not in TORCH:
                raise
            continue
        rounds = []
        for _ in range(3):
            start = time.process_time()
            evaluator.evaluate(x)
            rounds.append(time.process_time() - start)
        rates.append((name, TIMING_FRAMES / min(rounds)))
    return PlatformChoice(max(rates, key=lambda rate: rate[1])[0], tuple(rates))
