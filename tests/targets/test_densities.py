"""Closed-form benchmarks against independent formulas, quadrature and their own samples."""

import functools
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from onestep_md.config.types import PARTICLES
from onestep_md.errors import TargetError
from onestep_md.targets.densities import BUILDERS, build_density
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.gaps import Gaps
from onestep_md.targets.posteriors import DATA_SETS

SYSTEMS = Path(__file__).parents[2] / "systems"
BUILT_IN = [name for name in BUILDERS if name not in DATA_SETS]
SAMPLED = ["gmm9", "gmm40_fab", "gmm40", "funnel", "mw54", "mw52", "mw32"]
DIMS = {
    **{"gmm9": 2, "gmm40_fab": 2, "gmm40": 50, "funnel": 10, "mw54": 5, "mw52": 50, "mw32": 32},
    **{"dw4": 6, "lj13_f1": 36, "lj55_f1": 162, "brownian": 32, "seeds": 26},
}


def points(target, n, scale=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, target.dim, generator=generator, dtype=torch.float64)


def samples(target, n, seed=1):
    return target.sample(n, torch.Generator().manual_seed(seed))


# ---- what holds for every density


@pytest.mark.parametrize("name", BUILT_IN)
def test_name_dimension_shape_and_type(name):
    target = build_density(name, None)
    log_p = target.log_prob(points(target, 7))
    assert (target.name, target.dim) == (name, DIMS[name])
    assert log_p.shape == (7,) and log_p.dtype == torch.float64 and log_p.isfinite().all()
    assert target.log_prob(points(target, 7)[0]).shape == ()
    assert (target.log_z is None) == (name in PARTICLES)


