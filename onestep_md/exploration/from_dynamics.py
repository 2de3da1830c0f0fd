"""Exploration of a molecule by dynamics, in the domain of the isomer of its input."""

import numpy as np
import torch

from onestep_md.config import Config
from onestep_md.coordinates.molecule import build_internal_coordinates, find_molecule_isomers
from onestep_md.distributed.pool import Evaluators
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.replica_exchange import Inside, explore
from onestep_md.progress import Display
from onestep_md.targets.molecule import Molecule


def explore_molecule(
    config: Config, molecule: Molecule, evaluators: Evaluators, display: Display
) -> Exploration:
    """Run replica exchange of the isomer of the input geometry."""
    return explore(
        molecule,
        evaluators,
        config.dynamics,
        config.seed,
        domain_of(molecule),
        find_molecule_isomers(molecule).turning,
        display.advance,
    )


def domain_of(molecule: Molecule) -> Inside:
    """Find which of (batch, atoms, 3) are of the isomer of the input geometry."""
    domain = build_internal_coordinates(molecule).domain

    def inside(x: np.ndarray) -> np.ndarray:
        # a copy: arrays that come from Ray are read-only
        return domain.contains(torch.tensor(x)).numpy()

    return inside
