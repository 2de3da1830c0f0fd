"""The table of the particle benchmark: every K, and distances beside the published ones."""

from dataclasses import replace

import numpy as np

from onestep_md.analysis.records.density import DensityResults
from onestep_md.analysis.records.folder import write_results
from onestep_md.analysis.records.molecule import MoleculeResults
from onestep_md.analysis.records.results import Cost
from onestep_md.benchmark.particles import write_table
from onestep_md.estimators.distances import ParticleComparison, TorsionComparison
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.evidence import evaluate_evidence


def found(kind, ess=0.5, ess_error=0.01, **more):
    row = evaluate_evidence(0, np.zeros(100), checked=100, round_trip=1e-13)
    row = replace(row, ess=ess, ess_error=ess_error, log_z=Estimate(29.6, 0.5), infinite=1,
                  elbo=Estimate(-np.inf, np.nan, "clashes"), eubo=Estimate(31.0, 0.5))  # fmt: skip
    cost = {"exploration": Cost(evaluations=1_000_000, seconds=60.0),
            "training": Cost(evaluations=500_000, seconds=120.0)}  # fmt: skip
    return kind(
        fingerprint={"dim": 6, "name": "made up"},
        evidence=(row, replace(row, steps=1)),
        cost=cost,
        evidence_warnings=(),
        run_warnings=(),
        **more,
    )


def test_table_has_every_k_and_the_published_row(tmp_path):
    ensemble = ParticleComparison(0.3, 0.1, -22.5, 0.1, 6.1, 0.2, 1000)
    particles = {"raw": ensemble, "reweighted": ensemble}
    write_results(
        tmp_path,
        found(
            DensityResults, exact_samples=False, modes=None, modes_found={}, particles=particles
        ),
    )
    lines = write_table({"dw4": tmp_path}, tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text().splitlines() == lines
    assert (
        "| dw4 | 1 | 50.0 +- 1.0 % | - | 29.6 +- 0.5 | -inf | 31.0 +- 0.5 | 0/100 | 1e-13 | "
        "1.5e+06 | 3 |"
    ) in lines
    assert "| dw4 | raw, 1000 samples | 0.30 | 0.1 | -22.50 +- 0.10 | 6.1 +- 0.2 |" in lines
    assert "| dw4 | ASBS | 0.43 | 0.2 | | |" in lines
    assert {line.count("|") for line in lines} == {12, 0, 7}  # no table of molecules


def test_molecules_have_their_published_weights(tmp_path):
    row = TorsionComparison(0.25, 0.5, 2000)
    results = found(
        MoleculeResults, temperature=300.0, kT=2.5, torsions=("phi",), regions=(), isomers=None,
        explored_by="dynamics", acceptance=(),
        distances={"raw": row, "reweighted": row, "dynamics": row},
    )  # fmt: skip
    write_results(tmp_path, results)
    lines = write_table({"alanine-cartesian": tmp_path}, tmp_path / "table.md")
    assert "| alanine-cartesian | raw | 0.250 | 0.5 |  |" in lines
    assert "| alanine-cartesian | reweighted | 0.250 | 0.5 | 50.0 +- 1.0 % |" in lines
    assert "| alanine-cartesian | ECNF++, hundreds | 0.189 | 0.914 | 27.5 % |" in lines
    assert {line.count("|") for line in lines} == {12, 0, 6}  # no table of particles
