"""Exact, first-order and path weights of one flow; and the table of the density benchmark."""

import csv
import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from onestep_md.analysis.records.density import (
    DensityResults,
    DensitySamples,
    write_density_arrays,
)
from onestep_md.analysis.records.folder import write_results
from onestep_md.analysis.records.results import Cost
from onestep_md.benchmark.densities import collect, write_table
from onestep_md.benchmark.weights import KINDS, log_weights_of_kind
from onestep_md.coordinates.flat import FlatChart
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.evidence import evaluate_evidence
from onestep_md.flow.step import StepFlow
from onestep_md.targets.densities import GaussianMixture
from onestep_md.targets.density_evaluator import DensityEvaluator

DIM = 3


def gaussian() -> GaussianMixture:
    return GaussianMixture("gaussian", torch.full((1, DIM), 0.3, dtype=torch.float64), 0.8)


@pytest.fixture(scope="module")
def setting():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5000, DIM, generator=generator, dtype=torch.float64)
    evaluators = SerialEvaluators(functools.partial(DensityEvaluator, gaussian), "torch")
    torch.manual_seed(0)
    flow = StepFlow(DIM, 0, layers=4, width=16, orders=1, bins=0, seed=0).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.25 * torch.randn(parameter.shape, generator=generator))
    return flow, FlatChart.fit(x), evaluators


def weights(setting, kind, steps, n=4000):
    flow, chart, evaluators = setting
    generator = torch.Generator().manual_seed(1)
    return log_weights_of_kind(kind, flow, chart, evaluators, n, steps, "angle", generator)


@pytest.mark.parametrize("kind", ["exact", "path"])
@pytest.mark.parametrize("steps", [1, 4])
def test_exact_and_path_weights_average_to_the_normaliser(setting, kind, steps):
    w = np.exp(weights(setting, kind, steps))  # log Z = 0
    assert abs(w.mean() - 1.0) < 4.5 * w.std() / len(w) ** 0.5
    assert weights(setting, kind, steps).mean() < 0.0


def test_first_order_weights_are_larger_and_agree_in_the_limit_of_many_steps(setting):
    """A triangular step has a real spectrum: the trace is an upper bound of its log-det."""
    gap = {
        steps: weights(setting, "trace", steps, 200).mean()
        - weights(setting, "exact", steps, 200).mean()
        for steps in (1, 4, 16)
    }
    assert gap[1] > gap[4] > gap[16] > -1e-9
    assert gap[16] < 0.2 * gap[1]


def test_all_kinds_agree_where_the_map_is_the_identity():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5000, DIM, generator=generator, dtype=torch.float64)
    evaluators = SerialEvaluators(functools.partial(DensityEvaluator, gaussian), "torch")
    flow = StepFlow(DIM, 0, layers=2, width=8, orders=1, bins=0, seed=0).double()
    values = [weights((flow, FlatChart.fit(x), evaluators), kind, 1, 50) for kind in KINDS]
    np.testing.assert_allclose(values[0], values[1], rtol=0, atol=1e-12)


def fake_run(folder, ess, log_z):
    folder.mkdir(parents=True)
    row = evaluate_evidence(1, np.zeros(100))
    row = replace(row, ess=ess, ess_error=0.03, log_z=Estimate(log_z, 0.01),
                  elbo=Estimate(log_z - 0.5, 0.01))  # fmt: skip
    results = DensityResults(
        fingerprint={"name": "gmm9", "dim": 2, "log_z": 0.0},
        evidence=(row,),
        cost={"training": Cost(evaluations=150, seconds=2.0)},
        evidence_warnings=(),
        run_warnings=(),
        exact_samples=False,
        modes=None,
        modes_found={},
        particles={},
    )
    write_results(folder, results)
    x = np.zeros((100, 2))
    write_density_arrays(folder, {1: DensitySamples(np.zeros(100), x)}, x, {})
    return folder


def test_table_has_means_and_spreads_over_seeds(tmp_path):
    folders = [fake_run(tmp_path / "a", 0.8, 0.1), fake_run(tmp_path / "b", 0.6, -0.3)]
    rows = collect("gmm9", "buffer", folders)
    assert len(rows) == 1 and rows[0].seeds == 2
    assert rows[0].ess == pytest.approx(0.7)
    assert rows[0].ess_error == pytest.approx(math.sqrt(0.02))
    assert rows[0].log_z_expected == pytest.approx(0.01)
    assert rows[0].log_z_error == pytest.approx(0.2)  # mean |error|, not the error of the mean
    assert math.isnan(rows[0].eubo) and math.isnan(rows[0].transport)
    assert collect("gmm9", "buffer", folders[:1])[0].ess_error == 0.03
    failed = fake_run(tmp_path / "c", math.nan, 0.0)
    assert math.isnan(collect("gmm9", "buffer", [failed])[0].ess)
    lines = write_table(rows, tmp_path / "table")
    assert "0.34, 1.07" in lines[2]  # the published row beside it
    with (tmp_path / "table.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["target"] == "gmm9" and float(row["evaluations"]) == 150.0
