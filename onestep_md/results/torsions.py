"""The torsions that a run on a molecule reports."""

from collections.abc import Iterable

from onestep_md.analysis.torsions import Quad, find_torsions
from onestep_md.config import Config
from onestep_md.coordinates.rotors import find_rotatable_torsions, is_in_ring
from onestep_md.targets.molecule import Molecule


def reported_torsions(config: Config, molecule: Molecule) -> dict[str, Quad]:
    """Find the torsions of `sample.torsions` by their names.

    Raises:
        ConfigError: an atom does not exist; the message names it and its torsion.
    """
    rotatable = () if _backbone_torsions(molecule) else find_rotatable_torsions(molecule)
    spec = config.sample.torsions
    return find_torsions(molecule.pdb_text, spec, rotatable, molecule.bonds)


def are_of_linear_backbone(molecule: Molecule, quads: Iterable[Quad]) -> bool:
    """Whether torsions are phi and psi alone, of a peptide whose backbone is part of no ring."""
    backbone = _backbone_torsions(molecule)
    closed = any(
        name.startswith("psi") and is_in_ring(molecule, i, j)
        for name, (_, i, j, _) in backbone.items()
    )
    return set(quads) <= set(backbone.values()) and not closed


def _backbone_torsions(molecule: Molecule) -> dict[str, Quad]:
    return find_torsions(molecule.pdb_text, "auto", bonds=molecule.bonds)
