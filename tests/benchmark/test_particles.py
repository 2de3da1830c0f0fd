"""The table of the particle benchmark: every K, and distances beside the published ones."""

import json

from onestep_md.benchmark.particles import write_table


def estimate(value):
    return {"value": value, "error": 0.5}


def test_table_has_every_k_and_the_published_row(tmp_path):
    row = {"ess": 0.5, "ess_error": 0.01, "log_z": estimate(29.6), "elbo": estimate(None)}
    row |= {"eubo": estimate(31.0), "negative_determinants": 0, "checked": 100}
    row |= {"round_trip": 1e-13}
    ensemble = {"w2": 0.3, "energy_w2": 0.1, "mean_energy": -22.5, "d_mean_energy": 0.1}
    ensemble |= {"virial": 6.1, "d_virial": 0.2, "coupled": 1000}
    results = {
        "evidence": [row | {"steps": 0}, row | {"steps": 1}],
        "particles": {"raw": ensemble, "reweighted": ensemble},
        "evaluations": {"exploration": 1e6, "training": 5e5},
        "seconds": {"exploration": 60.0, "training": 120.0},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
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
    row = {"ess": 0.5, "ess_error": 0.01, "log_z": estimate(29.6), "elbo": estimate(29.1)}
    row |= {"eubo": estimate(31.0), "negative_determinants": 0, "checked": 100}
    row |= {"round_trip": 1e-13, "steps": 1}
    distances = {"torsion_w2": 0.25, "energy_w2": 0.5, "coupled": 2000}
    results = {
        "evidence": [row],
        "distances": {"raw": distances, "reweighted": distances, "dynamics": distances},
        "evaluations": {"exploration": 1e6},
        "seconds": {"exploration": 60.0},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    lines = write_table({"alanine-cartesian": tmp_path}, tmp_path / "table.md")
    assert "| alanine-cartesian | raw | 0.250 | 0.5 |  |" in lines
    assert "| alanine-cartesian | reweighted | 0.250 | 0.5 | 50.0 +- 1.0 % |" in lines
    assert "| alanine-cartesian | ECNF++, hundreds | 0.189 | 0.914 | 27.5 % |" in lines
    assert {line.count("|") for line in lines} == {12, 0, 6}  # no table of particles
