"""Energies of several molecules by one evaluator.

A batch is of one molecule. Which one it is, its conformations say themselves, in a last row that
is no atom: so a batch may be cut into jobs and sent to any evaluator, like that of one molecule.
"""

import numpy as np

from onestep_md.targets.evaluator import PotentialEvaluator
from onestep_md.targets.molecule import Molecule


def marked(x: np.ndarray, which: int) -> np.ndarray:
    """Conformations (batch, atoms, 3) of molecule `which`, as (batch, atoms + 1, 3)."""
    return np.concatenate([x, np.full_like(x[:, :1], which)], axis=1)


class SeveralPotentials:
    """Reduced energies of several molecules; called like `PotentialEvaluator`."""

    def __init__(self, molecules: tuple[Molecule, ...], platform: str):
        """One context for each of them."""
        self._evaluators = [PotentialEvaluator(molecule, platform) for molecule in molecules]

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """U (batch,) in kT and grad_u of the shape of x, which `marked` made; zero in its row."""
        u, grad_u = self._evaluators[int(x[0, -1, 0])].evaluate(x[:, :-1])
        return u, marked(grad_u, 0)
