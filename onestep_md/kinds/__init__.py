"""The kinds of targets, one file each.

Every kind fulfils `sampling.target.Target`.
"""

from onestep_md.config import Config
from onestep_md.kinds.density import DensityTarget
from onestep_md.kinds.molecule import load_molecule_target
from onestep_md.kinds.particles import ParticlesTarget
from onestep_md.sampling.target import Target
from onestep_md.targets.density_source import load_density
from onestep_md.targets.particles import Particles


def load_target(config: Config) -> Target:
    """Make the target that a configuration names.

    Raises:
        TargetError: it cannot be made; the message says where and what to do.
    """
    if config.target.kind == "molecule":
        return load_molecule_target(config)
    source = load_density(config.target, config.folder)
    has_particles = isinstance(source.density, Particles)
    return ParticlesTarget(source) if has_particles else DensityTarget(source)
