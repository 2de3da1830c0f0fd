"""Distances of a molecule in histograms, and samples outside of its domain."""

from types import SimpleNamespace

import networkx as nx
import numpy as np

from onestep_md.results.conformations import distance_histograms, domain_lines, far_pairs


def test_pairs_are_those_more_than_three_bonds_apart(shipped):
    molecule = shipped("alanine")
    apart = dict(nx.all_pairs_shortest_path_length(nx.Graph(molecule.bonds)))
    expected = [(i, j) for i in range(22) for j in range(i + 1, 22) if apart[i][j] > 3]
    assert [tuple(pair) for pair in far_pairs(molecule)] == expected


def test_weights_turn_the_histogram_of_raw_samples_into_the_explored_one(shipped):
    """A geometry shrunk and one stretched, drawn alike, explored as 3 to 1."""
    molecule = shipped("alanine")
    small, large = 0.9 * molecule.positions, 1.1 * molecule.positions
    samples = SimpleNamespace(x=np.stack([small, large]), log_w=np.log([0.75, 0.25]))
    arrays = distance_histograms(molecule, samples, np.stack([small, small, small, large]))
    np.testing.assert_allclose(arrays["distance_reweighted"][0], arrays["distance_explored"][0])
    assert np.abs(arrays["distance_raw"][0] - arrays["distance_explored"][0]).max() > 0.1


def test_a_molecule_of_neighbours_alone_has_none():
    water = SimpleNamespace(elements=("O", "H", "H"), bonds=((0, 1), (0, 2)))
    assert distance_histograms(water, None, None) == {}


def test_samples_outside_are_counted_where_there_are_any():
    assert domain_lines({0: {"a": 0}, 1: {"a": 0}}) == []
    lines = domain_lines({0: {"a": 12, "b": 0}, 1: {"a": 0, "b": 0}})
    assert lines[1] == "samples with a (their weight is zero): 12 at K = 0, 0 at K = 1"
    assert len(lines) == 2
