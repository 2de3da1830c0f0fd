"""Posteriors against torch.distributions and against their evidence, data files and their errors.

The evidence of Brownian and Seeds confirms the printed data as much as the formula. Files of
the other data sets are tiny synthetic ones in the same format; with a real file the constants
could be checked the same way as for Seeds.
"""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Binomial, Gamma, LogNormal, MultivariateNormal, Normal

from onestep_md.errors import TargetError
from onestep_md.targets.densities import build_density
from onestep_md.targets.posteriors import (
    BROWNIAN_TIMES,
    BROWNIAN_VALUES,
    DATA_SETS,
    SEEDS_EXTRACT,
    SEEDS_GERMINATED,
    SEEDS_SOWN,
    SEEDS_VARIETY,
)

LOG_2PI = math.log(2 * math.pi)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def points(target, n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, target.dim, generator=generator, dtype=torch.float64)


def normal(std):
    return Normal(double(0.0), double(std) if isinstance(std, float) else std)


# ---- Brownian


def test_brownian_against_torch_distributions():
    target = build_density("brownian", None)
    x = points(target, 5)
    walk, noise = torch.exp(x[:, 0]), torch.exp(x[:, 1])
    expected = LogNormal(double(0.0), double(2.0)).log_prob(torch.exp(x[:, :2])).sum(1)
    expected += x[:, :2].sum(1)  # log-determinant of exp
    previous = torch.zeros(5).double()
    for t in range(30):
        expected += Normal(previous, walk).log_prob(x[:, 2 + t])
        previous = x[:, 2 + t]
    for t, value in zip(BROWNIAN_TIMES, BROWNIAN_VALUES, strict=True):
        expected += Normal(x[:, 2 + t], noise).log_prob(double(value))
    torch.testing.assert_close(target.log_prob(x), expected)


def test_brownian_evidence_by_quadrature_of_its_log_prob():
    # Given both scales log_prob is quadratic in the positions, so its integral over them is
    # exp(maximum) sqrt((2 pi)^30 / det(-Hessian)), and the maximum is one Newton step from 0.
    target = build_density("brownian", None)
    axis = torch.linspace(-12, 6, 91, dtype=torch.float64)
    scales = torch.cartesian_prod(axis, axis)

    def conditional(positions, scales):
        return target.log_prob(torch.cat([scales, positions]))

    origin = torch.zeros(len(scales), 30, dtype=torch.float64)
    value = torch.func.vmap(conditional)(origin, scales)
    gradient = torch.func.vmap(torch.func.grad(conditional))(origin, scales)
    hessian = torch.func.vmap(torch.func.hessian(conditional), chunk_size=1000)(origin, scales)
    newton = torch.linalg.solve(-hessian, gradient)
    marginal = value + 0.5 * (gradient * newton).sum(1)
    marginal += 15 * LOG_2PI - 0.5 * torch.linalg.slogdet(-hessian).logabsdet
    log_z = torch.logsumexp(marginal, 0) + 2 * math.log(0.2)
    assert log_z.item() == pytest.approx(target.log_z, abs=1e-5)

    # and the marginal likelihood from the other side, y ~ N(0, s_walk^2 min(t, t') + s_noise^2)
    t = 1.0 + double(BROWNIAN_TIMES)
    for k in (1000, 2700, 4140, 5000):
        walk_var, noise_var = torch.exp(2 * scales[k])
        covariance = walk_var * torch.minimum(t, t[:, None]) + noise_var * torch.eye(20).double()
        y = MultivariateNormal(torch.zeros(20).double(), covariance)
        expected = y.log_prob(double(BROWNIAN_VALUES)) + normal(2.0).log_prob(scales[k]).sum()
        torch.testing.assert_close(marginal[k], expected)


# ---- Seeds


