"""What custom forces of OpenMM are made of: expressions, constants, parameters and tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import openmm
import torch
from torch import Tensor, nn

from onestep_md.errors import TargetError
from onestep_md.targets.batched.expressions import Expression, Value


class Formula(nn.Module):
    """An expression with its constants and tables.

    Args:
        text: in the language of OpenMM.
        constants: values by name.
        tables: values of discrete functions by name.
        names: of all other values that a call gives.
    """

    def __init__(
        self,
        text: str,
        constants: Mapping[str, float],
        tables: Mapping[str, Tensor],
        names: Sequence[str],
    ):
        super().__init__()
        self._expression = Expression(text, tables)
        unknown = self._expression.names - {*constants, *names}
        if unknown:
            raise TargetError(f"the value `{min(unknown)}` of an expression is not known")
        self._constants = dict(constants)
        self._tables = tuple(tables)
        for name, table in tables.items():
            self.register_buffer(f"table_{name}", table)

    def forward(self, values: Mapping[str, Tensor]) -> Value:
        """Evaluate with values by their names."""
        tables = {name: self.get_buffer(f"table_{name}") for name in self._tables}
        known: dict[str, Value] = {**self._constants, **values}
        return self._expression(known, tables)


def read_constants(force) -> dict[str, float]:
    """Read the global parameters of a custom force, at their defaults."""
    return {
        force.getGlobalParameterName(k): force.getGlobalParameterDefaultValue(k)
        for k in range(force.getNumGlobalParameters())
    }


def read_tables(force) -> dict[str, Tensor]:
    """Read the tabulated functions of a custom force; continuous ones are refused."""
    tables = {}
    for k in range(force.getNumTabulatedFunctions()):
        function = force.getTabulatedFunction(k)
        if isinstance(function, openmm.Discrete1DFunction):
            values = np.array(function.getFunctionParameters())
        elif isinstance(function, openmm.Discrete2DFunction):
            columns, rows, numbers = function.getFunctionParameters()
            values = np.array(numbers).reshape(rows, columns)
        else:
            raise TargetError(f"the function {type(function).__name__} is not known")
        tables[force.getTabulatedFunctionName(k)] = torch.tensor(values, dtype=torch.float64)
    return tables


def stack_parameters(rows: Sequence[Sequence[float]], count: int) -> Tensor:
    """Stack parameters of terms or atoms, n rows of `count`, as (count, n, 1)."""
    return torch.tensor(np.array(rows, dtype=float).reshape(len(rows), count).T[:, :, None].copy())
