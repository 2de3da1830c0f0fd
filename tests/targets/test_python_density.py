"""A user's own density: the shipped example, and one clear message per kind of mistake."""

import functools
import math
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from onestep_md.errors import TargetError
from onestep_md.targets.density_evaluator import DensityEvaluator
from onestep_md.targets.density_source import load_density
from onestep_md.targets.python_density import draw_probes, load_python_density

SYSTEMS = Path(__file__).parents[2] / "systems"


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch):
    """Leaves no module and no folder behind for the next test."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "user_" in name or name.endswith("banana.py"):
            del sys.modules[name]


@pytest.fixture
def load(tmp_path):
    """Loads `log_density` from the text of a module, in two dimensions."""

    def load(text: str, spec: str = "user_model:log_density", dim: int = 2):
        (tmp_path / "user_model.py").write_text("import torch\n" + text)
        return load_python_density(spec, dim, tmp_path)

    return load


def test_the_shipped_example():
    target = yaml.safe_load((SYSTEMS / "python-density.yaml").read_text())["target"]
    assert target.pop("kind") == "python"
    banana = load_python_density(target["function"], target["dim"], SYSTEMS)
    assert (banana.name, banana.dim, banana.log_z) == ("banana:log_density", 2, None)
    assert banana.modes is None and banana.sample(3, torch.Generator()) is None
    x = torch.linspace(-8, 8, 641, dtype=torch.float64)
    y = torch.linspace(-4, 66, 2801, dtype=torch.float64)
    log_z = torch.logsumexp(banana.log_prob(torch.cartesian_prod(x, y)), 0) + 2 * math.log(0.025)
    assert log_z.item() == pytest.approx(math.log(2 * math.pi) - math.log(20) / 2, abs=1e-8)
    assert log_z.item() == pytest.approx(0.340011, abs=1e-6)


def test_example_in_the_evaluator_and_in_torch_func():
    build = functools.partial(load_python_density, "banana:log_density", 2, SYSTEMS)
    make = pickle.loads(pickle.dumps(functools.partial(DensityEvaluator, build)))
    evaluator = make()
    x = np.array([[1.0, 2.0], [np.nan, 0.0]])
    u, grad_u = evaluator.evaluate(x)
    np.testing.assert_allclose(u, [10.5, np.inf])
    np.testing.assert_allclose(grad_u, [[1 - 40, 20.0], [0.0, 0.0]])
    gradient = torch.func.vmap(torch.func.grad(evaluator.density.log_prob))
    np.testing.assert_allclose(gradient(torch.tensor(x[:1])).numpy(), -grad_u[:1])


@pytest.mark.parametrize("spec", ["user_model", "user_model:", ":f", ""])
def test_spec_of_another_form(load, spec):
    with pytest.raises(TargetError, match="expected module:function"):
        load("", spec)


def test_missing_module_and_function(load, tmp_path):
    with pytest.raises(
        TargetError, match=f"cannot import absent_model: no absent_model.py in {tmp_path}"
    ):
        load("", "absent_model:f")
    with pytest.raises(TargetError, match="has no function 'log_density'"):
        load("log_density = 3")


def test_files_of_one_name_are_modules_of_their_own(tmp_path):
    """Two runs loaded side by side, each with its copy, or a file named like a library."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    for name in ("json", "user_model"):
        values = []
        for factor in (1.0, 3.0):
            folder = tmp_path / f"run {factor}"
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.py").write_text(
                "from dataclasses import dataclass\n@dataclass\nclass Scale:\n"
                f"    value: float = {factor}\n"
                "def log_density(x):\n    return -Scale().value * x.square().sum(1)\n"
            )
            values.append(load_python_density(f"{name}:log_density", 2, folder))
        assert [density.log_prob(x).item() for density in values] == [-5.0, -15.0]