def test_seeds_against_torch_distributions():
    target = build_density("seeds", None)
    x = points(target, 5)
    tau, a, b = torch.exp(x[:, :1]), x[:, 1:5], x[:, 5:]
    variety, extract = double(SEEDS_VARIETY), double(SEEDS_EXTRACT)
    logits = a[:, :1] + a[:, 1:2] * variety + a[:, 2:3] * extract + b
    logits = logits + a[:, 3:] * variety * extract
    likelihood = Binomial(double(SEEDS_SOWN), logits=logits).log_prob(double(SEEDS_GERMINATED))
    prior = Gamma(double(0.01), double(0.01)).log_prob(tau) + x[:, :1]
    prior = prior.sum(1) + normal(10.0).log_prob(a).sum(1)
    expected = prior + normal(tau**-0.5).log_prob(b).sum(1) + likelihood.sum(1)
    torch.testing.assert_close(target.log_prob(x), expected)


def test_seeds_evidence_by_quadrature_and_importance_sampling():
    # For each log tau: the maximum over the other 25, then 500 draws from a t distribution of
    # 8 degrees of freedom with the curvature there. Statistical error about 0.01.
    target = build_density("seeds", None)
    log_tau = torch.linspace(-4, 9, 53, dtype=torch.float64)
    spacing = 0.25

    def log_p(rest, log_tau):
        return target.log_prob(torch.cat([log_tau[..., None], rest], -1))

    x = torch.zeros(len(log_tau), 25, dtype=torch.float64)
    gradient = torch.func.vmap(torch.func.grad(log_p))
    hessian = torch.func.vmap(torch.func.hessian(log_p))
    for _ in range(25):
        x = x + torch.linalg.solve(-hessian(x, log_tau), gradient(x, log_tau))
    assert gradient(x, log_tau).abs().max() < 1e-6

    n, nu, d = 500, 8.0, 25
    generator = torch.Generator().manual_seed(4)
    factor = torch.linalg.cholesky(-hessian(x, log_tau))  # precision = F F^T
    z = torch.randn(len(x), d, n, generator=generator, dtype=torch.float64)
    chi = torch.randn(len(x), int(nu), n, generator=generator, dtype=torch.float64)
    z = z * torch.sqrt(nu / chi.square().sum(1, keepdim=True))
    draws = x[:, None] + torch.linalg.solve_triangular(factor.mT, z, upper=True).mT
    # log of the multivariate t density with scale matrix (F F^T)^-1
    log_q = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - 0.5 * d * math.log(nu * math.pi)
    log_q = log_q + factor.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)
    log_q = log_q - 0.5 * (nu + d) * torch.log1p(z.square().sum(1) / nu)
    log_w = log_p(draws, log_tau[:, None].expand(-1, n)) - log_q
    marginal = torch.logsumexp(log_w, 1) - math.log(n)
    assert max(marginal[0], marginal[-1]) < marginal.max() - 6
    log_z = torch.logsumexp(marginal, 0) + math.log(spacing)
    assert log_z.item() == pytest.approx(target.log_z, abs=0.03)


# ---- data sets that are read from files


def write_regression(tmp_path, name, columns, labels, rows=12):
    generator = np.random.default_rng(5)
    features = generator.normal(2.0, 3.0, size=(rows, columns))
    features[:, 1] = 0.0  # as in Ionosphere
    separator = "   " if name == "credit" else ","
    lines = [
        separator.join([*(f"{value:.17g}" for value in row), labels[i % 2]])
        for i, row in enumerate(features)
    ]
    path = tmp_path / DATA_SETS[name].file
    path.write_text("\n".join(lines) + "\n\n")
    return path, features, np.arange(rows) % 2


@pytest.mark.parametrize(
    ("name", "columns", "labels", "prior"),
    [("ionosphere", 34, "bg", 1.0), ("sonar", 60, "RM", 1.0), ("credit", 24, "12", 10.0)],
)
def test_regressions_against_torch_distributions(tmp_path, name, columns, labels, prior):
    path, features, expected_labels = write_regression(tmp_path, name, columns, labels)
    target = build_density(name, path)
    assert target.dim == columns + 1
    assert target.log_z is None  # twelve rows are not the public data set
    std = features.std(0)
    std[1] = 1.0
    scaled = (features if name == "credit" else features - features.mean(0)) / std
    design = double(np.column_stack([np.ones(len(scaled)), scaled]))
    x = points(target, 5)
    expected = normal(prior).log_prob(x).sum(1)
    bernoulli = Bernoulli(logits=x @ design.T)
    expected += bernoulli.log_prob(double(expected_labels).expand(5, -1)).sum(1)
    torch.testing.assert_close(target.log_prob(x), expected)
    # d log p / dw = features^T (label - probability) - w / prior^2
    gradient = (double(expected_labels) - bernoulli.probs) @ design - x / prior**2
    mapped = torch.func.vmap(torch.func.grad(target.log_prob))(x)
    torch.testing.assert_close(mapped, gradient)


