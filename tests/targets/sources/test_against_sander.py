"""The energy of a ligand, term by term, against sander of AmberTools."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import openmm
import pytest
from openmm import unit

from onestep_md.config import load_configs
from onestep_md.targets.molecule import load_molecule

pytestmark = pytest.mark.ligands

ASPIRIN = {
    "smiles": "CC(=O)Oc1ccccc1C(=O)O",
    "forcefield": ["gaff2"],
    "charges": "gasteiger",
    "temperature": 300,
}


@pytest.mark.parametrize(("solvent", "igb"), [("vacuum", 6), ("obc2", 5), ("gbn2", 8)])
def test_every_term_of_the_energy_is_that_of_sander(solvent, igb, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (config,) = load_configs({"target": ASPIRIN | {"solvent": solvent}}).values()
    molecule = load_molecule(config.molecule, config.folder)
    (kept,) = (tmp_path / "cache" / "onestep_md" / "ligands").iterdir()
    prmtop = json.loads(kept.read_text())["parameters"]
    ours, theirs = energy_terms(molecule), sander_terms(prmtop, molecule.positions, igb, tmp_path)
    for name, energy in ours.items():
        assert energy == pytest.approx(theirs[name], abs=1e-3), name


def energy_terms(molecule) -> dict[str, float]:
    """Compute terms in kT, without a surface area."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    names = {
        "HarmonicBondForce": "bonds", "HarmonicAngleForce": "angles",
        "PeriodicTorsionForce": "torsions", "NonbondedForce": "nonbonded",
        "GBSAOBCForce": "solvent", "CustomGBForce": "solvent",
    }  # fmt: skip
    for k, force in enumerate(system.getForces()):
        force.setForceGroup(k)
        if isinstance(force, openmm.GBSAOBCForce):
            force.setSurfaceAreaEnergy(0.0)
        if isinstance(force, openmm.CustomGBForce):
            terms = [force.getEnergyTermParameters(i) for i in range(force.getNumEnergyTerms())]
            (k_area,) = (i for i, (text, _) in enumerate(terms) if text.startswith("28.39"))
            force.setEnergyTermParameters(k_area, "0*or", terms[k_area][1])
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(molecule.positions)
    return {
        names[type(force).__name__]: context.getState(energy=True, groups={k})
        .getPotentialEnergy()
        .value_in_unit(unit.kilojoule_per_mole)
        / molecule.kT
        for k, force in enumerate(system.getForces())
    }


def sander_terms(prmtop, positions, igb, folder) -> dict[str, float]:
    """Compute the same by sander."""
    (folder / "a.prmtop").write_text(prmtop)
    numbers = [f"{x:12.7f}" for x in 10 * positions.reshape(-1)]
    rows = ["".join(numbers[k : k + 6]) for k in range(0, len(numbers), 6)]
    (folder / "a.rst7").write_text("\n".join(["made up", str(len(positions)), *rows, ""]))
    options = f"imin=1, maxcyc=1, ntb=0, igb={igb}, cut=999, rgbmax=999, ntpr=1"
    (folder / "mdin").write_text(f"energy\n&cntrl {options} /\n")
    sander = shutil.which("sander") or Path(sys.executable).parent / "sander"
    command = [sander, "-O", "-i", "mdin", "-p", "a.prmtop", "-c", "a.rst7", "-o", "mdout"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    text = (folder / "mdout").read_text().partition("NSTEP")[2].partition("NSTEP")[0]
    terms = {k.strip(): float(v) for k, v in re.findall(r"([A-Z1][A-Z4 -]*?) *= *([-\d.]+)", text)}
    kcal = 4.184 / (0.00831446261815324 * 300)
    return {
        "bonds": terms["BOND"] * kcal,
        "angles": terms["ANGLE"] * kcal,
        "torsions": terms["DIHED"] * kcal,
        "nonbonded": kcal * sum(terms[k] for k in ("VDWAALS", "EEL", "1-4 VDW", "1-4 EEL")),
        "solvent": terms["EGB"] * kcal,
    }