def test_a_module_of_a_package(tmp_path):
    (tmp_path / "user_package").mkdir()
    (tmp_path / "user_package" / "user_model.py").write_text(
        "def log_density(x):\n    return -x.square().sum(1)\n"
    )
    density = load_python_density("user_package.user_model:log_density", 2, tmp_path)
    assert density.log_prob(torch.ones(3, 2, dtype=torch.float64)).tolist() == [-2.0] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import absent_dependency", "No module named 'absent_dependency'"),
        ("def log_density(x:", "SyntaxError"),
    ],
)
def test_modules_that_cannot_be_imported(load, text, message):
    with pytest.raises(TargetError, match=f"cannot import user_model: .*{message}"):
        load(text)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x.sum()", r"returned shape \(\), float64, for x of shape \(16, 2\)"),
        ("-x", r"returned shape \(16, 2\)"),
        ("-x.square().sum(1).squeeze()", r"returned shape \(\), float64, for x of shape \(1, 2\)"),
        ("-x.float().square().sum(1)", r"returned shape \(16,\), float32"),
        ("-(x.numpy() ** 2).sum(1)", "returned a ndarray"),
        ("-x.square().sum(1) * torch.nan", "returned the log densities .nan, nan"),
        ("x.square().sum(1) + torch.inf", "returned the log densities .inf, inf"),
        ("-x.square().sum(1) / len(x)", "rows must not depend on each other"),
        ("-x.detach().square().sum(1)", "a value without gradient"),
        ("-x[:, 2].square()", r"raised IndexError for x of shape \(16, 2\)"),
    ],
)
def test_functions_that_break_the_contract(load, body, message):
    with pytest.raises(TargetError, match=message) as caught:
        load(f"def log_density(x):\n    return {body}")
    assert "(batch, dim) float64 and returns (batch,) float64" in str(caught.value)


def test_bounded_support_is_accepted(load):
    body = "torch.where(x[:, 0] > 9, -x.square().sum(1), -torch.inf)"
    target = load(f"def log_density(x):\n    return {body}")
    u, grad_u = DensityEvaluator(lambda: target).evaluate(np.array([[10.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(u, [100.0, np.inf])
    np.testing.assert_array_equal(grad_u, [[20.0, 0.0], [0.0, 0.0]])


def test_some_nan_values_are_accepted(load):
    target = load("def log_density(x):\n    return x[:, 0].log() - x.square().sum(1)")
    assert target.log_prob(torch.ones(1, 2).double()).tolist() == [-2.0]


def test_a_gradient_that_torch_where_spoils_is_refused_and_explained(load):
    body = "torch.where(x[:, 0] > 0, -torch.sqrt(x[:, 0]), x[:, 0])"
    with pytest.raises(TargetError, match="no finite gradient at .* of 16 points") as caught:
        load(f"def log_density(x):\n    return {body}")
    assert "torch.where(y > 0, torch.sqrt(torch.where(y > 0, y, 1.0)), 0.0)" in str(caught.value)
    safe = "torch.where(x[:, 0] > 0, x[:, 0], 1.0)"
    load(f"def log_density(x):\n    return {body.replace('sqrt(x[:, 0])', f'sqrt({safe})')}")


# ---- identity


BALL = """
def log_density(x):
    "A ball."  # of radius 1
    return torch.where((x - 40.0).square().sum(1) < 1.0, x[:, 0], -torch.inf)
"""


@pytest.fixture
def digest(tmp_path):
    """The digest of a text of `user_model.py`, and of another one of `user_helper.py`."""

    def digest(text: str, helper: str = "") -> str:
        (tmp_path / "user_helper.py").write_text(helper)
        (tmp_path / "user_model.py").write_text("import torch\n" + text)
        sys.modules.pop("user_helper", None)
        settings = SimpleNamespace(kind="python", function="user_model:log_density", dim=2)
        return load_density(settings, tmp_path).fingerprint.digest

    return digest


def test_another_number_is_another_density_wherever_it_acts(digest):
    first = digest(BALL)
    for old, new in (("< 1.0", "< 1.1"), ("40.0", "41.0"), ("x[:, 0]", "x[:, 1]")):
        assert digest(BALL.replace(old, new)) != first
    assert digest(BALL) == first


def test_comments_docstrings_and_layout_make_no_other_density(digest):
    other = BALL.replace("# of radius 1", "").replace("A ball.", "The ball.")
    other = '"""A module."""\n\n' + other.replace("x[:, 0], -torch", "x[:, 0],\n        -torch")
    assert digest(other) == digest(BALL)


def test_code_beside_the_function_belongs_to_it(digest, tmp_path):
    text = "from user_helper import RADIUS\n" + BALL.replace("< 1.0", "< RADIUS")
    assert digest(text, "RADIUS = 1.0") != digest(text, "RADIUS = 2.0")
    settings = SimpleNamespace(kind="python", function="user_model:log_density", dim=2)
    names = [path.name for path in load_density(settings, tmp_path).sources]
    assert names == ["user_model.py", "user_helper.py"]


def test_probes_reach_a_support_far_out_or_narrow():
    for middle in (40.0, 0.0015):
        x = draw_probes(
            lambda x, m=middle: torch.where((x - m).abs() < 0.3 * m, 0.0, -torch.inf)[:, 0], 1
        )
        assert len(x) == 32 and ((x - middle).abs() < 0.3 * middle).any()
