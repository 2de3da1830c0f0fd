"""Alanine dipeptide, loaded as it is shipped or with changes."""

from pathlib import Path

import numpy as np
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


def perturbed(molecule, n, scale=0.005, seed=0):
    """Frames (n, atoms, 3) near the input."""
    noise = np.random.default_rng(seed).normal(scale=scale, size=(n, *molecule.positions.shape))
    return molecule.positions + noise


def hopeless_frames(molecule):
    """Nine frames: 0 and 8 are the input, 1 to 5 have no energy, 6 is all clashes, 7 far apart."""
    x = np.repeat(molecule.positions[None], 9, axis=0)
    x[1, 0] = x[1, -1]  # two atoms that are not bonded, at one place
    x[2, 0, 0] = np.nan
    x[3, 5] = np.inf
    x[4] = 0.0
    x[5] *= 1e200
    x[6] *= 0.01  # everything on top of everything
    x[7] *= 1e20
    return x
