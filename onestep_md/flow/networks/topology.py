"""A molecule as networks read it: atom types and bonds, without atom numbers.

Nothing here is specific to one molecule, so networks that read it can be trained on several.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ELEMENTS = ("H", "C", "N", "O", "S", "P", "F", "Cl", "Br", "I")
UNIT = 0.1  # nm, of the positions that networks of molecules read
_DEGREES = 5  # numbers of neighbours that are distinguished, starting at zero


class Topology(nn.Module):
    """Tables of one molecule.

    Attributes:
        atoms: (n, N_ATOM) element and number of neighbours, one-hot each.
        bonded: (n, n) 1 where there is a bond.
    """

    atoms: Tensor
    bonded: Tensor

    N_ATOM = len(ELEMENTS) + 1 + _DEGREES

    def __init__(self, elements: Sequence[str], bonds: Sequence[tuple[int, int]]):
        super().__init__()
        n = len(elements)
        bonded = torch.zeros(n, n)
        for i, j in bonds:
            bonded[i, j] = bonded[j, i] = 1.0
        known = torch.tensor([ELEMENTS.index(e) if e in ELEMENTS else -1 for e in elements])
        element = nn.functional.one_hot(known + 1, len(ELEMENTS) + 1)
        degree = bonded.sum(-1).long().clamp(max=_DEGREES - 1)
        atoms = torch.cat([element, nn.functional.one_hot(degree, _DEGREES)], dim=-1).float()
        for name, table in {"atoms": atoms, "bonded": bonded}.items():
            self.register_buffer(name, table, persistent=False)


class Context(nn.Module):
    """Features (n, width) of every atom from its element and those bonded around it, without x."""

    ROUNDS = 3

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Linear(Topology.N_ATOM, width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(self.ROUNDS))
        self.others = nn.ModuleList(
            nn.Linear(width, width, bias=False) for _ in range(self.ROUNDS)
        )

    def forward(self, topology: Topology) -> Tensor:
        """Features (n, width) of all atoms."""
        dtype = self.first.weight.dtype
        bonded, node = topology.bonded.to(dtype), self.first(topology.atoms.to(dtype))
        for own, others in zip(self.own, self.others, strict=True):
            node = node + nn.functional.silu(own(node) + others(bonded @ node))
        return node
