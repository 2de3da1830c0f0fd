r"""The step map of particles: equivariant to rotation, reflection and exchange of the particles.

A split of the coordinates themselves would single some of them out. So every particle has an
auxiliary position beside its own (augmented flows, Huang et al., arXiv 2002.07101), and the two
sets move in turn, each by a map whose parameters are d times a network of the other set (Midgley
et al., arXiv 2308.10364). X and A are the positions, (n, D) each:

    X <- A + exp(S) (X - A) + b,   S and b functions of A
    A <- X + exp(S) (A - X) + b,   S and b functions of X

with S a symmetric matrix over the coordinates of all particles: injective, the inverse has
exp(-S), and log|det| = tr S.

State: s = (s_x, s_a), s_x = B^T X the (n-1) D coordinates of X in an orthonormal basis B of the
mean-free positions, and s_a = (A - X) / NOISE, n D of them. With the centre c of X they are
coordinates of (X, A), linear with a constant determinant. The layers commute with translations, so
they send

    (s, c) to (s', c'),   s' = F(s),   c' = c + delta(s),

whose Jacobian is block triangular with the blocks DF and 1: the determinant of the layers in
(X, A) is that of F, and c need not be known.
"""

import torch
from torch import Tensor, nn

from onestep_md.flow.base import Flow
from onestep_md.flow.exponential import LARGEST, exponential
from onestep_md.flow.message_passing import MessagePassing

# width of the auxiliary noise beside that of the positions: what moves X sees it through A alone
NOISE = 0.2
_TINY = 1e-12  # added to the square of a norm, whose root has no derivative at 0


class EquivariantFlow(Flow):
    """Layers that move positions and auxiliary positions in turn.

    Args:
        basis: (n, n-1) orthonormal columns, each orthogonal to the vector of ones.
        space: D, 2 or 3.
        layers: of one step; consecutive ones move the other set.
        width: hidden units of every network.
        network: egnn or e3nn, what computes S and b. e3nn needs D = 3.
    """

    jacobians = 50
    muon = True

    def __init__(self, basis: Tensor, space: int, layers: int, width: int, network: str):
        n = len(basis)
        super().__init__((2 * n - 1) * space, 0)
        self.space, self.free = space, (n - 1) * space  # dimension of s_x
        # in float64 also while the weights are not, so that B^T B = I when they are made so
        self.register_buffer("basis", basis.double(), persistent=False)
        self.layers = nn.ModuleList(_Layer(_network(network, width, n)) for _ in range(layers))

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
        # q as a density of (X, A) does not change with c. By the chain rule of s_x = B^T X and
        # s_a = (A - X) / NOISE its gradients are B score_x - score_a / NOISE and score_a / NOISE
        score_a = score[:, self.free :].unflatten(-1, (-1, self.space)) / NOISE
        scores = [self._spread(score[:, : self.free]) - score_a, score_a]
        log_det = s.new_zeros(len(s))
        for i, layer in enumerate(self.layers):
            m, k = i % 2, 1 - i % 2
            sets[m], change, scores[m], scores[k] = layer.forward_with_score(
                sets[m], sets[k], clock, d, scores[m], scores[k]
            )
            log_det = log_det + change
        # and back: X = B s_x + c and A = B s_x + c + NOISE s_a
        score = torch.cat([self._gather(scores[0] + scores[1]), NOISE * scores[1].flatten(1)], -1)
        return self._lower(*sets), log_det, score

    def _spread(self, s_x: Tensor) -> Tensor:
        """Mean-free positions (batch, n, D) of coordinates (batch, (n-1) D)."""
        return self.basis.to(s_x) @ s_x.unflatten(-1, (-1, self.space))

    def _gather(self, x: Tensor) -> Tensor:
        """Coordinates (batch, (n-1) D) of positions (batch, n, D), dropping their mean."""
        return (self.basis.T.to(x) @ x).flatten(1)

    def _lift(self, s: Tensor) -> tuple[Tensor, Tensor]:
        x = self._spread(s[:, : self.free])
        return x, x + NOISE * s[:, self.free :].unflatten(-1, (-1, self.space))

    def _lower(self, x: Tensor, a: Tensor) -> Tensor:
        return torch.cat([self._gather(x), ((a - x) / NOISE).flatten(1)], dim=-1)


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
            What moved, the log-determinant (batch,), and both scores.
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


def _network(name: str, width: int, n: int) -> nn.Module:
    if name == "egnn":
        return MessagePassing(width, n)
    # e3nn takes a second to import
    from onestep_md.flow.tensor_products import TensorProducts

    return TensorProducts(width, n)
