"""Alanine dipeptide, loaded as it is shipped or with changes."""

from pathlib import Path

import openmm
from openmm import app

from onestep_md.config import MoleculeTarget
from onestep_md.targets.molecule import load_molecule

SYSTEMS = Path(__file__).parents[1] / "systems"
AMBER99 = ("amber99sbildn.xml", "amber99_obc.xml")
ALANINE = (SYSTEMS / "alanine.pdb").read_text()


def load(folder=SYSTEMS, **changes):
    target = {
        "pdb": "alanine.pdb",
        "forcefield": AMBER99,
        "system": None,
        "constraints": "none",
        "held": "amides",
        "temperature": 300.0,
    }
    return load_molecule(MoleculeTarget(**target | changes), folder)


def load_text(folder, text, **changes):
    (folder / "alanine.pdb").write_text(text)
    return load(folder, **changes)


def alanine_system(**options):
    pdb = app.PDBFile(str(SYSTEMS / "alanine.pdb"))
    return app.ForceField(*AMBER99).createSystem(pdb.topology, **options)


def load_system(folder, system, text=ALANINE):
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    return load_text(folder, text, forcefield=None, system="system.xml")
