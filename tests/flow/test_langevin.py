"""Moves in latent space: right gradient, right invariant density, for flows that fit nothing."""

import math

import torch

from onestep_md.flow import langevin

SHIFT, WIDTH = 0.6, 0.8  # of the target on every line; on circles p ~ exp(cos angle)


def log_p(flow, s):
    line, circle = s[:, : flow.n_linear], s[:, flow.n_linear :]
    return -0.5 * ((line - SHIFT) / WIDTH).square().sum(-1) + circle.cos().sum(-1)


def force(flow, s):
    line, circle = s[:, : flow.n_linear], s[:, flow.n_linear :]
    return torch.cat([-(line - SHIFT) / WIDTH**2, -circle.sin()], dim=-1)


def log_latent(flow, z):
    s, log_det = flow(z, 1)
    return log_p(flow, s) + log_det


def test_acceptance_is_that_of_metropolis_and_hastings(flow, base_samples):
    stride = 1.0
    z = base_samples(flow, 1000)
    s, _ = flow(z, 1)
    generator = torch.Generator().manual_seed(3)
    draws = langevin.draw(1000, flow.dim, generator)
    proposal = langevin.propose(flow, z, force(flow, s.detach()), stride, *draws)
    rise = (log_p(flow, proposal.s) - log_p(flow, s)).detach()
    toss = torch.Generator().manual_seed(4)
    ratio = langevin.log_ratio(proposal, rise, force(flow, proposal.s.detach()))
    found = langevin.accept(ratio, toss)

    def gradient(at):
        at = at.detach().requires_grad_()
        return torch.autograd.grad(log_latent(flow, at).sum(), at)[0]

    h, n = proposal.length, flow.n_linear

    def log_kernel(to, at):  # the images of an angle one turn away are far beyond its width
        step = to - at - 0.5 * h * h * gradient(at)
        step[:, n:] = torch.remainder(step[:, n:] + math.pi, 2 * math.pi) - math.pi
        return -0.5 * (step / h).square().sum(-1)

    with torch.no_grad():
        change = log_latent(flow, proposal.z) - log_latent(flow, z)
    log_ratio = change + log_kernel(z, proposal.z) - log_kernel(proposal.z, z)
    uniform = torch.rand(1000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert 100 < found.sum() < 1000  # both kinds
    assert torch.equal(found, uniform.log() < log_ratio)


def test_chains_reach_the_target_through_a_flow_that_does_not(random_flow):
    flow, n = random_flow(2, 1), 2000
    generator = torch.Generator().manual_seed(0)
    s = torch.zeros(n, 3, dtype=torch.float64)
    for k in range(80):
        z, log_det = (t.detach() for t in flow.inverse(s, 1))
        draws = langevin.draw(n, 3, generator)
        proposal = langevin.propose(flow, z, force(flow, s), 0.7, *draws)
        new = proposal.s.detach()
        rise = log_p(flow, new) - log_p(flow, s)
        ratio = langevin.log_ratio(proposal, rise, force(flow, new))
        ok = langevin.accept(ratio, generator)
        s = torch.where(ok[:, None], new, s)
        if k % 3 == 0:  # and the other kind of proposal
            z, log_det = flow.inverse(s, 1)
            fresh = torch.randn(n, 3, generator=generator, dtype=torch.float64)
            fresh[:, 2] = (
                2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1
            ) * math.pi
            new, log_det_new = flow(fresh, 1)
            log_w = log_p(flow, s) + 0.5 * z[:, :2].square().sum(-1) + log_det
            log_w_new = log_p(flow, new) + 0.5 * fresh[:, :2].square().sum(-1) + log_det_new
            jump = langevin.accept(log_w_new - log_w, generator)
            s = torch.where(jump[:, None], new, s).detach()
    error = 4.0 / math.sqrt(n)
    assert (s[:, :2].mean(0) - SHIFT).abs().max() < WIDTH * error
    assert (s[:, :2].std(0) - WIDTH).abs().max() < WIDTH * error
    # <cos> of exp(cos) is I_1(1) / I_0(1), <cos^2> = 1 - <cos>
    assert abs(s[:, 2].cos().mean() - 0.44640) < 0.6 * error
    assert abs(s[:, 2].sin().mean()) < 0.7 * error


def test_impossible_proposals_are_rejected(random_flow, base_samples):
    flow = random_flow(3, 1)
    z = base_samples(flow, 4)
    generator = torch.Generator().manual_seed(0)
    draws = langevin.draw(4, flow.dim, generator)
    proposal = langevin.propose(flow, z, torch.zeros_like(z), 0.1, *draws)
    rise = torch.tensor([-math.inf, math.nan, 1e3, 1e3], dtype=torch.float64)
    ratio = langevin.log_ratio(proposal, rise, torch.zeros_like(z))
    accepted = langevin.accept(ratio, generator)
    assert accepted.tolist() == [False, False, True, True]
    none = torch.full((3,), -math.inf, dtype=torch.float64)
    assert not langevin.accept(none - torch.zeros(3).double(), generator).any()
