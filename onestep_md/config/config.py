"""The resolved configuration of a run: every key has its value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, model_validator

from onestep_md.config import types
from onestep_md.config.reading import Mistakes, resolved_values
from onestep_md.config.section import Section, choice_of
from onestep_md.config.sections import (
    Annealing,
    Cluster,
    Dynamics,
    Exploration,
    Flow,
    FromRun,
    FromTrajectory,
    Sample,
)
from onestep_md.config.targets import MoleculeTarget, Target
from onestep_md.config.training import BufferTraining, Train
from onestep_md.errors import ConfigError


class Config(Section):
    """All keys of one run.

    It takes any values that a file may have; keys that are left out get their defaults.
    """

    target: Target = Field(
        description="What is sampled: a molecule at a temperature, or a density; kind says which "
        "keys apply."
    )
    exploration: Exploration = Field(description="How the first samples of the target are made.")
    flow: Flow
    train: Train = Field(description="How the flow is trained.")
    cluster: Cluster
    sample: Sample
    regions: types.Regions = Field(
        {},
        description="Regions of a molecule whose free energies are compared, each a box of "
        "torsion ranges within -180..180 or 0..360; a range with low > high wraps around.",
    )
    seed: types.Whole = Field(
        1, ge=0, lt=2**31, description="Seed of every random number of the run."
    )
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Folder of the YAML file, where relative paths start."""
        return self._folder

    @property
    def molecule(self) -> MoleculeTarget:
        """The target of a run of a molecule."""
        assert isinstance(self.target, MoleculeTarget)
        return self.target

    @property
    def dynamics(self) -> Dynamics:
        """The exploration of a run by dynamics."""
        assert isinstance(self.exploration, Dynamics)
        return self.exploration

    @property
    def annealing(self) -> Annealing:
        """The exploration of a run by annealing."""
        assert isinstance(self.exploration, Annealing)
        return self.exploration

    @property
    def from_run(self) -> FromRun:
        """The exploration of a run that starts from another one."""
        assert isinstance(self.exploration, FromRun)
        return self.exploration

    @property
    def from_trajectory(self) -> FromTrajectory:
        """The exploration of a run that reads frames."""
        assert isinstance(self.exploration, FromTrajectory)
        return self.exploration

    @property
    def buffer_training(self) -> BufferTraining:
        """The training of a run with a buffer.

        Raises:
            ConfigError: the run has none.
        """
        if not isinstance(self.train, BufferTraining):
            raise ConfigError(
                f"train.method: {self.train.method} has no buffer of configurations, which this "
                "needs. Give a run of train.method: buffer."
            )
        return self.train

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        mistakes = Mistakes()
        values = resolved_values(cls, data, mistakes)
        if mistakes.found:
            raise ValueError("\n".join(mistakes.found))
        return values

    def changed(self, section: str, **keys: Any) -> "Config":
        """Return the same run with other values of some keys of a section.

        Where the method of a section changes, keys that are not given get their defaults.

        Raises:
            ValidationError: the values do not fit together.
        """
        values = self.model_dump()
        old, choice = values[section], choice_of(type(self).model_fields[section])
        if choice and keys.get(choice.key, old[choice.key]) != old[choice.key]:
            old = {}
        config = type(self).model_validate(values | {section: old | keys})
        config._folder = self._folder
        return config
