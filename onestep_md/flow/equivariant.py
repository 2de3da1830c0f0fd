r"""The step map of particles: equivariant to rotation, reflection and exchange of the particles.

A split of the coordinates themselves would single some of them out. So every particle has an
auxiliary position beside its own (augmented flows, Huang et al., arXiv 2002.07101), and the two
sets move in turn, each by a map whose parameters are d times a network of the other set (Midgley
et al., arXiv 2308.10364). X and A are the positions, (n, D) each:

    X_i <- A_i + exp(S_i) (X_i - A_i) + b_i,   S_i and b_i functions of A
    A_i <- X_i + exp(S_i) (A_i - X_i) + b_i,   S_i and b_i functions of X

with S_i symmetric: injective, the inverse has exp(-S_i), and log|det| = sum_i tr S_i.

State: s = (s_x, s_a), s_x = B^T X the (n-1) D coordinates of X in an orthonormal basis B of the
mean-free positions, and s_a = A - X, n D of them. With the centre c of X they are coordinates of
(X, A), linear with a constant determinant. The layers commute with translations, so they send

    (s, c) to (s', c'),   s' = F(s),   c' = c + delta(s),

whose Jacobian is block triangular with the blocks DF and 1: the determinant of the layers in
(X, A) is that of F, and c need not be known.
"""

import torch
from torch import Tensor, nn

from onestep_md.flow.base import OUTPUT_SCALE, Flow
from onestep_md.flow.message_passing import MessagePassing

_MOST_SCALE = 2.0  # of tr S / D, and of the norm of the rest: a factor e^3.6 in one layer at most
_TERMS = 24  # of the exponential series: 1.7^24 / 24! = 5e-19


class EquivariantFlow(Flow):
    """Layers that move positions and auxiliary positions in turn.

    Args:
        basis: (n, n-1) orthonormal columns, each orthogonal to the vector of ones.
        space: D, 2 or 3.
        layers: of one step; consecutive ones move the other set.
        width: hidden units of every network.
        network: egnn or e3nn, what computes S and b. e3nn needs D = 3.
    """

    def __init__(self, basis: Tensor, space: int, layers: int, width: int, network: str):
        n = len(basis)
        super().__init__((2 * n - 1) * space, 0)
        self.space, self.free = space, (n - 1) * space  # dimension of s_x
        # in float64 also while the weights are not, so that B^T B = I when they are made so
        self.register_buffer("basis", basis.double(), persistent=False)
        self.layers = nn.ModuleList(_Layer(_network(network, space, width)) for _ in range(layers))

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
        # s_a = A - X its gradients are B score_x - score_a and score_a
        score_a = score[:, self.free :].unflatten(-1, (-1, self.space))
        scores = [self._spread(score[:, : self.free]) - score_a, score_a]
        log_det = s.new_zeros(len(s))
        for i, layer in enumerate(self.layers):
            m, k = i % 2, 1 - i % 2
            sets[m], change, scores[m], scores[k] = layer.forward_with_score(
                sets[m], sets[k], clock, d, scores[m], scores[k]
            )
            log_det = log_det + change
        # and back: X = B s_x + c and A = B s_x + c + s_a
        score_x = self._gather(scores[0] + scores[1])
        return self._lower(*sets), log_det, torch.cat([score_x, scores[1].flatten(1)], dim=-1)

    def _spread(self, s_x: Tensor) -> Tensor:
        """Mean-free positions (batch, n, D) of coordinates (batch, (n-1) D)."""
        return self.basis.to(s_x) @ s_x.unflatten(-1, (-1, self.space))

    def _gather(self, x: Tensor) -> Tensor:
        """Coordinates (batch, (n-1) D) of positions (batch, n, D), dropping their mean."""
        return (self.basis.T.to(x) @ x).flatten(1)

    def _lift(self, s: Tensor) -> tuple[Tensor, Tensor]:
        x = self._spread(s[:, : self.free])
        return x, x + s[:, self.free :].unflatten(-1, (-1, self.space))

    def _lower(self, x: Tensor, a: Tensor) -> Tensor:
        return torch.cat([self._gather(x), (a - x).flatten(1)], dim=-1)


