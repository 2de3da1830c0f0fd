r"""The chart of a molecule's positions: a Gaussian that no rotation changes, and nothing else.

X = M s_x are the mean-free positions, M (n, n-1) with M M^T = <X X^T> / 3, the covariance of the
explored atoms averaged over all directions: bonded atoms are near each other in the base, but no
bond, angle or chirality is right. All of that is left to the flow.

Base and flow do not distinguish equivalent atoms, such as the hydrogens of a methyl. Their numbers
can have two chiralities around an atom with four neighbours. Dynamics has one of them and this
density has both, 2^h equal copies for h such groups. A configuration stands for all of its copies.

log Z leaves rigid motion out, as it does in internal coordinates, whose volume element J dq goes
with 8 pi^2 of rotations and all positions of an atom. Mean-free positions have the same rotations,
and n^{3/2} times their volume goes with all positions of the centre, so

    log|det dx/ds_x| = 3 log|det B^T M| + 3/2 log n - log 8 pi^2 - h log 2,   B orthonormal.

Two atoms have the rotations of a line alone, 4 pi instead of 8 pi^2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onestep_md.coordinates.alignment import kabsch_rotation
from onestep_md.coordinates.augmented import AugmentedChart
from onestep_md.coordinates.internal import InternalCoordinates


class PositionChart(AugmentedChart):
    """The atoms of one molecule, with the covariance that they were explored with.

    Attributes:
        coordinates: the internal ones, with the domain of the molecule.
        spread: (n, n-1) the matrix M, in nm.
    """

    spread: Tensor
    gather: Tensor
    log_volume: Tensor

    def __init__(
        self, coordinates: InternalCoordinates, spread: Tensor, gather: Tensor, log_volume: Tensor
    ):
        """Take the attributes, the inverse of M and log|det dx/ds_x|."""
        super().__init__(len(spread), 3)
        self.coordinates = coordinates
        self.register_buffer("spread", spread)
        self.register_buffer("gather", gather)
        self.register_buffer("log_volume", log_volume)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        coordinates: InternalCoordinates,
        bonds: Sequence[tuple[int, int]],
        equivalent: Sequence[tuple[int, ...]],
    ) -> "PositionChart":
        """Fit the covariance.

        Args:
            x: (frames, n, 3) nm, equal-weight samples in any orientation, float64.
            coordinates: of the molecule, with `stereo.find_tetrahedral_centres` as its centres.
            bonds: pairs of atoms.
            equivalent: `stereo.find_equivalent_atoms` of the molecule.
        """
        x = x - x.mean(1, keepdim=True)
        covariance = torch.einsum("bik,bjk->ij", x, x) / (3 * len(x))
        for group in equivalent:
            _make_alike(covariance, list(group))
        # one eigenvalue is zero, that of the centre: it is the smallest
        variances, vectors = torch.linalg.eigh(covariance)
        deviations = variances[1:].sqrt()
        particles = x.shape[1]
        rotations = 4.0 * math.pi if particles == 2 else 8.0 * math.pi**2
        motion = 1.5 * math.log(particles) - math.log(rotations)
        copies = math.log(2.0) * len(
            {_parent_of_four(group[0], bonds) for group in equivalent} - {None}
        )
        return cls(
            coordinates,
            vectors[:, 1:] * deviations,
            (vectors[:, 1:] / deviations).T,
            3.0 * deviations.log().sum() + motion - copies,
        )

    def __str__(self) -> str:
        return f"positions of {self.particles} atoms, and as many auxiliary ones"

    @property
    def log_motion(self) -> Tensor:
        return self.log_volume - 3.0 * self.spread.norm(dim=0).log().sum()

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Map states to conformations (batch, atoms, 3); other isomers are outside the chart."""
        x = self.spread @ s[:, : self.free].unflatten(-1, (-1, 3))
        wrong = ~self.coordinates.domain.contains(x)
        return x, torch.where(wrong, -torch.inf, self._log_noise(s) + self.log_volume)

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_x` up to the place of the centre, with the same auxiliaries at every call."""
        s = self._with_auxiliaries((self.gather @ x).flatten(1))
        return s, self.to_x(s)[1]

    def align(self, z: Tensor, s: Tensor) -> Tensor:
        """Rotate positions and auxiliary noise alike (Kabsch)."""
        states = z.double().unflatten(-1, (-1, 3))
        turn = kabsch_rotation(self.to_x(z.double())[0], self.to_x(s.double())[0])
        return (states @ turn).flatten(1).to(z)


def _make_alike(covariance: Tensor, group: list[int]) -> None:
    """Average (n, n) in place over the exchanges of a group of atoms."""
    inside = covariance[group][:, group]
    variance = inside.diagonal().mean()
    other = (inside.sum() - inside.diagonal().sum()) / (len(group) * (len(group) - 1))
    mean = covariance[group].mean(0)
    covariance[group], covariance[:, group] = mean, mean[:, None]
    for i in group:
        covariance[i, group] = other
        covariance[i, i] = variance


def _parent_of_four(atom: int, bonds: Sequence[tuple[int, int]]) -> int | None:
    """Find the one atom that `atom` is bonded to, if that has four neighbours."""
    (parent,) = {i for bond in bonds if atom in bond for i in bond} - {atom}
    return parent if sum(parent in bond for bond in bonds) == 4 else None
