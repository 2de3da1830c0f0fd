"""States of a run whose molecule came in the files of another program."""

import shutil
from pathlib import Path

import pytest

from onestep_md.config import config_text, load_config
from onestep_md.errors import ConfigError
from onestep_md.free_energy.states import read_states
from onestep_md.kinds import load_target
from onestep_md.kinds.molecule import describe_composition, describe_terms
from onestep_md.run_folder import load_run_config

DATA = Path(__file__).parents[1] / "targets" / "data"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Folder of a run of ethanol in vacuum, from a folder with its files and ff.xml."""
    for name in ("ethanol.prmtop", "ethanol.rst7"):
        shutil.copy(DATA / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    keys = "{prmtop: ethanol.prmtop, inpcrd: ethanol.rst7, solvent: vacuum, temperature: 300}"
    (tmp_path / "mine.yaml").write_text(f"target: {keys}\n")
    config = load_config(tmp_path / "mine.yaml")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(config_text(config))
    load_target(config).keep(folder)
    return folder


def states(run, **changes):
    config = load_run_config(run)
    own = load_target(config)
    found = read_states(run, config, own, [], {k: [v] for k, v in changes.items()}, [])
    return [state.target.fingerprint for state in found]


def test_a_peptide_has_states_in_other_force_fields(tmp_path):
    keys = "{peptide: ALA-DAL-GLY-ALA, cyclic: true, forcefield: [amber96.xml], temperature: 300}"
    (tmp_path / "mine.yaml").write_text(f"target: {keys}\n")
    config = load_config(tmp_path / "mine.yaml")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(config_text(config))
    load_target(config).keep(tmp_path / "run")
    own, other = states(tmp_path / "run", other="target.forcefield=[amber14/protein.ff14SB.xml]")
    assert own.pdb == "input.pdb" and other.pdb == "target.peptide"
    assert own.system_sha256 != other.system_sha256


def test_a_run_folder_stands_alone(run, tmp_path):
    for path in tmp_path.glob("ethanol.*"):
        path.unlink()
    config = load_run_config(run)
    assert (config.target.prmtop, config.target.solvent) == (None, None)
    assert load_target(config).fingerprint.solvent == "vacuum"


def test_another_solvent_is_made_from_the_topology_again(run):
    own, wet = states(run, wet="target.solvent=obc2")
    assert own.solvent == "vacuum" and wet.solvent.startswith("implicit")
    assert own.system_sha256 != wet.system_sha256 and wet.pdb == "input.pdb"


def test_another_form_takes_nothing_of_the_topology_along(run):
    (_, same) = states(run, same=f"target.system={run / 'system.xml'}")
    assert same.solvent == "vacuum"
    with pytest.raises(ConfigError, match="target.top needs it: vacuum, hct"):
        states(run, other="target.top=ethanol.top")


def test_a_check_says_what_was_understood(run):
    molecule = load_target(load_run_config(run)).molecule
    formula, charge, turning = describe_composition(molecule)
    assert formula.split() == ["formula", "C2H6O"] and charge.endswith(" 0 e")
    assert turning.endswith("2 bonds: C-C1, C1-O")
    terms = {line.split("  ")[1]: float(line.split()[-2]) for line in describe_terms(molecule)}
    assert list(terms)[0] == "bonds" and list(terms)[-1] == "sum"
    assert terms.pop("sum") == pytest.approx(molecule.fingerprint.u_input, abs=1e-4)
    assert sum(terms.values()) == pytest.approx(molecule.fingerprint.u_input, abs=1e-3)