class _Layer(nn.Module):
    """Moves one set of positions by parameters computed from the other."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def _coefficients(
        self, kept: Tensor, clock: Tensor, d: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """B (batch, n, D), tr S / D (batch, n) and the rest of S (batch, n, D, D)."""
        gain = OUTPUT_SCALE * d[..., None]
        shift, scale, shear = self.network(kept, clock)
        shear = gain[..., None] * shear
        norm = shear.square().sum((-2, -1), keepdim=True)
        # all bounded smoothly, the matrix by its norm, which no rotation changes
        shear = shear * torch.rsqrt(1.0 + norm / _MOST_SCALE**2)
        scale = _MOST_SCALE * torch.tanh(gain[..., 0] * scale / _MOST_SCALE)
        return gain * shift, scale, shear

    def forward(
        self, moved: Tensor, kept: Tensor, clock: Tensor, d: Tensor, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the moved positions and the log-determinant (batch,) of the FORWARD map."""
        shift, scale, shear = self._coefficients(kept, clock, d)
        log_det = moved.shape[-1] * scale.sum(-1)
        if inverse:
            stretch = exponential(-scale, -shear)
            return kept + _times(stretch, moved - kept - shift), log_det
        return kept + _times(exponential(scale, shear), moved - kept) + shift, log_det

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
        shift, scale, shear = self._coefficients(kept, clock, d)
        log_det = moved.shape[-1] * scale.sum(-1)
        new = kept + _times(exponential(scale, shear), moved - kept) + shift
        with torch.no_grad():
            ahead = _times(exponential(-scale, -shear), score_moved)
        # T depends on k through b, S and the k that is written in it, but not through m, which
        # may itself be a function of k in the graph: so the gradient goes to the parameters first
        outputs = (new * ahead).sum() + log_det.sum()
        by_coefficients = torch.autograd.grad(outputs, (shift, scale, shear), retain_graph=True)
        (through,) = torch.autograd.grad(
            (shift, scale, shear), kept, by_coefficients, retain_graph=True
        )
        # d/dk of k - exp(S) k at fixed S, times score_m(y): score_m(y) - score_m(m, k)
        return new, log_det, ahead, score_kept - through - ahead + score_moved


def exponential(scale: Tensor, shear: Tensor) -> Tensor:
    """Exp of symmetric matrices, given by their mean eigenvalue and the rest.

    By the theorem of Cayley and Hamilton T^3 = (tr T^2 / 2) T + det T for a traceless T, 3 x 3,
    and with det T left out also 2 x 2. So every power is p + q T + r T^2, and the series is one
    of numbers: smooth everywhere, and several times faster than torch.linalg.matrix_exp.

    Args:
        scale: (...) trace / D.
        shear: (..., D, D) symmetric and traceless, D = 2 or 3, of norm < 2.

    Returns:
        (..., D, D).
    """
    square = shear @ shear
    c1 = 0.5 * square.diagonal(dim1=-2, dim2=-1).sum(-1)
    # det T = tr T^3 / 3
    c0 = (square * shear).sum((-2, -1)) / 3.0 if shear.shape[-1] == 3 else torch.zeros_like(c1)
    p, q, r = torch.ones_like(c1), torch.zeros_like(c1), torch.zeros_like(c1)
    sum_p, sum_q, sum_r = p, q, r
    for k in range(1, _TERMS):
        # T^k / k! = (p T + q T^2 + r T^3) / k
        p, q, r = r * c0 / k, (p + r * c1) / k, q / k
        sum_p, sum_q, sum_r = sum_p + p, sum_q + q, sum_r + r
    eye = torch.eye(shear.shape[-1], dtype=shear.dtype, device=shear.device)
    e = torch.exp(scale)[..., None, None]
    series = sum_p[..., None, None] * eye + sum_q[..., None, None] * shear
    return e * (series + sum_r[..., None, None] * square)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix * vector[..., None, :]).sum(-1)


def _network(name: str, space: int, width: int) -> nn.Module:
    if name == "egnn":
        return MessagePassing(space, width)
    # e3nn takes a second to import
    from onestep_md.flow.tensor_products import TensorProducts

    return TensorProducts(width)
