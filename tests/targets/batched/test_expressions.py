"""Expressions of custom forces: what they mean, and that a stranger's text runs nothing."""

import math

import pytest
import torch

from onestep_md.errors import TargetError
from onestep_md.targets.batched.expressions import Expression

X = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def evaluate(text, tables=None, **values):
    return Expression(text, tables or {})(values, tables or {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-2^2", -4.0),
        ("2^3^2", 512.0),
        ("2^-1", 0.5),
        ("1e-3*4 + 2.5E1", 25.004),
        ("or*is", 6.0),
        ("a; a = b + 1; b = 2", 3.0),
        ("a; a = b + 1; b = 2;", 3.0),
        ("select(0, 1/2, 3)", 3.0),
        ("step(0) + step(-1) + delta(0)", 2.0),
        ("min(max(1, 2), 5) + abs(-1)", 3.0),
        ("atan2(1, 1) + sqrt(9) + cube(2)", math.pi / 4 + 11.0),
    ],
)
def test_values_of_plain_numbers(text, expected):
    assert evaluate(text, **{"or": 2.0, "is": 3.0}) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("power", [1, 2, 3, 6, 7, 12, 16, -1, -6, 20, 0.5, 1.5, 0])
def test_powers_of_tensors(power):
    torch.testing.assert_close(evaluate(f"x^{power}", x=X), X**power, rtol=1e-14, atol=0.0)


def test_what_is_not_selected_does_not_spoil_the_gradient():
    x = X.clone().requires_grad_()
    value = evaluate("select(step(x-1), log(y)*x, 2*x); y = x-0.9", x=x)
    value.sum().backward()
    assert x.grad[0] == 2.0
    torch.testing.assert_close(x.grad[1:], (X[1:] - 0.9).log() + X[1:] / (X[1:] - 0.9))


def test_a_choice_of_numbers_has_the_precision_of_its_condition():
    assert evaluate("select(x-1, 0.1, 0.2)", x=X).tolist() == [0.1, 0.2, 0.1]
    assert evaluate("select(x-1, 0.1, 0.2)", x=X.float()).dtype == torch.float32


def test_tables_of_one_and_two_whole_numbers():
    tables = {"f": torch.tensor([1.0, 2.0, 4.0]), "g": torch.arange(6.0).reshape(3, 2)}
    n = torch.tensor([0.0, 1.0])
    assert evaluate("f(n)", tables, n=n).tolist() == [1.0, 2.0]
    assert evaluate("g(n, 2)", tables, n=n).tolist() == [4.0, 5.0]


def test_names_are_those_that_need_a_value():
    assert Expression("a*b+exp(c); a = d; unused = e", {}).names == {"b", "c", "d"}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "r.real", "r[0]", "lambda: 0", "eval(r)", "[r for r in r]",
        "r if r else r", "'text'", "r < 1", "sqrt(x=r)", "(1, 2)", "r := 1", "1j", "",
        "r +", "(" * 1000, "f(r)(r)",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(TargetError, match="not"):
        Expression(text, {})


def test_a_definition_by_itself_is_refused():
    with pytest.raises(TargetError, match="`b` by itself|`a` by itself"):
        Expression("a; a = b; b = 2*a", {})
