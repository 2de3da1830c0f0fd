"""What a section of the YAML file is: keys, or one of several sets of keys."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from onestep_md.config.defaults import Default, Facts


class Section(BaseModel):
    """Unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Choice:
    """The key of a section that says which other keys it has.

    Attributes:
        key: Its name.
        default: Its value where it is left out.
        description: Its meaning.
    """

    key: str
    default: str | Default
    description: str

    def value(self, facts: Facts) -> str:
        """The default."""
        return self.default if isinstance(self.default, str) else self.default.of(facts)


def models_of(field: FieldInfo) -> tuple[type[Section], ...]:
    """Models of a section, several where there is a choice; none of what is no section."""
    parts = get_args(field.annotation) or (field.annotation,)
    return tuple(part for part in parts if isinstance(part, type) and issubclass(part, Section))


def choice_of(field: FieldInfo) -> Choice | None:
    """The choice between the models of a section."""
    return next((item for item in field.metadata if isinstance(item, Choice)), None)


def value_of(model: type[Section], choice: Choice) -> str:
    """The value of the choice that makes a section this model."""
    return get_args(model.model_fields[choice.key].annotation)[0]


def default_rule(field: FieldInfo) -> Default | None:
    """The rule for a default that depends on the rest of the file."""
    return next((item for item in field.metadata if isinstance(item, Default)), None)


def is_needed(field: FieldInfo) -> bool:
    """Whether a key must be given."""
    return field.is_required() and default_rule(field) is None


def default_of(field: FieldInfo, facts: Facts) -> Any:
    """The value of a key that is left out."""
    rule = default_rule(field)
    return field.default if rule is None else rule.of(facts)
