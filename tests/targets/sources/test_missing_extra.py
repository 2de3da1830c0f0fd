"""What a user without the extra `ligands` reads."""

import sys

import pytest

from onestep_md.config import load_configs
from onestep_md.errors import TargetError
from onestep_md.targets import sources
from onestep_md.targets.molecule import load_molecule


def test_without_rdkit_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # as where it is not installed, in case that it is
    monkeypatch.setitem(sys.modules, "rdkit", None)
    monkeypatch.delitem(sys.modules, "onestep_md.targets.sources.chemistry", raising=False)
    monkeypatch.delattr(sources, "chemistry", raising=False)
    target = {"smiles": "CCO", "forcefield": ["gaff2"], "solvent": "obc2", "temperature": 300}
    (config,) = load_configs({"target": target}).values()
    with pytest.raises(TargetError) as caught:
        load_molecule(config.molecule, config.folder)
    message = str(caught.value)
    assert message.startswith("Ligands need RDKit") and "\n" not in message
    assert 'pip install "onestep_md[ligands]"' in message
