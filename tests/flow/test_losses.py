"""Losses where the exact flow is known: zero for it, and gradients that are unbiased."""

import math

import pytest
import torch

from onestep_md.flow import losses
from onestep_md.flow.step import StepFlow

N_LINEAR, N_CIRCULAR = 3, 2


def base(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    line = torch.randn(n, N_LINEAR, generator=generator, dtype=torch.float64)
    circle = torch.rand(n, N_CIRCULAR, generator=generator, dtype=torch.float64)
    return torch.cat([line, (2 * circle - 1) * math.pi], dim=-1)


@pytest.fixture
def identity():
    """The exact flow of the target N(0, I) x uniform."""
    return StepFlow(N_LINEAR, N_CIRCULAR, layers=2, width=8, orders=2, bins=0, seed=0).double()


def base_force(s):
    return torch.cat([-s[:, :N_LINEAR], torch.zeros_like(s[:, N_LINEAR:])], dim=-1)


def test_path_starts_at_the_base_and_ends_at_the_target():
    z, s1 = base(20), base(20, seed=1)
    for t, end in ((0.0, z), (1.0, s1)):
        s = losses.path_point(z, s1, torch.full((20,), t, dtype=torch.float64), N_LINEAR)
        assert losses.difference(s, end, N_LINEAR).abs().max() < 1e-12


def test_path_keeps_the_variance_of_a_gaussian():
    s = losses.path_point(
        base(200_000), base(200_000, 1), torch.full((200_000,), 0.37).double(), N_LINEAR
    )
    # standard error of a variance is sqrt(2/n) = 0.003
    torch.testing.assert_close(
        s[:, :N_LINEAR].var(0), torch.ones(N_LINEAR).double(), rtol=0, atol=0.015
    )


def test_force_informed_flow_matching_has_no_noise_for_a_gaussian(identity):
    z, s1 = base(50), base(50, seed=1)
    s1[:, N_LINEAR:] = z[:, N_LINEAR:]  # circles: the ordinary target, silenced here
    force, t = base_force(s1), torch.rand(50).double()
    trust = losses.force_trust(s1, force, N_LINEAR)
    assert (trust == 1.0).all()
    loss = losses.flow_matching(identity, z, s1, force, t, trust)
    assert loss.max() < 1e-20


def test_flow_matching_target_points_along_the_path(identity):
    """For a shifted Gaussian target the mean velocity is (pi/2) cos(pi t/2) mu."""
    mu = torch.tensor([1.0, -2.0, 0.5]).double()
    z, s1 = base(50), base(50, seed=1)
    s1[:, N_LINEAR:] = z[:, N_LINEAR:]
    s1[:, :N_LINEAR] += mu
    force = torch.cat([mu - s1[:, :N_LINEAR], torch.zeros(50, N_CIRCULAR).double()], -1)
    t = torch.full((50,), 0.3).double()
    expected = (0.5 * math.pi * math.cos(0.15 * math.pi)) ** 2 * mu.square().sum()
    torch.testing.assert_close(
        losses.flow_matching(identity, z, s1, force, t, torch.ones(N_LINEAR).double()),
        expected.expand(50),
    )


def test_flow_matching_takes_the_ordinary_target_where_no_force_is_known(identity):
    z, s1, t = base(6), base(6, seed=1), torch.rand(6).double()
    force, trust = 3.0 * base_force(s1), torch.full((N_LINEAR,), 0.5).double()

    def matching(force, trust):
        return losses.flow_matching(identity, z, s1, force, t, trust)

    by_both, ordinary = matching(force, trust), matching(force, 0.0 * trust)
    force[2:] = torch.nan
    torch.testing.assert_close(matching(force, trust)[:2], by_both[:2])
    torch.testing.assert_close(matching(force, trust)[2:], ordinary[2:])
    torch.testing.assert_close(
        losses.force_trust(s1, force, N_LINEAR), losses.force_trust(s1[:2], force[:2], N_LINEAR)
    )
    assert (losses.force_trust(s1[2:], force[2:], N_LINEAR) == 0.0).all()


def test_samples_without_a_force_do_not_pull():
    s = base(4).requires_grad_()
    score, force = base(4, seed=1), base(4, seed=2)
    force[1, 0] = torch.nan
    losses.energy(s, score, force, torch.full((4,), 0.25).double()).backward()
    pull = 0.25 * (score - force)
    pull[1] = 0.0
    torch.testing.assert_close(s.grad, pull)


def test_both_velocity_targets_have_the_same_mean_and_trust_finds_the_quieter():
    """N(mu, v) on the line: given the state on the path, both targets agree on average."""
    v, mu, t = 0.05, 0.7, 0.4
    generator = torch.Generator().manual_seed(0)
    cosine, sine = math.cos(0.5 * math.pi * t), math.sin(0.5 * math.pi * t)
    s1 = mu + v**0.5 * torch.randn(400_000, generator=generator, dtype=torch.float64)
    z = torch.randn(400_000, generator=generator, dtype=torch.float64)
    force = (mu - s1) / v
    near = (cosine * z + sine * s1 - 0.5).abs() < 0.05
    ordinary, by_force = (cosine * s1 - sine * z)[near], (cosine * (force + s1))[near]
    error = (by_force - ordinary).std() / near.sum() ** 0.5
    assert (ordinary.mean() - by_force.mean()).abs() < 4.0 * error
    trust = losses.force_trust(s1[:, None], force[:, None], 1)
    assert 0.05 < float(trust) < 0.2  # narrow: |f + s_1|^2 is about 1/v


@pytest.mark.parametrize("form", ["logdet", "tangent"])
def test_consistency_is_zero_for_an_exact_flow_and_positive_otherwise(form, identity, random_flow):
    s = base(30)
    d = torch.full((30,), 0.5).double()
    t = torch.zeros(30).double()
    crooked = random_flow(N_LINEAR, N_CIRCULAR)
    for flow, exact in ((identity, True), (crooked, False)):
        if form == "logdet":
            state, volume = losses.consistency_logdet(flow, flow, s, t, d)
        else:
            state, volume = losses.consistency_tangent(
                flow, flow, s, t, d, torch.randn(30, 5).double()
            )
        if exact:
            assert state.max() < 1e-25 and volume.max() < 1e-20
        else:
            assert state.mean() > 1e-6 and volume.mean() > 1e-6


def test_consistency_trains_the_student_only(random_flow):
    flow, teacher = random_flow(N_LINEAR, N_CIRCULAR), random_flow(N_LINEAR, N_CIRCULAR, seed=5)
    s, half = base(10), torch.full((10,), 0.5).double()
    state, volume = losses.consistency_tangent(
        flow, teacher, s, 0 * half, half, torch.randn(10, 5).double()
    )
    (state + volume).sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in flow.parameters())


