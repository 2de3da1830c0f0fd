"""The torsions that a run on a molecule reports."""

from onestep_md.analysis.torsions import Quad, find_torsions
from onestep_md.config import Config
from onestep_md.coordinates.rotors import find_rotatable_torsions
from onestep_md.targets.molecule import Molecule


def reported_torsions(config: Config, molecule: Molecule) -> dict[str, Quad]:
    """Find the torsions of `sample.torsions` by their names.

    Raises:
        ConfigError: an atom does not exist; the message names it and its torsion.
    """
    rotatable = () if has_backbone(molecule) else find_rotatable_torsions(molecule)
    return find_torsions(molecule.pdb_text, config.sample.torsions, rotatable)


def has_backbone(molecule: Molecule) -> bool:
    """Whether a molecule has a phi or a psi."""
    return bool(find_torsions(molecule.pdb_text, "auto"))
