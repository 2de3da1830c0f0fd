"""Parameters of a ligand by a force field of the Open Force Field Initiative (.offxml).

The OpenFF toolkit finds them by patterns of bonds. It is imported here alone, and needed for these
force fields alone. It has no implicit solvent: radii are those that OpenMM gives to elements and
bonds.
"""

from pathlib import Path

import openmm

from onestep_md.errors import TargetError
from onestep_md.targets.sources.ligand import Ligand
from onestep_md.targets.sources.solvent import add_solvent, describe_solvent
from onestep_md.targets.sources.structure import describe_error

_INSTEAD = "or make the System with it elsewhere and give target.pdb with target.system"
_CHARGES = {"am1bcc": "AM1-BCC", "gasteiger": "Gasteiger"}  # as notes call them


def parametrise(
    ligand: Ligand, forcefield: str, charges: str, solvent: str, folder: Path
) -> tuple[str, tuple[str, ...]]:
    """Make the System of a ligand, without constraints.

    Args:
        ligand: the molecule.
        forcefield: name of a file in `folder`, or one that the toolkit knows.
        charges: am1bcc or gasteiger.
        solvent: obc2, gbn2 or vacuum.
        folder: of the YAML file.

    Returns:
        The serialized System, and notes.

    Raises:
        TargetError: the toolkit is missing, or does not describe the ligand.
    """
    try:
        from openff.toolkit import ForceField, Molecule
        from rdkit import Chem
    except ImportError as error:
        raise TargetError(
            f"target.forcefield: {forcefield} needs the OpenFF toolkit, which cannot be imported "
            f"({error}). Install it (conda install -c conda-forge openff-toolkit), {_INSTEAD}."
        ) from error
    local = folder / forcefield
    try:
        field = ForceField(str(local) if local.is_file() else forcefield)
    except Exception as error:  # the toolkit raises whatever its parsing step raised
        reason = str(error).partition("\n")[0].rstrip(".")
        raise TargetError(
            f"target.forcefield: the OpenFF toolkit cannot read {forcefield}: {reason}. Give the "
            "name of a force field that it has, such as openff-2.2.1.offxml, or of a file beside "
            "the YAML file."
        ) from error
    handlers = field.registered_parameter_handlers
    if "ToolkitAM1BCC" not in handlers:
        raise TargetError(
            f"target.forcefield: {forcefield} has charges of another kind than AM1-BCC. Take one "
            f"up to openff-2.2.1.offxml, {_INSTEAD}."
        )
    if "Constraints" in handlers:
        field.deregister_parameter_handler("Constraints")
    try:
        rdkit = Chem.MolFromMolBlock(ligand.molfile, removeHs=False)
        molecule = Molecule.from_rdkit(rdkit, allow_undefined_stereo=True)
        conformers = molecule.conformers if charges == "am1bcc" else None
        molecule.assign_partial_charges(charges, use_conformers=conformers)
        system = field.create_openmm_system(
            molecule.to_topology(), charge_from_molecules=[molecule]
        )
    except Exception as error:
        raise TargetError(
            f"The OpenFF toolkit has no parameters or charges for the ligand: "
            f"{describe_error(error)}. Take target.forcefield: [gaff2], {_INSTEAD}."
        ) from error
    for k in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(k), openmm.CMMotionRemover):
            system.removeForce(k)
    add_solvent(system, ligand.topology(), solvent, Path(forcefield))
    note = f"{forcefield} with {_CHARGES[charges]} charges, by the OpenFF toolkit"
    return openmm.XmlSerializer.serialize(system), (note, describe_solvent(solvent))