def test_tangent_of_the_student_is_its_jacobian(random_flow):
    """Volume loss of a tangent e_j against a frozen identity: the j-th column of DF - I."""
    flow = random_flow(N_LINEAR, N_CIRCULAR)
    still = StepFlow(N_LINEAR, N_CIRCULAR, layers=2, width=8, orders=2, bins=0, seed=0).double()
    s, one = base(1), torch.ones(1).double()
    jacobian = torch.autograd.functional.jacobian(
        lambda row: flow.step(row[None], 0.0, 1.0)[0][0], s[0]
    )
    for j in range(5):
        tangent = torch.eye(5).double()[j : j + 1]
        _, volume = losses.consistency_tangent(flow, still, s, 0 * one, one, tangent)
        column = jacobian[:, j] - tangent[0]
        torch.testing.assert_close(volume[0], column.square().sum())


def log_target(s):
    """An unnormalised density with coupled angles and lines."""
    line, circle = s[:, :N_LINEAR], s[:, N_LINEAR:]
    bent = line - 0.4 * torch.cos(circle[:, :1])
    return -0.5 * bent.square().sum(-1) + torch.cos(circle[:, 0] - circle[:, 1])


def weighted(flow, z, steps=1):
    s, log_det, score = flow.forward_with_score(z, steps)
    point = s.detach().requires_grad_()
    (force,) = torch.autograd.grad(log_target(point).sum(), point)
    log_base = -0.5 * z[:, :N_LINEAR].square().sum(-1)
    log_w = (log_target(s) + log_det - log_base).detach()
    return s, score, force, log_w


