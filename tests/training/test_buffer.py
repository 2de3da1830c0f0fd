"""The buffer keeps its chains apart and gives back what was put in."""

import torch

from onestep_md.training.buffer import Buffer, Configurations


def configurations(n: int, seed: int = 0) -> Configurations:
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return Configurations(s, -0.5 * s.square().sum(-1), -s)


def test_every_chain_is_drawn_alike_and_at_most_once():
    buffer, generator = Buffer(configurations(40)), torch.Generator().manual_seed(0)
    count = torch.zeros(40)
    for _ in range(400):
        index, drawn = buffer.draw(10, generator)
        assert len(index.unique()) == 10
        assert torch.equal(drawn.s, buffer.chains.s[index])
        count[index] += 1
    assert abs(count - 100).max() < 40  # standard deviation 8.7
    assert len(buffer.draw(1000, generator)[0]) == 40


def test_replaced_chains_are_where_they_were_sent_and_the_others_stay():
    start, new = configurations(20), configurations(4, seed=1)
    buffer, index = Buffer(start), torch.tensor([3, 19, 0, 7])
    buffer.replace(index, new)
    assert torch.equal(buffer.chains.s[index], new.s.float())
    assert torch.equal(buffer.chains.log_p[index], new.log_p)
    assert torch.equal(buffer.chains.force, -buffer.chains.s)
    rest = [i for i in range(20) if i not in index.tolist()]
    assert torch.equal(buffer.chains.s[rest], start.s[rest].float())
    assert start.s.dtype == torch.float64  # the start itself is left alone


def test_where_takes_whole_configurations():
    a, b = configurations(3), configurations(3, seed=1)
    mixed = a.where(torch.tensor([True, False, True]), b)
    for name in ("s", "log_p", "force"):
        one, other, got = getattr(a, name), getattr(b, name), getattr(mixed, name)
        assert torch.equal(got[[0, 2]], one[[0, 2]]) and torch.equal(got[1], other[1])


def test_stride_follows_the_acceptance():
    buffer = Buffer(configurations(10))
    start = buffer.stride
    buffer.adapt(torch.ones(9))
    assert buffer.stride > start
    for _ in range(10):
        buffer.adapt(torch.zeros(9))
    assert buffer.stride < start
    for _ in range(100):
        buffer.adapt(torch.ones(9))
    assert buffer.stride == 1.0  # independent of where the chain was
    assert Buffer.from_state({**buffer.state(), "stride": 1.7}).stride == 1.0


def test_state_round_trip():
    buffer = Buffer(configurations(10))
    buffer.adapt(torch.ones(1))
    again = Buffer.from_state(buffer.state())
    assert torch.equal(again.chains.s, buffer.chains.s) and again.stride == buffer.stride
    assert torch.equal(again.chains.log_p, buffer.chains.log_p)
