r"""The step map that moves particles or atoms: equivariant to rotation and to their exchange.

A split of the coordinates themselves would single some of them out. So every particle has an
auxiliary position beside its own (augmented flows, Huang et al., arXiv 2002.07101), and the two
sets move in turn, each by a map whose parameters are d times a network of the other set (Midgley
et al., arXiv 2308.10364). X and A are the positions, (n, D) each:

    X <- A + exp(S) (X - A) + b,   S and b functions of A
    A <- X + exp(S) (A - X) + b,   S and b functions of X

with S a symmetric matrix over the coordinates of all particles: injective, the inverse has
exp(-S), and log|det| = tr S.

State: s = (s_x, s_a), X = M s_x + c with (n-1) D coordinates s_x, c the centre of X, and
s_a = (A - X) / noise, n D of them. With c they are coordinates of (X, A), linear with a constant
determinant. The layers commute with translations, so they send

    (s, c) to (s', c'),   s' = F(s),   c' = c + delta(s),

whose Jacobian is block triangular with the blocks DF and 1: the determinant of the layers in
(X, A) is that of F, and c need not be known.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from onestep_md.flow.base import Flow
from onestep_md.flow.exponential import LARGEST, exponential
from onestep_md.flow.networks.atom_pairs import AtomPairs
from onestep_md.flow.networks.message_passing import MessagePassing, footprint
from onestep_md.flow.networks.topology import Topology

# Width of the auxiliary positions about X, which alone show X to the networks that move it: in
# widths of the base for particles, in 0.1 nm for atoms.
NOISE = 0.2
NOISE_OF_ATOMS = 0.1
_TINY = 1e-12  # added to the square of a norm, whose root has no derivative at 0


class EquivariantFlow(Flow):
    """Layers that move positions and auxiliary positions in turn.

    Args:
        spread: (n, n-1) the matrix M, its columns orthogonal to the vector of ones.
        space: D, 2 or 3.
        layers: of one step; consecutive ones move the other set.
        width: hidden units of every network.
        network: egnn or e3nn, the kind of network for S and b; e3nn needs D = 3.
        topology: of a molecule, with M in 0.1 nm; None for identical particles, with M in widths
            of the base.
    """

    spread: Tensor
    gather: Tensor

    muon = True

    def __init__(
        self,
        spread: Tensor,
        space: int,
        layers: int,
        width: int,
        network: str,
        topology: Topology | None = None,
    ):
        n = len(spread)
        super().__init__((2 * n - 1) * space, 0)
        self.footprint = footprint(n, width, network)
        self.space, self.free = space, (n - 1) * space  # dimension of s_x
        self.noise = NOISE if topology is None else NOISE_OF_ATOMS
        # kept in float64, so that the pair stays an exact inverse after `.double()`
        spread = spread.double()
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("gather", torch.linalg.pinv(spread), persistent=False)
        self.layers = nn.ModuleList(
            _Layer(_network(network, width, n, topology)) for _ in range(layers)
        )

    @property
    def _couplings(self) -> Sequence["_Layer"]:
        return cast("Sequence[_Layer]", self.layers)

    def _move(self, s: Tensor, clock: Tensor, d: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        sets = list(self._lift(s))
        log_det = s.new_zeros(len(s))
        count = len(self.layers)
        for i in reversed(range(count)) if inverse else range(count):
            m, k = i % 2, 1 - i % 2
            sets[m], change = self.layers[i](sets[m], sets[k], clock, d, inverse)
            log_det = log_det + change
        return self._lower(*sets), log_det

    def _move_with_score(
        self, s: Tensor, clock: Tensor, d: Tensor, score: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        sets = list(self._lift(s))
        # q as a density of (X, A) does not change with c. By the chain rule of s_x = M^-1 X and
        # s_a = (A - X) / noise its gradients there are M^-T score_x - score_a / noise and
        # score_a / noise
        score_a = self._rows(score[:, self.free :]) / self.noise
        scores = [self.gather.T.to(s) @ self._rows(score[:, : self.free]) - score_a, score_a]
        log_det = s.new_zeros(len(s))
        for i, layer in enumerate(self._couplings):
            m, k = i % 2, 1 - i % 2
            sets[m], change, scores[m], scores[k] = layer.forward_with_score(
                sets[m], sets[k], clock, d, scores[m], scores[k]
            )
            log_det = log_det + change
        # and back: X = M s_x + c and A = M s_x + c + noise s_a
        score_x = self.spread.T.to(s) @ (scores[0] + scores[1])
        score = torch.cat([score_x.flatten(1), self.noise * scores[1].flatten(1)], dim=-1)
        return self._lower(*sets), log_det, score

    def _rows(self, s: Tensor) -> Tensor:
        return s.unflatten(-1, (-1, self.space))

    def _lift(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Both sets of positions, (batch, n, D) each, with the centre of X at zero."""
        x = self.spread.to(s) @ self._rows(s[:, : self.free])
        return x, x + self.noise * self._rows(s[:, self.free :])

    def _lower(self, x: Tensor, a: Tensor) -> Tensor:
        s_x = self.gather.to(x) @ x
        return torch.cat([s_x.flatten(1), ((a - x) / self.noise).flatten(1)], dim=-1)


