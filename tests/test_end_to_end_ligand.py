"""A molecule without phi and psi from YAML to report: torsions by default, and conformers."""

from pathlib import Path

import pytest
from commands import run_command

from onestep_md.analysis.records.folder import read_results

BUTANE = Path(__file__).parents[1] / "systems" / "molecules" / "butane.yaml"
SETTINGS = (
    "exploration.method=annealing",
    "exploration.particles=600",
    "exploration.moves=2",
    "flow.layers=2",
    "flow.width=16",
    "train.steps=4",
    "train.batch=32",
    "train.regression_batch=32",
    "train.buffer=200",
    "sample.n=200",
    "sample.n_one_step=3000",
    "sample.steps=[0, 1]",
    "sample.torsions=auto",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """Run folder, and what was printed."""
    folder = tmp_path_factory.mktemp("run") / "butane"
    regions = "regions={anti: {C1-C2-C3-C4: [120, -120]}, gauche: {C1-C2-C3-C4: [-120, 120]}}"
    options = [part for option in (*SETTINGS, regions) for part in ("--set", option)]
    return folder, run_command("run", BUTANE, "--out", folder, "--local", *options)


def test_the_torsion_has_a_name_that_regions_may_use(finished):
    results = read_results(finished[0])
    assert results.torsions == ("C1-C2-C3-C4",)
    assert [region.name for region in results.regions] == ["anti", "gauche"]


def test_conformers_are_the_three_of_butane(finished):
    folder, text = finished
    results = read_results(folder)
    conformers, anti = results.conformers, results.regions[0].one_step
    assert conformers.wells[0].wells == 3 and conformers.input.conformer == "1"
    first, *gauche = conformers.rows
    assert abs(first.angles[0]) > 170.0
    # the wells end near the region's edges
    assert first.flow.probability.value == pytest.approx(anti.probability.value, abs=0.03)
    for row in gauche:
        assert 55.0 < abs(row.angles[0]) < 80.0
        # 0.8 kT, by the runs of systems/notes/small-molecules.md
        assert abs(row.flow.delta_f.value - 0.8) < 4.0 * row.flow.delta_f.error
    given = conformers.input
    # the input is a minimum: half a kT for each degree of freedom below the mean, nearly
    assert abs(given.strain.value + given.thermal) < 1.0 + 4.0 * given.strain.error
    shown = (folder / "results.txt").read_text()
    assert shown.index("free energies relative to anti") < shown.index("conformers (one step")
    assert "Strain of the input geometry" in shown and "Strain of the input" in text


def test_the_geometries_are_kept(finished):
    folder, _ = finished
    conformers = read_results(folder).conformers
    records = (folder / "conformers.sdf").read_text().split("$$$$\n")[:-1]
    assert len(records) == len(conformers.rows)
    assert all(record.splitlines()[3].startswith(" 14 13") for record in records)