def one_well(log_w):
    return losses.influence(log_w, torch.zeros(len(log_w)), torch.zeros(1))


def test_weighted_likelihood_has_the_gradient_of_the_divergence(random_flow):
    """The alpha-divergence of order 3/2 is E_p[w^(1/2)] up to constants, at fixed samples of p.

    The control variate is the part of it that lies along w^-1.
    """
    flow, s = random_flow(N_LINEAR, N_CIRCULAR, scale=0.1), base(500)
    z, log_det = flow.inverse(s, 1)
    log_likelihood = -losses.negative_log_likelihood(z, log_det, N_LINEAR)
    log_w = log_target(s) - log_likelihood
    parameters = list(flow.parameters())

    def gradient(loss):
        found = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in found])

    root = torch.exp(0.5 * (log_w - log_w.detach().median()))
    inverse = root.detach() ** -2
    assert max(root.max(), inverse.max()) < losses._HEAVY_CHAIN  # so that none is cut off
    influence = losses.chain_influence(log_w.detach())
    assert abs(influence @ inverse) < 1e-6 * (root @ inverse)
    multiple = (root.detach() @ inverse) / inverse.square().sum()
    torch.testing.assert_close(
        gradient(-(influence * log_likelihood).mean()),
        (gradient(2.0 * root.mean()) + multiple * gradient((inverse * log_likelihood).mean()))
        / root.mean().detach(),
    )


def test_the_control_variate_takes_off_noise_alone(random_flow):
    """Over batches it changes no mean gradient, and leaves a tenth of its variance."""
    flow, batches = random_flow(N_LINEAR, N_CIRCULAR, scale=0.1), 200
    parameters = list(flow.parameters())

    def gradient(loss):
        found = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in found])

    plain, controlled = [], []
    for s in base(50 * batches).chunk(batches):  # p is the base: the identity is exact
        z, log_det = flow.inverse(s, 1)
        log_likelihood = -losses.negative_log_likelihood(z, log_det, N_LINEAR)
        log_w = -0.5 * s[:, :N_LINEAR].square().sum(-1) - log_likelihood
        root = torch.exp(0.5 * (log_w - log_w.detach().median()))
        plain.append(gradient(2.0 * root.mean()) / root.mean().detach())
        influence = losses.chain_influence(log_w.detach())
        controlled.append(gradient(-(influence * log_likelihood).mean()))
    plain, controlled = torch.stack(plain), torch.stack(controlled)
    assert controlled.var(0).sum() < 0.1 * plain.var(0).sum()
    moving = plain.var(0) > 1e-12
    z_score = (plain - controlled)[:, moving].mean(0) / (
        (plain - controlled)[:, moving].std(0) / batches**0.5
    )
    assert z_score.square().mean() < 2.0


def test_chains_of_an_exact_flow_have_no_influence():
    log_w = torch.full((20,), -3.5, dtype=torch.float64)
    torch.testing.assert_close(losses.chain_influence(log_w), torch.zeros(20).double())


def test_no_chain_has_more_than_some_influence():
    log_w = torch.tensor([-50.0, 0.0, 0.0, 0.0, 2.0, 80.0, math.inf], dtype=torch.float64)
    share = losses.chain_influence(log_w)
    assert share[5] == share[6]
    heaviest = losses._HEAVY_CHAIN
    root = torch.tensor([0.0, 1.0, 1.0, 1.0, math.e, heaviest, heaviest]).double()
    inverse = torch.tensor([heaviest, 1.0, 1.0, 1.0, math.exp(-2.0), 0.0, 0.0]).double()
    multiple = (3.0 + math.exp(-1.0)) / (heaviest**2 + 3.0 + math.exp(-4.0))
    torch.testing.assert_close(share, (root - multiple * inverse) / root.mean())


def test_energy_gradient_vanishes_for_the_exact_flow(identity):
    z = base(40)
    s, log_det, score = identity.forward_with_score(z, 1)
    share = one_well(torch.zeros(40).double())
    losses.energy(s, score, base_force(s.detach()), share).backward()
    for name, parameter in identity.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.abs().max() < 1e-13, name


