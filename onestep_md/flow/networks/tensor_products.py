r"""Tensor products of spherical harmonics: vectors that move particles, richer than distances.

As in Batzner et al., arXiv 2101.03164, a particle has scalars, vectors and matrices (irreps 0e, 1o
and 2e of O(3)), first the sums over the others of the harmonics of r_ij times functions of the
distance, then the tensor products of the others' features with those harmonics. In one round of
them three- and four-body terms arise that `MessagePassing` does not have. All features have the
parity of their degree, so reflections are symmetries as well.

Imported only where this network is chosen, because e3nn takes a second.
"""

import torch
from e3nn import o3
from e3nn.nn import Gate
from torch import Tensor, nn
from torch.nn.functional import silu

from onestep_md.flow.base import CLOCK_FEATURES, set_to_zero
from onestep_md.flow.networks.irreps import HARMONICS, product_paths
from onestep_md.flow.networks.message_passing import CENTRES, SOFT, Pairs, radial_features


class TensorProducts(nn.Module):
    """Two rounds of messages of all particles, in three dimensions.

    Args:
        width: scalars per particle; there are a quarter as many vectors and an eighth matrices.
        n: particles.
    """

    matrices: Tensor

    def __init__(self, width: int, n: int):
        super().__init__()
        self.pairs = Pairs(n)
        self.counts = (width, max(1, width // 4), max(1, width // 8))
        _, vectors, matrices = self.counts
        features = o3.Irreps(f"{width}x0e + {vectors}x1o + {matrices}x2e")
        self.gate = Gate(
            f"{width}x0e",
            [silu],
            f"{vectors + matrices}x0e",
            [torch.sigmoid],
            f"{vectors}x1o + {matrices}x2e",
        )
        self.product = _product(features)
        self.radial = nn.Linear(CENTRES + 1, width)
        self.clock = nn.Linear(CLOCK_FEATURES, 2 * width)
        self.to_harmonics = nn.Linear(width, sum(self.counts))
        self.to_product = nn.Linear(width, self.product.weight_numel)
        self.mix = o3.Linear(features, self.gate.irreps_in)
        self.mix_again = o3.Linear(self.product.irreps_out.simplify(), self.gate.irreps_in)
        self.pair = nn.Linear(width, width)
        self.member = nn.Linear(width, width, bias=False)
        self.to_pairs = set_to_zero(nn.Linear(width, 2))
        self.to_particles = o3.Linear(features, "0e + 1o + 2e")
        nn.init.zeros_(self.to_particles.weight)
        # symmetric traceless matrices (5, 3, 3) of the components of 2e, orthonormal
        basis = 5.0**0.5 * o3.wigner_3j(1, 1, 2, dtype=torch.float64).movedim(-1, 0)
        self.register_buffer("matrices", basis, persistent=False)

    def forward(self, positions: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """As `MessagePassing.forward`, with D = 3."""
        difference = positions[:, :, None] - positions[:, None]
        square = difference.square().sum(-1)
        direction = difference * torch.rsqrt(square + SOFT**2)[..., None]
        # polynomials of a direction that is 0 where two particles meet, smooth there as well
        harmonics = o3.spherical_harmonics(HARMONICS, direction, normalize=False)
        first, second = self.clock(clock)[:, None, None].chunk(2, dim=-1)
        pair = silu(self.radial(radial_features(square)) + first)

        parts = self.to_harmonics(pair).split(self.counts, dim=-1)
        each = zip(parts, harmonics.split((1, 3, 5), dim=-1), strict=True)
        # mean_j R_c(r_ij) Y_lm(r_ij) for the channels c of every l
        sums = [torch.einsum("bijc,bijm->bicm", r, y) / y.shape[1] for r, y in each]
        node = self.gate(self.mix(torch.cat([part.flatten(2) for part in sums], dim=-1)))
        sent = node[:, None].expand(-1, node.shape[1], -1, -1)
        message = self.product(sent, harmonics, self.to_product(pair)).mean(2)
        node = node + self.gate(self.mix_again(message))

        member = self.member(node[..., : self.counts[0]])
        pair = pair + silu(self.pair(pair) + member[:, :, None] + member[:, None] + second)
        own, shift, rest = self.to_particles(node).split((1, 3, 5), dim=-1)
        eye = torch.eye(3, dtype=own.dtype, device=own.device)
        rest = torch.einsum("bim,mkl->bikl", rest, self.matrices.to(rest))
        i, j = self.pairs.i, self.pairs.j
        common, radial = self.to_pairs(pair[:, i, j]).unbind(-1)
        own = own[..., None] * eye + rest
        return shift, self.pairs.stiffness(own, common, radial, direction[:, i, j])


def _product(features: o3.Irreps) -> o3.TensorProduct:
    """All products of features and harmonics that are features again, by weights of the pair."""
    paths = product_paths(features, HARMONICS, lambda irrep: irrep in HARMONICS)
    irreps, order, _ = o3.Irreps([(mul, out) for _, _, mul, out in paths]).sort()
    instructions = [(i, j, order[k], "uvu", True) for k, (i, j, _, _) in enumerate(paths)]
    return o3.TensorProduct(
        features, HARMONICS, irreps, instructions, internal_weights=False, shared_weights=False
    )
