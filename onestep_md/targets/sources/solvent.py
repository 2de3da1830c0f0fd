"""Implicit solvents by their names, for topologies that do not say one."""

from pathlib import Path

import openmm
from openmm import app
from openmm.app.internal import customgbforces

from onestep_md.errors import TargetError
from onestep_md.targets.sources.structure import describe_error

MODELS = {
    "vacuum": None, "hct": app.HCT, "obc1": app.OBC1, "obc2": app.OBC2, "gbn": app.GBn,
    "gbn2": app.GBn2,
}  # fmt: skip
BY_ELEMENT = "radii by element and bonds, as OpenMM has them"
_CUSTOM = {
    "hct": customgbforces.GBSAHCTForce,
    "obc1": customgbforces.GBSAOBC1Force,
    "obc2": customgbforces.GBSAOBC2Force,
    "gbn": customgbforces.GBSAGBnForce,
    "gbn2": customgbforces.GBSAGBn2Force,
}
_DIELECTRIC = 78.5  # of the solvent; OpenMM's readers of Amber and CHARMM have the same
_OFFSET = 0.009  # nm, between the radii of OBC and those that integrals are over
_BORN = (openmm.GBSAOBCForce, openmm.CustomGBForce, openmm.AmoebaGeneralizedKirkwoodForce)


def describe_solvent(name: str, radii: str = BY_ELEMENT) -> str:
    """Describe a solvent in one note; `radii` says where those of its atoms are from."""
    if name == "vacuum":
        return "solvent: vacuum, as target.solvent says"
    return (
        f"solvent: {name}, dielectric constants 1 and {_DIELECTRIC}, surface term (ACE), no salt; "
        f"{radii}"
    )


def add_solvent(system: openmm.System, topology: app.Topology, name: str, path: Path) -> None:
    """Add a generalised Born force, with the radii that OpenMM gives to elements and bonds."""
    if name == "vacuum":
        return
    (nonbonded,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [nonbonded.getParticleParameters(i)[0] for i in range(system.getNumParticles())]
    kind = _CUSTOM[name]
    try:
        if name == "obc2":  # OpenMM has a faster force for this one
            force = openmm.GBSAOBCForce()
            force.setSolventDielectric(_DIELECTRIC)
        else:
            force = kind(_DIELECTRIC, SA="ACE", cutoff=None, kappa=0.0)
        for charge, own in zip(charges, kind.getStandardParameters(topology), strict=True):
            force.addParticle(*((charge, *own) if name == "obc2" else ([charge, *own],)))
        if name != "obc2":
            force.finalize()
    except Exception as error:
        raise TargetError(
            f"{path}: OpenMM has no {name} for this molecule: {describe_error(error)}. Take "
            "another target.solvent."
        ) from error
    force.setNonbondedMethod(force.NoCutoff)
    system.addForce(force)


def use_own_obc2(system: openmm.System) -> None:
    """Replace the OBC2 force of implicit/obc2.xml by OpenMM's own, of the same energy.

    The first is made of expressions, which take several times as long.
    """
    ours = _CUSTOM["obc2"](_DIELECTRIC, SA="ACE", cutoff=None, kappa=0.0)
    ours.addParticle([0.0, 0.1, 0.8])
    ours.finalize()
    for index, force in enumerate(system.getForces()):
        if not isinstance(force, openmm.CustomGBForce) or _terms(force) != _terms(ours):
            continue
        own = openmm.GBSAOBCForce()
        own.setSolventDielectric(_DIELECTRIC)
        for i in range(force.getNumParticles()):
            charge, reduced, scaled = force.getParticleParameters(i)
            own.addParticle(charge, reduced + _OFFSET, scaled / reduced)
        own.setNonbondedMethod(own.NoCutoff)
        system.removeForce(index)
        system.addForce(own)
        return


def _terms(force: openmm.CustomGBForce) -> list:
    """List the expressions of a force, and the names of its parameters."""
    return [
        force.getNumGlobalParameters(), force.getNumTabulatedFunctions(), force.getNumExclusions(),
        *map(force.getPerParticleParameterName, range(force.getNumPerParticleParameters())),
        *map(force.getComputedValueParameters, range(force.getNumComputedValues())),
        *map(force.getEnergyTermParameters, range(force.getNumEnergyTerms())),
    ]  # fmt: skip


def check_solvent(system: openmm.System, name: str, path: Path) -> None:
    """Refuse a System without the solvent that was asked for, or with one that was not."""
    born = [force for force in system.getForces() if isinstance(force, _BORN)]
    if bool(born) == (name != "vacuum"):
        return
    found = ", ".join(force.getName() for force in born) or "none"
    raise TargetError(
        f"{path}: the solvent is to be {name}, but the implicit solvent in the System that OpenMM "
        f"made of it is {found}. Take another solvent, or make the System yourself and give it "
        "as target.system."
    )
