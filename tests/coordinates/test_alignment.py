"""Rotations that align positions: proper where they have to be, and the best there are."""

import torch

from onestep_md.coordinates.alignment import kabsch_rotation, nearest_orthogonal


def test_a_kabsch_rotation_is_proper():
    generator = torch.Generator().manual_seed(7)
    a = torch.randn(5, 9, 3, generator=generator, dtype=torch.float64)
    mirrored = a * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    for b in (a, mirrored):
        assert torch.allclose(torch.linalg.det(kabsch_rotation(a, b)), torch.ones(5).double())


def test_a_rotation_is_undone_and_no_other_brings_noise_nearer():
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, turn = normal(5, 9, 3), kabsch_rotation(normal(5, 9, 3), normal(5, 9, 3))
    torch.testing.assert_close(kabsch_rotation(x @ turn + normal(5, 1, 3), x), turn.mT)
    matrix, others = normal(5, 1, 3, 3), torch.linalg.qr(normal(1, 500, 3, 3))[0]
    gain = (others * matrix).sum((2, 3))
    for proper in (False, True):
        best = (nearest_orthogonal(matrix[:, 0], proper) * matrix[:, 0]).sum((1, 2))
        allowed = (torch.linalg.det(others) > 0.0) | torch.tensor(not proper)
        assert (torch.where(allowed, gain, -torch.inf).amax(1) < best).all()
