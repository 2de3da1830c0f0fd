"""Every test starts from the same global state of torch; and the shipped molecules."""

import os

# before torch is imported, here and in the runs that tests start: their tensors are small, and
# threads that wait for each other take longer than the work, many times so on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch

from onestep_md.config import MoleculeTarget
from onestep_md.targets.molecule import load_molecule

sys.path.insert(0, str(Path(__file__).parent))  # modules that tests share

SYSTEMS = Path(__file__).parents[1] / "systems"


def pytest_collection_modifyitems(items):
    missing = [] if importlib.util.find_spec("rdkit") else ["RDKit"]
    beside = str(Path(sys.executable).parent)
    if not (shutil.which("antechamber") or shutil.which("antechamber", path=beside)):
        missing.append("AmberTools")
    if missing:
        reason = f"{' and '.join(missing)} not installed: pip install -e '.[ligands]'"
        for item in items:
            if item.get_closest_marker("ligands"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    threads = torch.get_num_threads()  # a run in this process chooses its own
    yield
    torch.set_num_threads(threads)


def _shipped(name, *forcefield):
    target = MoleculeTarget(
        pdb=f"{name}.pdb",
        forcefield=forcefield or ("amber99sbildn.xml",),
        system=None,
        constraints="none",
        held="amides",
        temperature=300.0,
    )
    return load_molecule(target, SYSTEMS)


@pytest.fixture(scope="session")
def shipped():
    """Loads `systems/<name>.pdb` at 300 K; default force field: amber99sbildn in vacuum."""
    return _shipped
