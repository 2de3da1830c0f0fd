"""The buffer follows the importance weights."""

import torch

from onestep_md.buffer import Buffer


def test_refresh_takes_samples_in_proportion_to_their_weight():
    generator = torch.Generator().manual_seed(0)
    buffer = Buffer(torch.zeros(4000, 1), torch.zeros(4000, 1))
    s = torch.tensor([[1.0], [2.0], [3.0]])
    log_w = torch.tensor([0.0, 1.0, -torch.inf]).double()
    for _ in range(20):
        buffer.refresh(s, -s, log_w, 1000, generator)  # in the end every place is written
    assert (buffer.s[:2000] == 0).all()  # the first half is kept
    share = [(buffer.s[2000:] == v).double().mean().item() for v in (0.0, 1.0, 2.0, 3.0)]
    heavy = torch.sigmoid(torch.tensor(1.0)).item()
    assert share[0] < 0.001 and share[3] == 0.0
    assert abs(share[2] - heavy) < 0.04  # standard error 0.01
    assert torch.equal(buffer.force, -buffer.s)
    assert buffer.fresh == 20_000
    buffer.refresh(s, -s, log_w, 5000, generator)  # more than there are places
    assert buffer.fresh == 22_000


def test_batch_without_weight_changes_nothing():
    buffer = Buffer(torch.ones(10, 2), torch.ones(10, 2))
    log_w = torch.full((3,), -torch.inf).double()
    buffer.refresh(torch.zeros(3, 2), torch.zeros(3, 2), log_w, 5, torch.Generator())
    assert (buffer.s == 1).all() and buffer.fresh == 0


def test_state_round_trip():
    buffer = Buffer(torch.randn(10, 2), torch.randn(10, 2))
    again = Buffer.from_state(buffer.state())
    assert torch.equal(again.s, buffer.s) and again.fresh == buffer.fresh
