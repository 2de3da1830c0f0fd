"""Figures of densities: chosen coordinates, weighted histograms with their errors, blanks."""

import dataclasses
import math

import numpy as np
import pytest
from synthetic_density import write_density_folder

from onestep_md.analysis.figures.densities import (
    axis_limits,
    choose_coordinates,
    collect_ensembles,
    log_density,
    marginal,
)
from onestep_md.analysis.figures.evidence import training_figure
from onestep_md.analysis.records.folder import read_record


@pytest.mark.parametrize(("last", "scale"), [(1.8, "linear"), (0.01, "log")])
def test_losses_of_less_than_a_decade_have_a_linear_axis(edited, last, scale):
    run = edited(lambda results: None)
    history = run.history
    loss = np.geomspace(2.0, last, len(history.metrics["step"]))
    names = ("loss_energy", "loss_flow", "loss_state", "loss_volume")
    metrics = history.metrics | {name: loss for name in names}
    changed = dataclasses.replace(history, metrics=metrics)
    losses = training_figure(dataclasses.replace(run, history=changed)).axes[0]
    assert losses.get_yscale() == scale
    assert losses.get_ylim()[0] < last and losses.get_ylim()[1] > 2.0


def test_points_without_a_place_are_left_out(tmp_path):
    folder = write_density_folder(tmp_path, n=1500, steps=(1,))
    with np.load(folder / "steps.npz") as arrays:
        arrays = dict(arrays)
    arrays["k1_x"][:5], arrays["k1_log_w"][:5] = np.nan, -np.inf
    np.savez(folder / "steps.npz", **arrays)
    run = read_record(folder)
    raw, reweighted, _ = collect_ensembles(run)
    assert len(raw.x) == 1495 and raw.weights.sum() == pytest.approx(1495 / 1500)
    assert reweighted.weights.sum() == pytest.approx(1.0)
    assert np.isfinite(axis_limits(run, 0)).all()


def test_the_pair_is_the_dependent_one_else_the_least_gaussian():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(5000, 8))
    assert len(choose_coordinates(x)) == 6
    assert choose_coordinates(x[:, :1]) == [0]
    wells = x.copy()
    wells[:, [3, 6]] += 2.0 * generator.choice((-1.0, 1.0), (5000, 2))
    assert choose_coordinates(wells)[:2] == [3, 6]
    banana = x.copy()
    banana[:, 5] += banana[:, 2] ** 2  # uncorrelated, but far from independent
    assert choose_coordinates(banana)[:2] == [2, 5]


def test_marginal_and_its_error_against_a_bootstrap():
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=4000), generator.exponential(size=4000)
    edges = np.linspace(-2.0, 2.0, 9)
    height, error = marginal(x, w / w.sum(), edges)
    replicas = []
    for _ in range(300):
        drawn = w * generator.poisson(1.0, len(w))
        replicas.append(np.histogram(x, edges, weights=drawn / drawn.sum())[0] / 0.5)
    np.testing.assert_allclose(error, np.std(replicas, axis=0), rtol=0.2)
    middles = 0.5 * (edges[1:] + edges[:-1])
    normal = np.exp(-0.5 * middles**2) / math.sqrt(2 * math.pi)
    assert (np.abs(height - normal) < 4 * error + 0.01).all()


def test_joint_density_is_blank_where_no_sample_is():
    x = np.array([[0.0, 0.0], [0.1, 0.0], [3.0, 3.0]])
    edges = [np.linspace(-4, 4, 41)] * 2
    surface = log_density(x, np.array([0.4, 0.6, 0.0]), edges)
    assert np.isnan(surface[35, 35])  # a sample of zero weight
    assert np.nanmax(surface) == surface[20, 20] and np.isfinite(surface).sum() < 20