@pytest.mark.parametrize("name", BUILT_IN)
def test_gradient_agrees_with_finite_differences_and_torch_func(name):
    target = build_density(name, None)
    scale = 3.0 if name in PARTICLES else 1.0  # particles that nearly meet have a huge energy
    x, direction = points(target, 5, scale), points(target, 5, seed=2)
    gradient = torch.func.vmap(torch.func.grad(target.log_prob))(x)
    h = 1e-5
    slope = (target.log_prob(x + h * direction) - target.log_prob(x - h * direction)) / (2 * h)
    torch.testing.assert_close((gradient * direction).sum(1), slope, rtol=1e-6, atol=1e-5)
    u, grad_u = DensityEvaluator(lambda: target).evaluate(x.numpy())
    np.testing.assert_array_equal(u, -target.log_prob(x).numpy())
    np.testing.assert_allclose(grad_u, -gradient.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_building_leaves_the_global_random_state_alone(name):
    before = torch.get_rng_state()
    build_density(name, None)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_belong_to_the_density(name):
    # E[x . grad log p] = -dim for any density that vanishes at infinity: an error in either the
    # sampler or the density shows up. 40,000 samples, 5 standard errors.
    target = build_density(name, None)
    x = samples(target, 40_000 if target.dim < 40 else 4_000)
    assert x.shape[1] == target.dim and x.dtype == torch.float64
    centre = x.mean(0)
    gradient = torch.func.vmap(torch.func.grad(target.log_prob), chunk_size=4000)(x)
    virial = ((x - centre) * gradient).sum(1)
    error = virial.std() / math.sqrt(len(x))
    assert abs(virial.mean() + target.dim) < 5 * error
    assert torch.equal(x, samples(target, len(x)))


@pytest.mark.parametrize("name", BUILT_IN)
def test_sampler_says_when_there_is_none(name):
    assert (samples(build_density(name, None), 3) is None) == (name not in SAMPLED)


# ---- mixtures and the funnel


@pytest.mark.parametrize(
    ("name", "std"), [("gmm9", 0.3**0.5), ("gmm40_fab", 1.313262), ("gmm40", 1.0)]
)
def test_mixtures_against_torch_distributions(name, std):
    target = build_density(name, None)
    count, dim = target.modes.shape
    reference = MixtureSameFamily(
        Categorical(torch.ones(count).double()),
        MultivariateNormal(target.modes, torch.eye(dim).double() * std**2),
    )
    x = points(target, 50, scale=20.0)
    torch.testing.assert_close(target.log_prob(x), reference.log_prob(x), rtol=1e-5, atol=1e-5)


def test_means_of_the_mixtures():
    nine = {tuple(mean) for mean in build_density("gmm9", None).modes.tolist()}
    assert nine == {(a, b) for a in (-5.0, 0.0, 5.0) for b in (-5.0, 0.0, 5.0)}
    torch.manual_seed(0)
    published = (torch.rand((40, 2)) - 0.5) * 80
    assert torch.equal(build_density("gmm40_fab", None).modes, published.double())
    far = build_density("gmm40", None).modes
    assert far.shape == (40, 50) and 39 < far.abs().max() < 40


@pytest.mark.parametrize("name", ["gmm9", "gmm40_fab"])
def test_mixture_is_normalised(name):
    target = build_density(name, None)
    axis = torch.linspace(-60, 60, 481, dtype=torch.float64)
    log_p = target.log_prob(torch.cartesian_prod(axis, axis))
    assert abs(torch.logsumexp(log_p, 0).item() + 2 * math.log(0.25)) < 1e-8


@pytest.mark.parametrize("name", ["gmm9", "gmm40_fab", "gmm40", "mw54", "mw52"])
def test_samples_cover_all_modes_in_equal_shares(name):
    target = build_density(name, None)
    x = samples(target, 20_000)
    nearest = torch.cdist(x, target.modes).argmin(1)
    share = torch.bincount(nearest, minlength=len(target.modes)) / len(x)
    p = 1 / len(target.modes)
    # Overlapping components of gmm40_fab trade samples, by up to half a share.
    error = 5 * math.sqrt(p / len(x)) + (0.5 * p if name == "gmm40_fab" else 0)
    assert (share - p).abs().max() < error


def test_funnel_against_torch_distributions_and_its_samples():
    target = build_density("funnel", None)
    x = samples(target, 100_000)
    zero, three = torch.tensor((0.0, 3.0), dtype=torch.float64)
    reference = Normal(zero, three).log_prob(x[:, 0])
    reference = reference + Normal(zero, torch.exp(x[:, :1] / 2)).log_prob(x[:, 1:]).sum(1)
    torch.testing.assert_close(target.log_prob(x), reference, rtol=1e-12, atol=1e-9)
    assert abs(x[:, 0].std() - 3.0) < 0.03
    scaled = x[:, 1:] * torch.exp(-x[:, :1] / 2)
    assert (scaled.std(0) - 1.0).abs().max() < 0.012


# ---- many wells


def direct_many_wells(name, x):
    a = x**2
    if name == "mw54":
        return -((a - 4) ** 2).sum(1)
    if name == "mw52":
        return -((a[:, :5] - 2) ** 2).sum(1) - 0.5 * a[:, 5:].sum(1)
    even, odd = x[:, ::2], x[:, 1::2]
    return (0.5 * even + 6 * even**2 - even**4 - 0.5 * odd**2).sum(1)


@pytest.mark.parametrize(
    ("name", "log_z"), [("mw54", -0.541056), ("mw52", 42.817243), ("mw32", 164.695675)]
)
def test_many_wells_formula_and_normaliser(name, log_z):
    target = build_density(name, None)
    x = points(target, 20, scale=2.0)
    torch.testing.assert_close(target.log_prob(x), direct_many_wells(name, x))
    assert target.log_z == pytest.approx(log_z, abs=1e-6)


def test_well_integrals_by_gauss_legendre():
    node, weight = np.polynomial.legendre.leggauss(400)
    a = 5.0 * node
    z4 = 5.0 * weight @ np.exp(-((a**2 - 4) ** 2))
    z2 = 5.0 * weight @ np.exp(-((a**2 - 2) ** 2))
    z1 = 5.0 * weight @ np.exp(0.5 * a + 6 * a**2 - a**4)
    normal = 0.5 * math.log(2 * math.pi)
    assert build_density("mw54", None).log_z == pytest.approx(5 * math.log(z4), abs=1e-9)
    assert build_density("mw52", None).log_z == pytest.approx(
        5 * math.log(z2) + 45 * normal, abs=1e-9
    )
    assert build_density("mw32", None).log_z == pytest.approx(
        16 * (math.log(z1) + normal), abs=1e-9
    )
    assert z1 == pytest.approx(11784.50927, abs=2e-5)


def test_moments_and_shares_of_well_samples():
    x = samples(build_density("mw32", None), 100_000)
    right = (x[:, ::2] > 0).double().mean().item()
    assert abs(right - 0.84431) < 5 * math.sqrt(0.84431 * 0.15569 / 1.6e6)
    assert abs(x[:, 1::2].std() - 1.0) < 0.005
    # <x^2> of exp(-(x^2 - 4)^2) by quadrature
    a = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    weight = torch.exp(-((a**2 - 4) ** 2))
    expected = (weight @ a**2 / weight.sum()).item()
    square = samples(build_density("mw54", None), 100_000).square()
    assert abs(square.mean() - expected) < 5 * square.std() / math.sqrt(5e5)


def test_modes_of_the_wells():
    for name, delta in (("mw54", 4), ("mw52", 2)):
        target = build_density(name, None)
        modes = target.modes
        assert len(torch.unique(modes, dim=0)) == 32 and modes.shape[1] == target.dim
        torch.testing.assert_close(modes[:, :5] ** 2, torch.full((32, 5), float(delta)).double())
        gradient = torch.func.vmap(torch.func.grad(target.log_prob))(modes)
        assert gradient.abs().max() < 1e-10
    assert build_density("mw32", None).modes is None


# ---- evaluator


def test_evaluator_returns_infinity_for_rows_that_are_not_finite():
    make = functools.partial(DensityEvaluator, functools.partial(build_density, "mw54", None))
    evaluator = pickle.loads(pickle.dumps(make))()
    x = np.zeros((5, 5), dtype=np.float32)
    x[0, 1], x[1, 2], x[2, 3], x[3, 4] = np.nan, np.inf, -np.inf, 1e30
    with torch.no_grad():
        u, grad_u = evaluator.evaluate(x)
    assert u.dtype == grad_u.dtype == np.float64
    np.testing.assert_array_equal(u[:2], np.inf)
    np.testing.assert_array_equal(grad_u[:3], 0.0)
    assert u[4] == 80.0 and np.isfinite(u[3])  # 1e120 is still a number
    assert evaluator.evaluate(np.full((2, 5), np.nan))[0].tolist() == [np.inf, np.inf]
    assert evaluator.evaluate(np.zeros((0, 5)))[1].shape == (0, 5)


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 5, 1)])
def test_evaluator_refuses_other_shapes(shape):
    evaluator = DensityEvaluator(functools.partial(build_density, "mw54", None))
    with pytest.raises(ValueError, match=r"expected \(batch, 5\)"):
        evaluator.evaluate(np.zeros(shape))


