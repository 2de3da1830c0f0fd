"""The domain of a molecule: conformations whose stereocentres and bonds are as in the input.

Everything else is another isomer, and no part of the density.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_STRETCH = 2.0  # factor by which a loose bond may be longer or shorter than in the input

Quad = tuple[int, int, int, int]


class Domain(nn.Module):
    """The isomer that is held; all tests take (batch, atoms, 3) and return masks (batch,).

    Attributes:
        centres: (n, 4) atoms (centre, a, b, c); the volume of the arms a, b, c is positive.
        held_bonds: (n, 4) atoms (a, i, j, d); the torsion about i-j stays cis or trans.
        held_cis: (n,) which of them are cis.
        loose: (n, 2) bonds that are no coordinates; no conformation tears or crushes them.
        loose_length: (n,) their lengths in the input, in nm.
    """

    centres: Tensor
    held_bonds: Tensor
    held_cis: Tensor
    loose: Tensor
    loose_length: Tensor

    def __init__(
        self,
        centres: Sequence[Quad],
        held_bonds: Sequence[Quad],
        cis: Sequence[bool],
        loose: Sequence[tuple[int, int, float]],
    ):
        """Take what `isomers.Isomers` holds, and the loose bonds (i, j, nm) of a z-matrix."""
        super().__init__()
        lengths = torch.tensor(loose, dtype=torch.float64).reshape(-1, 3)
        for name, table in (
            ("centres", torch.tensor(centres, dtype=torch.long).reshape(-1, 4)),
            ("held_bonds", torch.tensor(held_bonds, dtype=torch.long).reshape(-1, 4)),
            ("held_cis", torch.tensor(cis, dtype=torch.bool)),
            ("loose", lengths[:, :2].long()),
            ("loose_length", lengths[:, 2]),
        ):
            self.register_buffer(name, table, persistent=False)

    def contains(self, x: Tensor) -> Tensor:
        """Find the conformations inside."""
        return ~torch.stack(list(self.violations(x).values())).any(0)

    def violations(self, x: Tensor) -> dict[str, Tensor]:
        """Find the conformations outside, by the reason in words."""
        return {
            "an inverted stereocentre": self.has_inverted_centre(x),
            "a turned bond": self.has_turned_bond(x),
            "a torn bond": self.has_torn_bond(x),
        }

    def has_inverted_centre(self, x: Tensor) -> Tensor:
        """Find conformations with a stereocentre of the opposite chirality."""
        if not len(self.centres):
            return _nowhere(x)
        centre, a, b, c = self.centres.T
        with torch.no_grad():
            u, v, w = (x[:, i] - x[:, centre] for i in (a, b, c))
            return ((torch.linalg.cross(u, v) * w).sum(-1) <= 0).any(-1)

    def has_turned_bond(self, x: Tensor) -> Tensor:
        """Find conformations with a held bond that is cis or trans unlike the input."""
        if not len(self.held_bonds):
            return _nowhere(x)
        with torch.no_grad():
            a, i, j, d = (x[:, column] for column in self.held_bonds.T)
            axis, one, other = j - i, a - i, d - j
            # |axis|^2 times the product of the parts of both arms that are normal to the axis
            side = (axis * axis).sum(-1) * (one * other).sum(-1)
            side = side - (one * axis).sum(-1) * (other * axis).sum(-1)
            return ((side > 0) != self.held_cis).any(-1)

    def has_torn_bond(self, x: Tensor) -> Tensor:
        """Find conformations with a loose bond that is too long or too short."""
        if not len(self.loose):
            return _nowhere(x)
        i, j = self.loose.T
        stretch = (x[:, i] - x[:, j]).detach().norm(dim=-1) / self.loose_length
        return ((stretch < 1.0 / _STRETCH) | (stretch > _STRETCH)).any(-1)


def _nowhere(x: Tensor) -> Tensor:
    return x.new_zeros(len(x), dtype=torch.bool)
