"""Prints the schema from the pydantic models, so that it cannot differ from what is accepted.

Each key appears as in a YAML file: its meaning above, its default beside it, then type, bounds
and unit. Called by `config.schema_text` for `--schema`.
"""

import inspect
import json
import textwrap
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from onestep_md.config_types import words_of

_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def is_section(field: FieldInfo) -> bool:
    """Whether a field holds keys of its own."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def schema_lines(model: type[BaseModel]) -> Iterator[str]:
    """The listing, line by line; it is itself valid YAML."""
    yield "# Keys of a onestep_md YAML file. Only those marked `required` must be given."
    for name, field in model.model_fields.items():
        yield ""
        if is_section(field):
            yield f"# {inspect.getdoc(field.annotation)}"
            yield f"{name}:"
            for key, inner in field.annotation.model_fields.items():
                yield from _key_lines(key, inner, "  ")
        else:
            yield from _key_lines(name, field, "")


def _key_lines(name: str, field: FieldInfo, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(field.description, 92 - len(indent)):
        yield f"{indent}# {line}"
    facts = [_type(field), "required" if field.is_required() else ""]
    yield f"{indent}{name}: {_default(field)}".ljust(32) + f"# {', '.join(filter(None, facts))}"


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, ()):
        return ""  # an empty value means the key is left out
    if isinstance(field.default, tuple | dict):
        return json.dumps(field.default)
    return str(field.default)


def _type(field: FieldInfo) -> str:
    words = words_of(field.annotation, field.metadata)
    bounds = [f"{sign} {getattr(item, bound)}" for item in field.metadata
              for bound, sign in _SIGNS if hasattr(item, bound)]  # fmt: skip
    text = f"{words.text} {' and '.join(bounds)}".rstrip()
    return f"{text}, {words.unit}" if words.unit else text
