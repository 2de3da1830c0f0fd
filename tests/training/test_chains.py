"""Moves of the buffer's chains: what is accepted, what jumps, and what the buffer then holds."""

import math

import torch

from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.chains import Weighted, accept, move_chains

ALWAYS, NEVER = math.inf, -math.inf


def at(place, n):
    """N configurations in one place, whose weights are all one."""
    s = torch.full((n, 2), float(place))
    return Weighted(Configurations(s, s[:, 0].double(), -s), torch.zeros(n).double())


def weighted(place, log_w):
    log_w = torch.tensor(log_w, dtype=torch.float64)
    return Weighted(at(place, len(log_w)).at, log_w)


def moved(proposals, samples, full=True, every=1):
    """A buffer of six chains at 0 after a move of the last four, and which of these jumped."""
    buffer, index = Buffer(at(0, 6).at), torch.arange(2, 6)
    before = buffer.stride
    generator = torch.Generator().manual_seed(0)
    jumped = move_chains(buffer, index, at(0, 4), proposals, every, full, samples, generator)
    chains = buffer.chains
    assert torch.equal(chains.log_p, chains.s[:, 0].double())
    assert torch.equal(chains.force, -chains.s)
    return chains.s[:, 0].tolist(), jumped.tolist(), buffer.stride / before


def test_accepted_proposals_and_heavy_samples_take_the_places_of_chains():
    proposals = weighted(1, [100.0, 100.0, NEVER, NEVER])
    samples = weighted(2, [NEVER, ALWAYS, NEVER, ALWAYS])
    places, jumped, _ = moved(proposals, samples)
    assert places == [0, 0, 1, 2, 0, 2]
    assert jumped == [False, True, False, True]


def test_without_proposals_and_with_few_samples_the_other_chains_stay():
    places, jumped, stride = moved(None, weighted(2, [ALWAYS]))
    assert places == [0, 0, 2, 0, 0, 0]
    assert jumped == [True] and stride == 1.0


def test_more_samples_than_chains_leave_the_rest_unused():
    places, jumped, _ = moved(None, weighted(2, [NEVER] * 4 + [ALWAYS]))
    assert places == [0] * 6 and len(jumped) == 4


def test_a_jump_leaves_from_where_the_proposal_has_led():
    assert moved(weighted(1, [10.0] * 4), weighted(2, [50.0] * 4))[0] == [0, 0, 2, 2, 2, 2]
    assert moved(weighted(1, [90.0] * 4), weighted(2, [50.0] * 4))[0] == [0, 0, 1, 1, 1, 1]


def test_some_chains_move_and_all_may_jump():
    samples = weighted(2, [NEVER, ALWAYS, NEVER, NEVER])
    places, jumped, _ = moved(weighted(1, [ALWAYS] * 2), samples, every=2)
    assert places == [0, 0, 1, 2, 1, 0]
    assert jumped == [False, True, False, False]


def test_only_proposals_of_the_whole_stride_adapt_it():
    samples = weighted(2, [NEVER])
    assert moved(weighted(1, [ALWAYS] * 4), samples)[2] > 1.0
    assert moved(weighted(1, [NEVER] * 4), samples)[2] < 1.0
    assert moved(weighted(1, [ALWAYS] * 4), samples, full=False)[2] == 1.0


def test_what_has_no_weight_is_rejected():
    generator = torch.Generator().manual_seed(0)
    ratio = torch.tensor([-math.inf, math.nan, 1e3, 1e3], dtype=torch.float64)
    assert accept(ratio, generator).tolist() == [False, False, True, True]
    none = torch.full((3,), -math.inf, dtype=torch.float64)
    assert not accept(none - torch.zeros(3).double(), generator).any()
