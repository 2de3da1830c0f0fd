"""Monte Carlo turns between the wells of torsions that dynamics does not cross.

One half of a molecule turns about a bond, from the angle of one minimum of the torsion's own terms
to that of another. Turns and their reverses have equal probabilities and turning keeps volumes, so
the Metropolis rule leaves the density at any temperature invariant. Hot replicas accept turns, and
exchanges carry them down.
"""

from collections.abc import Sequence

import numpy as np

from onestep_md.targets.torsion_profiles import TorsionProfile, turn_atoms

CROSSED = 5.0  # kT at the highest temperature, below which dynamics crosses in a picosecond


class TorsionJumps:
    """Turns of the torsions whose barriers are too high for a ladder of temperatures.

    Attributes:
        bonds: (i, j) of these torsions.
    """

    def __init__(self, torsions: Sequence[TorsionProfile], hottest: float):
        """Choose among `torsions`; `hottest` is kT of the highest temperature in kJ/mol."""
        slow = [torsion for torsion in torsions if torsion.barrier > CROSSED * hottest]
        moves = [(torsion, _find_turns(torsion.energy)) for torsion in slow]
        self._moves = [(torsion, turns) for torsion, turns in moves if len(turns)]
        self.bonds = tuple(torsion.bond for torsion, _ in self._moves)

    def propose(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Copy conformations x (batch, atoms, 3), each with one random turn of one torsion."""
        moved = np.array(x)
        for row in moved:
            torsion, turns = self._moves[generator.integers(len(self._moves))]
            turn = turns[generator.integers(len(turns))]
            row[:] = turn_atoms(row, torsion.bond, torsion.moving, np.array([turn]))[0]
        return moved


def _find_turns(energy: np.ndarray) -> np.ndarray:
    """Find the differences in radians between the minima of a profile (points,), both ways."""
    minima = np.flatnonzero((energy < np.roll(energy, 1)) & (energy <= np.roll(energy, -1)))
    apart = (minima[:, None] - minima)[~np.eye(len(minima), dtype=bool)]
    return 2.0 * np.pi / len(energy) * apart
