"""Spherical harmonics around the atoms of a molecule, and invariants made of them.

Imported only where this network is chosen, because e3nn takes a second.
"""

from collections.abc import Callable

import torch
from e3nn import o3
from torch import Tensor, nn

from onestep_md.flow.networks.irreps import HARMONICS, product_paths
from onestep_md.flow.networks.message_passing import SOFT
from onestep_md.flow.networks.surroundings import SHELLS

_CHANNELS = 4  # features of an atom in the sums of its neighbours


class Tensors(nn.Module):
    """Invariants of the spherical harmonics around an atom, richer than `surroundings.Vectors`.

    Sums A = sum_j g(r_ij) h_j Y_l(r_ij) up to l = 2, their products A (x) A' and, of three of
    them, the scalars: even ones (0e), and odd ones (0o), which change their sign in a mirror.

    Args:
        width: of the atoms' features, and number of results.
    """

    is_scalar: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.channels = max(4, width // 4)
        features = (self.channels * HARMONICS).sort().irreps.simplify()
        self.speak = nn.Linear(width, _CHANNELS, bias=False)
        self.to_features = nn.Linear(SHELLS * _CHANNELS, 3 * self.channels, bias=False)
        # of one and the same set of vectors every cross product would be zero
        self.second, self.third = (o3.Linear(features, features) for _ in range(2))
        self.pairs = _channelwise(features, features, lambda irrep: irrep.l <= 2)
        pairs = self.pairs.irreps_out
        self.triples = _channelwise(pairs, features, lambda irrep: irrep.l == 0)
        is_scalar = torch.cat([torch.full((part.dim,), part.ir.l == 0) for part in pairs])
        self.register_buffer("is_scalar", is_scalar.nonzero().squeeze(-1), persistent=False)
        scalars = self.channels + len(self.is_scalar) + self.triples.irreps_out.dim
        self.scalars = nn.Linear(scalars, width)

    def forward(self, positions: Tensor, shells: Tensor, atoms: Tensor) -> Tensor:
        """As `surroundings.Vectors.forward`."""
        n = len(atoms)
        difference = positions[:, :, None] - positions[:, None]
        distance = torch.sqrt(difference.square().sum(-1, keepdim=True) + SOFT**2)
        harmonics = o3.spherical_harmonics(HARMONICS, difference / distance, normalize=False)
        terms = harmonics[..., None] * self.speak(atoms)[:, None]
        sums = shells.unflatten(1, (n, -1)) @ terms.flatten(3)
        sums = sums.unflatten(-1, (-1, _CHANNELS)).transpose(2, 3).flatten(3)
        # weights of its own for every l
        parts = zip(sums.split((1, 3, 5), dim=2), self.to_features.weight.chunk(3), strict=True)
        features = torch.cat([(part @ w.T).mT.flatten(2) for part, w in parts], dim=-1)
        features = features * torch.rsqrt(1.0 + features.square().mean(-1, keepdim=True))
        pairs = self.pairs(features, self.second(features))
        triples = self.triples(pairs, self.third(features))
        even = pairs[..., self.is_scalar]
        return self.scalars(torch.cat([features[..., : self.channels], even, triples], dim=-1))


def _channelwise(
    first: o3.Irreps, second: o3.Irreps, wanted: Callable[[o3.Irrep], bool]
) -> o3.TensorProduct:
    """All wanted products of two features, each channel with its own."""
    paths = product_paths(first, second, wanted)
    irreps = o3.Irreps([(mul, out) for _, _, mul, out in paths])
    instructions = [(i, j, k, "uuu", True) for k, (i, j, _, _) in enumerate(paths)]
    return o3.TensorProduct(first, second, irreps, instructions)
