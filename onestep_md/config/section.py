"""Sections of the YAML file: a set of keys, or a choice between several sets."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from onestep_md.config.defaults import Default, Facts


class Section(BaseModel):
    """A frozen set of keys; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Choice:
    """The key of a section that decides on its other keys.

    Attributes:
        key: name of the key.
        default: value where it is left out.
        description: meaning of the key.
    """

    key: str
    default: str | Default
    description: str

    def value(self, facts: Facts) -> str:
        """Return the default."""
        return self.default if isinstance(self.default, str) else self.default.of(facts)


def models_of(field: FieldInfo) -> tuple[type[Section], ...]:
    """Return the models of a section, several where there is a choice; none for a plain key."""
    parts = get_args(field.annotation) or (field.annotation,)
    return tuple(part for part in parts if isinstance(part, type) and issubclass(part, Section))


def choice_of(field: FieldInfo) -> Choice | None:
    """Return the choice between the models of a section, if there is one."""
    return next((item for item in field.metadata if isinstance(item, Choice)), None)


def value_of(model: type[Section], choice: Choice) -> str:
    """Return the value of the choice that selects this model."""
    return get_args(model.model_fields[choice.key].annotation)[0]


def default_rule(field: FieldInfo) -> Default | None:
    """Return the rule of a default that depends on the rest of the file, if it does."""
    return next((item for item in field.metadata if isinstance(item, Default)), None)


def is_needed(field: FieldInfo) -> bool:
    """Whether a key must be given."""
    return field.is_required() and default_rule(field) is None


def default_of(field: FieldInfo, facts: Facts) -> Any:
    """Return the value of a key that is left out."""
    rule = default_rule(field)
    return field.default if rule is None else rule.of(facts)
