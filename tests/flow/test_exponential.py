"""exp(S) v and its derivatives, of both modes and mapped over directions."""

import math

import pytest
import torch

from onestep_md.flow.exponential import LARGEST, exponential


def normal(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def symmetric(root):
    """Of eigenvalues within the bound."""
    matrix = root + root.mT
    return LARGEST * matrix / torch.linalg.matrix_norm(matrix)[..., None, None]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_exponential_at_the_largest_eigenvalues(dtype, error):
    vectors, _ = torch.linalg.qr(normal(6, 6))
    values = torch.tensor([-2.0, -1.9, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    matrix, v = (vectors * values) @ vectors.T, normal(1, 3, 2)
    expected = ((vectors * values.exp()) @ vectors.T @ v.flatten()).view(1, 3, 2)
    found = exponential(matrix[None].to(dtype), v.to(dtype))
    assert (found - expected).abs().max() < error * math.exp(2.0)


def test_derivatives_of_both_modes():
    root, v = normal(2, 4, 4).requires_grad_(), normal(2, 2, 2, seed=2).requires_grad_()

    def function(root, v):
        return exponential(symmetric(root), v)

    assert torch.autograd.gradcheck(function, (root, v), check_forward_ad=True)


def test_jacobian_equals_that_of_the_matrix_exponential():
    matrix, v = symmetric(normal(3, 4, 4)), normal(3, 2, 2, seed=2)
    expected = torch.linalg.matrix_exp(matrix)

    def column(direction):
        tangent = direction.view(2, 2).expand_as(v)
        return torch.func.jvp(lambda w: exponential(matrix, w), (v,), (tangent,))[1].flatten(1)

    columns = torch.func.vmap(column)(torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(columns.movedim(0, -1), expected)


def test_gradient_of_a_directional_derivative():
    """As in the tangent form of volume consistency: reverse mode over forward mode."""
    root, v, w = normal(2, 4, 4), normal(2, 2, 2, seed=2), normal(2, 2, 2, seed=3)

    def of(root, change):
        matrix = symmetric(root)
        return torch.func.jvp(lambda u: change(matrix, u), (v,), (w,))[1].square().sum()

    def plain(matrix, u):
        return (torch.linalg.matrix_exp(matrix) @ u.flatten(1)[..., None]).view_as(u)

    found, expected = (
        torch.func.grad(lambda r, change=change: of(r, change))(root)
        for change in (exponential, plain)
    )
    torch.testing.assert_close(found, expected)
