"""Long references that the project ships: whose they are, and what a run shows beside them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from onestep_md.benchmark.reference import identify
from onestep_md.config import load_config
from onestep_md.targets.molecule import load_molecule

SYSTEMS = Path(__file__).parents[2] / "systems"


def test_what_is_written_of_a_molecule_names_no_folder_of_a_machine():
    config = load_config(SYSTEMS / "alanine.yaml")
    molecule = load_molecule(config.molecule, config.folder)
    noted = replace(molecule.fingerprint, notes=("parameters kept in /home/someone/.cache",))
    known = json.loads((SYSTEMS / "reference" / "alanine.json").read_text())["fingerprint"]
    found = identify(replace(molecule, fingerprint=noted))
    assert found["system_sha256"] == known["system_sha256"]
    assert "/home/" not in json.dumps(found)


@pytest.mark.parametrize("name", ["alanine", "aspirin"])
def test_references_have_all_regions_of_their_system(name):
    regions = json.loads((SYSTEMS / "reference" / f"{name}.json").read_text())["regions"]
    assert [region["name"] for region in regions] == list(
        load_config(SYSTEMS / f"{name}.yaml").regions
    )
    assert 0.9 < sum(region["probability"] for region in regions) <= 1.0 + 1e-12


def test_no_reference_holds_a_folder_of_a_machine():
    for path in (SYSTEMS / "reference").glob("*.json"):
        text = path.read_text()
        assert not any(root in text for root in ('"/', " /root", " /home", " /tmp", "C:\\\\")), (
            path
        )
