"""Expressions of OpenMM's custom forces, evaluated on tensors.

The text is a stranger's: it is parsed, never run. Arithmetic, the functions below and tables are
known; everything else is refused. `name = ...` after a semicolon defines a name for the others.
"""

import ast
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from onestep_md.errors import TargetError

Value = Tensor | float

_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_PREFIX = "v_"  # `or`, the offset radius of OpenMM's own expressions, is a word of Python's
_LARGEST_PRODUCT = 16  # powers up to it are products: exact, and faster than the function
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.UnaryOp, ast.USub, ast.UAdd,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow,
)  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "sqrt": torch.sqrt, "exp": torch.exp, "log": torch.log, "sin": torch.sin, "cos": torch.cos,
    "tan": torch.tan, "asin": torch.asin, "acos": torch.acos, "atan": torch.atan,
    "atan2": torch.atan2, "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh,
    "erf": torch.erf, "erfc": torch.erfc, "abs": torch.abs, "floor": torch.floor,
    "ceil": torch.ceil, "min": torch.minimum, "max": torch.maximum,
    "step": lambda x: (x >= 0).to(x.dtype), "delta": lambda x: (x == 0).to(x.dtype),
    "square": torch.square, "cube": lambda x: x * x * x, "recip": torch.reciprocal,
}  # fmt: skip


class Expression:
    """One expression with its definitions.

    Attributes:
        names: that it needs the values of.
    """

    def __init__(self, text: str, tables: Mapping[str, Tensor]):
        """Parse a text.

        Args:
            text: in the language of OpenMM.
            tables: (x,) or (y, x) values of functions of one or two whole numbers.

        Raises:
            TargetError: it is not understood.
        """
        main, *definitions = text.split(";")
        self._main = _parse(main, tables)
        self._definitions = {}
        for definition in filter(str.strip, definitions):
            name, _, body = definition.partition("=")
            self._definitions[name.strip()] = _parse(body, tables)
        self.names = frozenset(self._free_names(self._main, ()))

    def __call__(self, values: Mapping[str, Value], tables: Mapping[str, Tensor]) -> Value:
        """Evaluate with values by their names, whose shapes broadcast."""
        return _Scope(self._definitions, values, tables).evaluate(self._main)

    def _free_names(self, node: ast.expr, within: tuple[str, ...]) -> set[str]:
        functions = {id(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
        free = set()
        for part in ast.walk(node):
            if not isinstance(part, ast.Name) or id(part) in functions:
                continue
            name = _name(part)
            if name in within:
                raise TargetError(f"an expression defines `{name}` by itself")
            body = self._definitions.get(name)
            free |= {name} if body is None else self._free_names(body, (*within, name))
        return free


class _Scope:
    """Values of names, and those of definitions once they are needed."""

    def __init__(
        self,
        definitions: Mapping[str, ast.expr],
        values: Mapping[str, Value],
        tables: Mapping[str, Tensor],
    ):
        self._definitions, self._values, self._tables = definitions, values, tables
        self._known: dict[str, Value] = {}

    def evaluate(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name():
                return self._look_up(_name(node))
            case ast.UnaryOp():
                value = self.evaluate(node.operand)
                return -value if isinstance(node.op, ast.USub) else value
            case ast.BinOp():
                return _combine(node.op, self.evaluate(node.left), self.evaluate(node.right))
            case ast.Call(func=ast.Name() as function):
                return self._call(_name(function), node.args)
        raise AssertionError(node)

    def _look_up(self, name: str) -> Value:
        if name in self._definitions:
            if name not in self._known:
                self._known[name] = self.evaluate(self._definitions[name])
            return self._known[name]
        return self._values[name]

    def _call(self, name: str, arguments: list[ast.expr]) -> Value:
        if name == "select":
            return self._select(*arguments)
        values = [self.evaluate(argument) for argument in arguments]
        tensors = [
            v if isinstance(v, Tensor) else torch.tensor(v, dtype=torch.float64) for v in values
        ]
        if name in self._tables:
            return _look_up(self._tables[name], *tensors)
        result = _FUNCTIONS[name](*tensors)
        return result if any(isinstance(v, Tensor) for v in values) else result.item()

    def _select(self, condition: ast.expr, yes: ast.expr, no: ast.expr) -> Value:
        condition_value = self.evaluate(condition)
        if not isinstance(condition_value, Tensor):
            return self.evaluate(yes if condition_value != 0 else no)
        chosen = condition_value != 0
        a, b = self._where(chosen).evaluate(yes), self._where(~chosen).evaluate(no)
        a, b = (
            value if isinstance(value, Tensor) else condition_value.new_tensor(value)
            for value in (a, b)
        )
        return torch.where(chosen, a, b)

    def _where(self, chosen: Tensor) -> "_Scope":
        """Make a scope whose gradients are cut off elsewhere, where they may not be numbers."""
        values = {
            name: torch.where(chosen, value, value.detach())
            if isinstance(value, Tensor) and value.requires_grad
            else value
            for name, value in self._values.items()
        }
        if all(values[name] is value for name, value in self._values.items()):
            return self
        return _Scope(self._definitions, values, self._tables)


def _parse(text: str, tables: Mapping[str, Tensor]) -> ast.expr:
    source = _NAME.sub(lambda match: _PREFIX + match[0], text.strip()).replace("^", "**")
    try:
        tree = ast.parse(source, mode="eval")
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TargetError(f"the expression `{text.strip()}` is not understood") from error
    for node in nodes:
        known = isinstance(node, _NODES)
        if isinstance(node, ast.Constant):
            known = type(node.value) in (int, float)
        if isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and not node.keywords
            known = known and _name(node.func) in {*_FUNCTIONS, "select", *tables}
        if not known:
            part = ast.unparse(node).replace(_PREFIX, "") if isinstance(node, ast.expr) else text
            raise TargetError(f"the part `{part}` of an expression is not known")
    return tree.body


def _name(node: ast.expr) -> str:
    assert isinstance(node, ast.Name)
    return node.id.removeprefix(_PREFIX)


def _combine(operator: ast.operator, a: Value, b: Value) -> Value:
    match operator:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return a / b
    return _power(a, b)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, float) and isinstance(base, Tensor):
        if exponent == 0.5:
            return base.sqrt()
        if exponent == int(exponent) and 0 < abs(exponent) <= _LARGEST_PRODUCT:
            product = _multiply(base, abs(int(exponent)))
            return product if exponent > 0 else 1.0 / product
    return base**exponent


def _multiply(base: Tensor, times: int) -> Tensor:
    if times == 1:
        return base
    half = _multiply(base, times // 2)
    return half * half * base if times % 2 else half * half


def _look_up(table: Tensor, x: Tensor, *y: Tensor) -> Tensor:
    index = [argument.round().long() for argument in (*y, x)]
    return table[tuple(index)]