def test_one_row_that_raises_does_not_take_the_others_with_it():
    class Picky:
        dim = 1

        def log_prob(self, x):
            if (x < 0).any():
                raise RuntimeError("not positive definite")
            return -x.square().sum(1)

    u, grad_u = DensityEvaluator(Picky).evaluate(np.array([[1.0], [-1.0], [2.0]]))
    np.testing.assert_array_equal(u, [1.0, np.inf, 4.0])
    np.testing.assert_array_equal(grad_u, [[2.0], [0.0], [4.0]])


def test_a_row_without_a_gradient_keeps_its_energy():
    class Trap:
        dim = 2

        def log_prob(self, x):
            y = x[:, 0]
            return torch.where(y > 0, -torch.sqrt(y), y) - x[:, 1].square()

    x = np.array([[4.0, 1.0], [-3.0, 1.0], [np.nan, 0.0], [1.0, 0.0]])
    u, grad_u = DensityEvaluator(Trap).evaluate(x)
    np.testing.assert_array_equal(u, [3.0, 4.0, np.inf, 1.0])
    np.testing.assert_array_equal(grad_u, [[0.25, 2.0], [np.nan] * 2, [0.0, 0.0], [0.5, 0.0]])
    found = Gaps()
    found.count(x, grad_u)
    assert (found.gradients, found.example.tolist()) == (1, [-3.0, 1.0])
    (text,) = found.warnings()
    assert "at 1 of the points" in text and "x = [-3.  1.]" in text
    assert Gaps().warnings() == []


# ---- names and files


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(TargetError, match="no density 'gmm10'; there are gmm9, gmm40_fab"):
        build_density("gmm10", None)


def test_data_for_a_density_without_data_is_refused():
    with pytest.raises(TargetError, match="gmm9 needs no data"):
        build_density("gmm9", Path("a.csv"))


@pytest.mark.parametrize("name", BUILDERS)
def test_every_density_has_a_system_file(name):
    system = yaml.safe_load((SYSTEMS / f"{name}.yaml").read_text())
    data = {"data": DATA_SETS[name].file} if name in DATA_SETS else {}
    if name in PARTICLES:  # each has its budget
        system = {key: system[key] for key in ("target", "seed")}
    if name == "lgcp":  # an evaluation takes a millisecond: a smaller budget, no other recipe
        assert set(system.pop("exploration")) == {"particles"}
        assert set(system.pop("train")) == {"steps"}
    assert system == {"target": {"kind": "density", "name": name, **data}, "seed": 1}
