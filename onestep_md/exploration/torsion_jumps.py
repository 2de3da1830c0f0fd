"""Monte Carlo turns between the wells of torsions that dynamics does not cross.

One half of a molecule turns about a bond, from the angle of one minimum of the torsion's own terms
to that of another. Turns and their reverses are proposed alike and turning keeps volumes, so the
Metropolis rule makes any temperature invariant. Hot replicas accept, exchanges carry it down.
"""

from collections.abc import Sequence

import numpy as np

from onestep_md.targets.torsion_profiles import TorsionProfile, turn_atoms

CROSSED = 5.0  # kT at the highest temperature; dynamics crosses lower barriers in a picosecond


class TorsionJumps:
    """The torsions whose barriers are too high for a ladder of temperatures, and their turns.

    Attributes:
        bonds: their bonds, (i, j).
    """

    def __init__(self, torsions: Sequence[TorsionProfile], hottest: float):
        """Choose among `torsions`; `hottest` is kT of the highest temperature in kJ/mol."""
        slow = [torsion for torsion in torsions if torsion.barrier > CROSSED * hottest]
        found = [(torsion, _find_turns(torsion.energy)) for torsion in slow]
        self._moves = [(torsion, turns) for torsion, turns in found if len(turns)]
        self.bonds = tuple(torsion.bond for torsion, _ in self._moves)

    def propose(self, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Conformations x (batch, atoms, 3), each with one random turn of one torsion."""
        moved = np.array(x)
        for row in moved:
            torsion, turns = self._moves[generator.integers(len(self._moves))]
            turn = turns[generator.integers(len(turns))]
            row[:] = turn_atoms(row, torsion.bond, torsion.moving, np.array([turn]))[0]
        return moved


def _find_turns(energy: np.ndarray) -> np.ndarray:
    """Differences in radians between the minima of a profile (points,), both ways."""
    minima = np.flatnonzero((energy < np.roll(energy, 1)) & (energy <= np.roll(energy, -1)))
    apart = (minima[:, None] - minima)[~np.eye(len(minima), dtype=bool)]
    return 2.0 * np.pi / len(energy) * apart