@pytest.mark.parametrize(
    ("name", "columns", "labels", "log_z"),
    [
        ("ionosphere", 34, "bg", -111.61),
        ("sonar", 60, "RM", -108.41),
        ("credit", 24, "12", -585.1),
    ],
)
def test_constants_belong_to_the_full_data_sets(tmp_path, name, columns, labels, log_z):
    path, _, _ = write_regression(tmp_path, name, columns, labels, rows=DATA_SETS[name].rows)
    assert build_density(name, path).log_z == log_z


@pytest.fixture(scope="module")
def pines(tmp_path_factory):
    """Three points, one of them in the upper corner, in the format of pines.csv."""
    path = tmp_path_factory.mktemp("pines") / "pines.csv"
    path.write_text('"","data_x","data_y"\n"1",0.01,0.51\n"2",1.0,1.0\n"3",0.02,0.52\n')
    return build_density("lgcp", path)


def test_lgcp_against_torch_distributions(pines):
    counts = np.zeros((40, 40))
    counts[0, 20], counts[39, 39] = 2, 1
    index = np.stack(np.meshgrid(np.arange(40), np.arange(40), indexing="ij"), -1).reshape(-1, 2)
    distance = np.linalg.norm(index[:, None] - index, axis=-1)
    covariance = double(1.91 * np.exp(-distance / (40 / 33)))
    prior = MultivariateNormal(
        torch.full((1600,), math.log(126) - 1.91 / 2, dtype=torch.float64), covariance
    )
    x = 3.0 + points(pines, 3)
    likelihood = x @ double(counts.flatten()) - torch.exp(x).sum(1) / 1600
    torch.testing.assert_close(pines.log_prob(x), prior.log_prob(x) + likelihood)
    assert pines.dim == 1600 and pines.log_z is None


def test_lgcp_gradient(pines):
    x, direction = 3.0 + points(pines, 2), points(pines, 2, seed=2)
    gradient = torch.func.vmap(torch.func.grad(pines.log_prob))(x)
    h = 1e-5
    slope = (pines.log_prob(x + h * direction) - pines.log_prob(x - h * direction)) / (2 * h)
    torch.testing.assert_close((gradient * direction).sum(1), slope, rtol=1e-6, atol=1e-4)


# ---- mistakes in files


@pytest.mark.parametrize("name", DATA_SETS)
def test_missing_files_say_what_to_get_and_where_to_set_it(tmp_path, name):
    for data, found in ((None, "target.data is not set"), (tmp_path / "a", "there is no file")):
        with pytest.raises(TargetError) as caught:
            build_density(name, data)
        message = str(caught.value)
        wanted = DATA_SETS[name]
        assert found in message and wanted.title in message and wanted.source in message
        assert f"Get its file {wanted.file} and set target.data" in message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("sonar", "1,2,R\n3,4,M\n", "60 numbers per row and a label R or M"),
        ("sonar", "1,2,R\n3,M\n", "a table that can be read"),
        ("sonar", "", "two rows or more"),
        ("credit", "1 " * 24 + "3\n" + "1 " * 25 + "\n", "24 numbers per row and a label 1 or 2"),
        ("credit", "x " * 24 + "1\n" + "1 " * 25 + "\n", "could not convert string"),
        ("credit", "nan " * 24 + "1\n" + "1 " * 25 + "\n", "finite numbers"),
        ("lgcp", "i,x,y\n1,0.5,0.5\n2,1.5,0.5\n", r"x and y in \[0, 1\]"),
        ("lgcp", "x,y\n0.5,0.5\n0.5,0.5\n", "columns index, x, y"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, name, text, expected):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(TargetError, match=f"not the file .* of the density {name}") as caught:
        build_density(name, path)
    assert caught.match(expected)