class _Layer(nn.Module):
    """Moves one set of positions by parameters computed from the other."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def _coefficients(self, kept: Tensor, clock: Tensor, d: Tensor) -> tuple[Tensor, ...]:
        """The vectors b (batch, n, D) and S (batch, n D, n D)."""
        shift, matrix = self.network(kept, clock)
        matrix = d[..., None] * matrix
        # bounded smoothly, by what bounds the eigenvalues and no rotation or exchange changes:
        # with N the norms of the blocks of S, (n, n), |S| <= |N| <= (tr N^4)^(1/4). tr S^4 is not
        # much less, but took a fifth of all time for 13 particles
        space = kept.shape[-1]
        blocks = matrix.unflatten(-1, (-1, space)).unflatten(-3, (-1, space))
        norms = (blocks.square().sum((-3, -1)) + _TINY).sqrt()
        fourth = (norms @ norms).square().sum((-2, -1))[..., None, None]
        return d[..., None] * shift, matrix * (1.0 + fourth / LARGEST**4) ** -0.25

    def forward(
        self, moved: Tensor, kept: Tensor, clock: Tensor, d: Tensor, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the moved positions and the log-determinant (batch,) of the FORWARD map."""
        shift, matrix = self._coefficients(kept, clock, d)
        log_det = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
        if inverse:
            return kept + exponential(-matrix, moved - kept - shift), log_det
        return kept + exponential(matrix, moved - kept) + shift, log_det

    def forward_with_score(
        self,
        moved: Tensor,
        kept: Tensor,
        clock: Tensor,
        d: Tensor,
        score_moved: Tensor,
        score_kept: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`forward`, and the score grad log q carried along with the samples.

        For y = (T(m; k), k) with T = k + exp(S(k)) (m - k) + b(k), log q(y) = log q(m, k) - tr S:

            score_m(y) = exp(-S) score_m(m, k)
            score_k(y) = score_k(m, k) - d/dk [tr S + T . score_m(y)], score_m(y) constant

        Args:
            moved, kept: (batch, n, D) positions; must be part of a graph.
            clock, d: as in `Flow`.
            score_moved, score_kept: (batch, n, D) grad log q there, parameters held fixed.

        Returns:
            The moved positions, the log-determinant (batch,), and both scores.
        """
        shift, matrix = self._coefficients(kept, clock, d)
        log_det = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
        new = kept + exponential(matrix, moved - kept) + shift
        with torch.no_grad():
            ahead = exponential(-matrix, score_moved)
        # T depends on k through b, S and the k that is written in it, but not through m, which
        # may itself be a function of k in the graph: so the gradient goes to the parameters first
        outputs = (new * ahead).sum() + log_det.sum()
        by_coefficients = torch.autograd.grad(outputs, (shift, matrix), retain_graph=True)
        (through,) = torch.autograd.grad((shift, matrix), kept, by_coefficients, retain_graph=True)
        # d/dk of k - exp(S) k at fixed S, times score_m(y): score_m(y) - score_m(m, k)
        return new, log_det, ahead, score_kept - through - ahead + score_moved


def _network(name: str, width: int, n: int, topology: Topology | None) -> nn.Module:
    if topology is not None:
        return AtomPairs(width, name, topology)
    if name == "egnn":
        return MessagePassing(width, n)
    # e3nn takes a second to import
    from onestep_md.flow.networks.tensor_products import TensorProducts

    return TensorProducts(width, n)
