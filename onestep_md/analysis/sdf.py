"""Records of an SDF file: a V2000 molfile with coordinates in space, and properties.

BIOVIA, CTfile formats (2020).
"""

from collections.abc import Mapping, Sequence

import numpy as np

MOST_ATOMS = 999  # three columns for a number
STRUCTURE = "input.sdf"  # in a run folder: the input geometry with bond orders


def sdf_record(
    title: str,
    elements: Sequence[str],
    x: np.ndarray,
    orders: Mapping[tuple[int, int], int],
    charges: Sequence[int],
    properties: Mapping[str, str],
) -> str:
    """Format one molecule.

    Args:
        title: first line.
        elements: chemical symbols of the n atoms.
        x: (n, 3) in nm.
        orders: bond (i, j) -> 1, 2 or 3.
        charges: (n,) formal charges.
        properties: name -> text.
    """
    lines = [title, f"  {'onestep':<8}{'':10}3D", ""]
    lines.append(f"{len(elements):3d}{len(orders):3d}" + "  0" * 8 + "999 V2000")
    for symbol, place in zip(elements, 10.0 * x, strict=True):
        xyz = "".join(f"{value:10.4f}" for value in place)
        lines.append(f"{xyz} {symbol:<3} 0" + "  0" * 11)
    lines += [f"{i + 1:3d}{j + 1:3d}{order:3d}  0" for (i, j), order in orders.items()]
    charged = [(i, charge) for i, charge in enumerate(charges) if charge]
    for start in range(0, len(charged), 8):
        part = charged[start : start + 8]
        pairs = "".join(f" {i + 1:3d} {charge:3d}" for i, charge in part)
        lines.append(f"M  CHG{len(part):3d}{pairs}")
    lines.append("M  END")
    for name, text in properties.items():
        lines += [f"> <{name}>", text, ""]
    return "\n".join([*lines, "$$$$", ""])


def read_bond_orders(molfile: str) -> tuple[dict[tuple[int, int], int], tuple[int, ...]]:
    """Read the orders of bonds (i, j) and the formal charges of atoms (n,) from a molfile."""
    lines = molfile.splitlines()
    n, n_bonds = int(lines[3][:3]), int(lines[3][3:6])
    orders, charges = {}, [0] * n
    for line in lines[4 + n : 4 + n + n_bonds]:
        i, j, order = (int(line[k : k + 3]) for k in (0, 3, 6))
        orders[i - 1, j - 1] = order
    for line in lines:
        if line.startswith("M  CHG"):
            numbers = [int(word) for word in line.split()[3:]]
            for i, charge in zip(numbers[::2], numbers[1::2], strict=True):
                charges[i - 1] = charge
    return orders, tuple(charges)
