r"""The chart of identical particles: mean-free coordinates in one common unit.

x = sigma s_x in the orthonormal basis of the target, one sigma for all coordinates because any
other scaling is no symmetry, so log|det dx/ds_x| = (n-1) D log sigma.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onestep_md.coordinates.alignment import nearest_orthogonal
from onestep_md.coordinates.augmented import AugmentedChart

_TURNS = 2  # of matching and rotation in `align`


class CartesianChart(AugmentedChart):
    """Particles in D dimensions, scaled to unit variance."""

    basis: Tensor
    sigma: Tensor

    def __init__(self, basis: Tensor, space: int, sigma: Tensor):
        """Take a basis and D as in `fit`, and the unit of length sigma."""
        super().__init__(len(basis), space)
        self.register_buffer("basis", basis.double())
        self.register_buffer("sigma", sigma)

    @classmethod
    def fit(cls, x: Tensor, basis: Tensor, space: int) -> "CartesianChart":
        """Fit the unit of length to samples.

        Args:
            x: (batch, (n-1) D) equal-weight samples in this basis, float64.
            basis: (n, n-1) orthonormal columns, each orthogonal to the vector of ones.
            space: D.
        """
        # the mean of x is zero by symmetry, whatever a sample of it is
        return cls(basis, space, x.square().mean().sqrt())

    def __str__(self) -> str:
        count = f"{self.free} coordinates and {self.n_linear - self.free} auxiliary ones"
        return f"{self.particles} particles in {self.space} dimensions, {count}"

    def to_x(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return self.sigma * s[:, : self.free], self._log_noise(s) + self.free * self.sigma.log()

    def from_x(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `to_x` with the same auxiliaries at every call."""
        s = self._with_auxiliaries(x / self.sigma)
        return s, self.to_x(s)[1]

    def align(self, z: Tensor, s: Tensor) -> Tensor:
        """Match particles (Hungarian) and rotate or reflect them (Kabsch) in turns.

        Each turn brings z nearer to s; the nearest of all images may be another one. Straighter
        paths from z to s leave less for one step to do (Klein et al., arXiv 2306.15030).
        """
        moved, fixed = (self._particles(states.double()) for states in (z, s))
        for _ in range(_TURNS):
            gain = torch.einsum("bikd,bjkd->bij", fixed, moved).numpy()
            order = np.stack([linear_sum_assignment(row, maximize=True)[1] for row in gain])
            moved = moved.take_along_dim(torch.from_numpy(order)[..., None, None], 1)
            turn = nearest_orthogonal(torch.einsum("bikd,bike->bde", moved, fixed), proper=False)
            moved = torch.einsum("bikd,bde->bike", moved, turn)
        position = self.basis.T @ moved[:, :, 0]
        return torch.cat([position.flatten(1), moved[:, :, 1].flatten(1)], dim=-1).to(z)

    def _particles(self, s: Tensor) -> Tensor:
        """Split states into positions and auxiliary offsets of the particles, (batch, n, 2, D)."""
        position = self.basis @ s[:, : self.free].unflatten(-1, (-1, self.space))
        auxiliary = s[:, self.free :].unflatten(-1, (-1, self.space))
        return torch.stack([position, auxiliary], dim=2)
