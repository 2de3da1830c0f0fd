"""`benchmark molecules` at a tiny budget, its references, and the molecules that are shipped."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onestep_md.benchmark import __main__ as command_line
from onestep_md.benchmark import molecule_reference, molecules
from onestep_md.benchmark.molecule_reference import is_of, turning_torsions
from onestep_md.benchmark.molecules import EQUAL, known_references, measure_molecules
from onestep_md.config import load_config
from onestep_md.coordinates.molecule import build_internal_coordinates
from onestep_md.errors import Interrupted, TargetError
from onestep_md.kinds import load_target

SYSTEMS = Path(__file__).parents[2] / "systems" / "molecules"
FILES = sorted(SYSTEMS.glob("*.yaml"))
TINY = [
    "cluster.learner_threads=1", "train.steps=2", "train.batch=32", "sample.n=2000",
    "flow.layers=2", "flow.width=16",
]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_molecules_load(path):
    config = load_config(path)
    molecule = load_target(config)
    assert (config.target.pdb, config.target.system) == (f"{path.stem}.pdb", f"{path.stem}.xml")
    assert path.read_text().startswith("# ")
    # a molecule at rest: the PDB has the minimum of its force field
    assert np.isfinite(molecule.fingerprint.u_input)


def test_there_are_thirty_molecules_and_references_are_of_their_own_systems():
    known = known_references(SYSTEMS.parent / "reference" / "molecules.json")
    assert len(FILES) == 30
    for path in FILES:
        if path.stem not in known:
            continue
        config = load_config(path)
        identity = load_target(config).fingerprint.identity
        assert is_of(known[path.stem], config, identity)
        assert math.isfinite(known[path.stem]["log_z"]["value"])


@pytest.mark.parametrize(
    ("error", "kept"), [(Interrupted("stopped"), False), (TargetError("no such thing"), True)]
)
def test_a_request_to_stop_stops_the_others_and_a_fault_does_not(
    error, kept, tmp_path, monkeypatch
):
    def fail(*_):
        raise error

    monkeypatch.setattr(molecules, "_finish", fail)
    files, out = [SYSTEMS / "acetylene.yaml", SYSTEMS / "cubane.yaml"], tmp_path / "out"
    if kept:
        lines = measure_molecules(files, tmp_path / "none.json", out, TINY, None)
        assert sum("failed: no such thing" in line for line in lines) == 2
    else:
        with pytest.raises(Interrupted):
            measure_molecules(files, tmp_path / "none.json", out, TINY, None)


def test_regions_that_symmetry_makes_equal_are_regions_of_the_molecule():
    for name, pairs in EQUAL.items():
        regions = load_config(SYSTEMS / f"{name}.yaml").regions
        assert all(first in regions and second in regions for first, second in pairs)


def test_grid_is_of_the_torsions_that_turn():
    config = load_config(SYSTEMS / "methylcyclohexane.yaml")
    molecule = load_target(config).molecule
    coordinates = build_internal_coordinates(molecule)
    columns = turning_torsions(molecule, coordinates)
    assert [coordinates.names[i] for i in columns] == ["torsion H7-C0-C1-C2"]


def test_independent_annealings_are_averaged_as_z_and_differ_by_their_error(monkeypatch):
    found = iter([-10.0, -10.2, -9.9, -10.1, -10.0, -10.3])
    seeds = []

    def anneal(config, *others):
        seeds.append(config.seed)
        return SimpleNamespace(log_z=next(found))

    monkeypatch.setattr(molecule_reference, "anneal_molecule", anneal)
    config = load_config(SYSTEMS / "butanediol.yaml")
    log_z = molecule_reference.annealed_log_z(config, None, None, None)
    z = np.exp([-10.0, -10.2, -9.9, -10.1, -10.0, -10.3])
    assert len(set(seeds)) == 6
    assert log_z.value == pytest.approx(math.log(z.mean()))
    assert log_z.error == pytest.approx(z.std(ddof=1) / 6**0.5 / z.mean())


def test_command_runs_compares_resumes_and_makes_references(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(molecule_reference, "_SAMPLES", 20_000)
    monkeypatch.setattr(molecule_reference, "_NUMBERS", 0)
    systems, out = tmp_path / "molecules", tmp_path / "runs"
    systems.mkdir()
    for kind in ("yaml", "pdb", "xml"):
        shutil.copy(SYSTEMS / f"phenol.{kind}", systems)
        shutil.copy(SYSTEMS / f"formaldehyde.{kind}", systems)
    names = "formaldehyde,phenol"
    command = {"systems": systems, "out": out, "seed": 1}
    command_line.molecules(only=names, reference=True, duration=30.0, override=None, **command)
    known = known_references(tmp_path / "reference" / "molecules.json")
    formaldehyde, phenol = (known[name]["log_z"] for name in names.split(","))
    assert formaldehyde["method"] == "harmonic"
    assert abs(formaldehyde["value"] - formaldehyde["harmonic_limit"]) < 0.03
    assert (phenol["method"], phenol["torsions"]) == ("quadrature", 1)

    override = [*TINY, "exploration.duration=100"]
    command_line.molecules(
        only=names, reference=False, duration=30.0, override=override, **command
    )
    text = capsys.readouterr().out
    assert "| Phenol: the two planar wells are equal by symmetry | 13 | dynamics |" in text
    assert "log Z, one step: 2 comparisons" in text
    assert "equal by symmetry: 1 comparisons" in text
    table = json.loads((out / "table.json").read_text())
    for row in table["rows"]:
        off = row["log_z"]["value"] - row["reference"]["value"]
        assert abs(off) < 4.0 * math.hypot(row["log_z"]["error"], row["reference"]["error"])
    assert not table["failed"]
    assert "| phenol: cis = trans |" in (out / "table.md").read_text()

    # finished runs are kept, and one that cannot be run does not stop the others
    (systems / "broken.yaml").write_text("target: {pdb: no.pdb, system: no.xml, temperature: 300}")
    made = (out / "phenol" / "results.json").stat().st_mtime
    files = [systems / f"{name}.yaml" for name in ("broken", "phenol")]
    references = tmp_path / "reference" / "molecules.json"
    lines = measure_molecules(files, references, out, override, 1)
    assert (out / "phenol" / "results.json").stat().st_mtime == made
    assert any(line.startswith("| broken |") and "no.pdb" in line for line in lines)
