"""Random molecules: branched trees and rings, shuffled atom numbers, no straight angles."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pytest

from onestep_md.coordinates.molecule import build_internal_coordinates, find_molecule_isomers


@dataclass(frozen=True)
class RandomMolecule:
    """One topology and a few of its geometries, `frames` (5, atoms, 3) in nm."""

    elements: list[str]
    bonds: list[tuple[int, int]]
    frames: np.ndarray


@pytest.fixture(scope="module")
def coordinates(molecule):
    """Internal coordinates of the `molecule` of a module."""
    return build_internal_coordinates(molecule)


@pytest.fixture(scope="module")
def rings(molecule):
    """Atoms of its rings that have shapes to sample."""
    return find_molecule_isomers(molecule).rings


@pytest.fixture
def random_molecule() -> Callable[..., RandomMolecule]:
    return _random_molecule


def _random_molecule(seed: int, n: int, rings: int = 0) -> RandomMolecule:
    rng = np.random.default_rng(seed)
    tree = nx.Graph()
    tree.add_node(0)
    for i in range(1, n):  # atoms join one of the last few that still have a free valence
        tree.add_edge(i, int(rng.choice([j for j in tree if tree.degree[j] < 4][-5:])))
    elements = ["H" if tree.degree[i] == 1 and rng.random() < 0.8 else "C" for i in range(n)]
    heavy = [i for i in range(n) if elements[i] != "H"]
    pairs = [p for p in itertools.combinations(heavy, 2) if not tree.has_edge(*p)]
    closing = [pairs[k] for k in rng.permutation(len(pairs))[:rings]]
    frames = np.stack([_grow(tree, rng) for _ in range(5)])

    number = rng.permutation(n)  # atom numbers must say nothing about the order in the tree
    bonds = [(int(number[i]), int(number[j])) for i, j in [*tree.edges, *closing]]
    order = np.argsort(number)
    return RandomMolecule([elements[i] for i in order], bonds, frames[:, order])


def _grow(tree: nx.Graph, rng: np.random.Generator) -> np.ndarray:
    """Positions with bonds of 0.1 to 0.16 nm and all bond angles between 25 and 155 degrees."""
    x = np.zeros((len(tree), 3))
    directions: dict[int, list[np.ndarray]] = {i: [] for i in tree}
    for parent, child in nx.bfs_edges(tree, 0):
        while True:
            d = rng.normal(size=3)
            d /= np.linalg.norm(d)
            if all(abs(d @ other) < np.cos(np.radians(25.0)) for other in directions[parent]):
                break
        directions[parent].append(d)
        directions[child].append(-d)
        x[child] = x[parent] + rng.uniform(0.1, 0.16) * d
    return x