def test_energy_gradient_is_that_of_the_divergence(random_flow):
    """Against a finite difference of the divergence itself, along the gradient.

    E_q[phi(w)] with w^2 phi'' = w / (1 + w/c), that is phi(w) = w log w - (c + w) log(1 + w/c) up
    to linear terms. Common random numbers make the difference of the two estimates precise.
    """
    c = losses._HEAVY
    flow = random_flow(N_LINEAR, N_CIRCULAR, scale=0.1)
    z = base(200_000)
    s, score, force, log_w = weighted(flow, z)
    offset = log_w.median()
    losses.energy(s, score, force, one_well(log_w)).backward()
    share = c * torch.sigmoid(log_w - offset - math.log(c))
    scale = share.mean()  # influence() divides by the mean share
    # along the gradient itself: the steepest direction is the one with the least relative noise
    gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in flow.parameters()]
    length = math.sqrt(sum(float(g.square().sum()) for g in gradient))
    direction = [g / length for g in gradient]
    slope = scale * length

    def divergence(h):
        with torch.no_grad():
            for p, v in zip(flow.parameters(), direction, strict=True):
                p.add_(h * v)
            sample, log_det = flow(z, 1)
            log_base = -0.5 * z[:, :N_LINEAR].square().sum(-1)
            x = log_target(sample) + log_det - log_base - offset
            for p, v in zip(flow.parameters(), direction, strict=True):
                p.sub_(h * v)
        return (x.exp() * x - (c + x.exp()) * torch.log1p(x.exp() / c)).mean()

    h = 1e-3
    numeric = (divergence(h) - divergence(-h)) / (2 * h)
    assert abs(float(numeric)) > 1e-3
    torch.testing.assert_close(slope, numeric, rtol=0.1, atol=0)


def test_a_clash_has_no_say(identity):
    z = base(40)
    s, _, score = identity.forward_with_score(z, 1)
    force, log_w = base_force(s.detach()) + 0.1, torch.zeros(40).double()
    force[3], log_w[3] = torch.inf, -torch.inf
    value = losses.energy(s, score, force, one_well(log_w))
    value.backward()
    assert torch.isfinite(value)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in identity.parameters())


def test_a_badly_fitted_well_has_a_say_by_its_share_of_the_chains():
    generator = torch.Generator().manual_seed(1)
    log_w = torch.randn(1000, generator=generator).double()
    well, chains = torch.zeros(1000), torch.zeros(40)
    well[:50], chains[:4] = 0.8, 0.8
    log_w[:50] -= 12.0
    share = losses.influence(log_w, well, chains)
    torch.testing.assert_close(share[:50].sum(), torch.tensor(0.1).double())
    assert one_well(log_w)[:50].sum() < 1e-5
    # within a well the shares are those of a batch of its own
    torch.testing.assert_close(share[50:] / 0.9, one_well(log_w[50:]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("visited", [False, True])
def test_a_well_of_clashes_or_without_chains_has_no_say(visited):
    log_w, well, chains = torch.zeros(20).double(), torch.zeros(20), torch.zeros(10)
    well[:3], chains[:5] = 1.0, float(visited)
    log_w[:3] = torch.tensor([-1e6, -torch.inf, -300.0]) if visited else 0.0
    share = losses.influence(log_w, well, chains)
    assert share[:3].sum() == 0.0
    torch.testing.assert_close(share.sum(), torch.tensor(1.0).double())


@pytest.mark.parametrize("outside", [0.4, 0.6, 0.95])
def test_samples_outside_of_the_support_change_no_other_share(outside):
    generator = torch.Generator().manual_seed(1)
    log_w = torch.randn(200, generator=generator).double()
    lost = torch.arange(200) < 200 * outside
    share = one_well(torch.where(lost, -torch.inf, log_w))
    torch.testing.assert_close(share[~lost], one_well(log_w[~lost]))
    assert (share[lost] == 0).all()


def test_where_all_are_outside_nothing_has_a_share():
    assert (one_well(torch.full((5,), -torch.inf).double()) == 0).all()
