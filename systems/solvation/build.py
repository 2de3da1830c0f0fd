"""Builds the System XMLs of this folder; run as `python systems/solvation/build.py`.

Five molecules, each in vacuum, in OBC2 and in GBn2 water. Vacuum is the System of
../molecules/NAME.xml (GAFF2, AM1-BCC charges) without its solvent, if it has one. A solvent is
added to it as one force; nothing else changes, so that the states differ by their solvent alone:

- **OBC2** (Onufriev, Bashford and Case, Proteins 55, 383 (2004); igb = 5 of Amber): OpenMM's
  GBSAOBCForce with the radii (mbondi2) and screening factors of
  `GBSAOBC2Force.getStandardParameters`.
- **GBn2** (Nguyen, Roe and Simmerling, J. Chem. Theory Comput. 9, 2020 (2013); igb = 8): the
  CustomGBForce of `GBSAGBn2Force` with its `getStandardParameters`: radii (mbondi3), screening
  factors, alpha, beta and gamma by element.

Charges are those of the NonbondedForce, dielectric constants 1 and 78.5, no salt, no cutoff. Both
have the surface term of OpenMM's defaults ("ACE", 2.25936 kJ/mol/nm^2 by Born radii).
"""

from pathlib import Path

import openmm
from openmm import app, unit
from openmm.app.internal.customgbforces import GBSAGBn2Force, GBSAOBC2Force

FOLDER = Path(__file__).resolve().parent
MOLECULES = FOLDER.parent / "molecules"
NAMES = ("acetate", "acetonitrile", "ethanol", "n-methylacetamide", "phenol")
SOLVENTS = ("vacuum", "obc2", "gbn2")
SOLVENT, SOLUTE = 78.5, 1.0  # dielectric constants
SURFACE = 2.25936  # kJ/mol/nm^2, that of "ACE"


def remove_solvent(system: openmm.System) -> None:
    """Remove the generalized Born forces of a System."""
    solvents = (openmm.GBSAOBCForce, openmm.CustomGBForce)
    for k in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(k), solvents):
            system.removeForce(k)


def read_charges(system: openmm.System) -> list[float]:
    """Return the charges of a System's NonbondedForce, e."""
    (nonbonded,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    atoms = range(nonbonded.getNumParticles())
    return [
        nonbonded.getParticleParameters(atom)[0].value_in_unit(unit.elementary_charge)
        for atom in atoms
    ]


def make_obc2(topology: app.Topology, charges: list[float]) -> openmm.GBSAOBCForce:
    """Make the OBC2 solvent of a molecule."""
    force = openmm.GBSAOBCForce()
    for charge, (radius, screening) in zip(
        charges, GBSAOBC2Force.getStandardParameters(topology), strict=True
    ):
        force.addParticle(charge, radius, screening)
    force.setSolventDielectric(SOLVENT)
    force.setSoluteDielectric(SOLUTE)
    force.setSurfaceAreaEnergy(SURFACE)
    force.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    return force


def make_gbn2(topology: app.Topology, charges: list[float]) -> openmm.CustomGBForce:
    """Make the GBn2 solvent of a molecule."""
    force = GBSAGBn2Force(solventDielectric=SOLVENT, soluteDielectric=SOLUTE, SA="ACE")
    for charge, parameters in zip(
        charges, GBSAGBn2Force.getStandardParameters(topology), strict=True
    ):
        force.addParticle([charge, *parameters])
    force.finalize()
    return force


def build_molecule(name: str) -> dict[str, str]:
    """Build the System XMLs of a molecule in every solvent, by their file names."""
    topology = app.PDBFile(str(MOLECULES / f"{name}.pdb")).topology
    texts = {}
    for solvent in SOLVENTS:
        system = openmm.XmlSerializer.deserialize((MOLECULES / f"{name}.xml").read_text())
        remove_solvent(system)
        if solvent == "obc2":
            system.addForce(make_obc2(topology, read_charges(system)))
        if solvent == "gbn2":
            system.addForce(make_gbn2(topology, read_charges(system)))
        texts[f"{name}-{solvent}.xml"] = openmm.XmlSerializer.serialize(system)
    return texts


if __name__ == "__main__":
    for name in NAMES:
        for file, text in build_molecule(name).items():
            (FOLDER / file).write_text(text)
            print(FOLDER / file)
