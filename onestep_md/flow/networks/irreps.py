"""Irreps of O(3) for networks on spherical harmonics, and which products of them to take.

Imported only where such a network is chosen, because e3nn takes a second.
"""

from collections.abc import Callable

import e3nn
from e3nn import o3

# products are plain tensor operations then, which torch.func can differentiate and map
e3nn.set_optimization_defaults(jit_script_fx=False)

HARMONICS = o3.Irreps("0e + 1o + 2e")


def product_paths(
    first: o3.Irreps, second: o3.Irreps, wanted: Callable[[o3.Irrep], bool]
) -> list[tuple[int, int, int, o3.Irrep]]:
    """List the wanted products of two features' irreps.

    Returns:
        The numbers of both irreps, the multiplicity of the first, and the irrep of the product.
    """
    return [
        (i, j, mul, out)
        for i, (mul, one) in enumerate(first)
        for j, (_, other) in enumerate(second)
        for out in one * other
        if wanted(out)
    ]
