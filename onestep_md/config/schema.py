"""The listing of `--schema`: every key as in a YAML file.

Its meaning stands above it, its default beside it, or where that depends on other keys in words,
then type, bounds and unit, and the choices that have it. It walks the models that are accepted,
so it cannot differ from them.
"""

import inspect
import json
import textwrap
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from onestep_md.config.config import Config
from onestep_md.config.section import (
    Choice,
    Section,
    choice_of,
    default_rule,
    is_needed,
    models_of,
    value_of,
)
from onestep_md.config.types import either, words_of

_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def schema_text() -> str:
    """List every key with type, default, unit and meaning, as valid YAML."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "# Keys of a onestep_md YAML file. Only those marked `required` must be given."
    for name, field in Config.model_fields.items():
        yield ""
        models, choice = models_of(field), choice_of(field)
        if not models:
            yield from _key_lines(name, field, "")
            continue
        yield from _comment(field.description or inspect.getdoc(models[0]) or "", "")
        yield f"{name}:"
        if choice:
            yield from _choice_lines(choice, models)
        known = dict.fromkeys(key for model in models for key in model.model_fields)
        for key in known:
            owners = [model for model in models if key in model.model_fields]
            if choice is None or key != choice.key:
                some = choice if len(owners) < len(models) else None
                yield from _key_lines(
                    key, owners[0].model_fields[key], "  ", _note_owners(owners, some)
                )


def _note_owners(owners: list[type[Section]], choice: Choice | None) -> str:
    """Note the values of a choice that have a key; empty if all have it."""
    if choice is None:
        return ""
    return f"{choice.key}: {either([value_of(model, choice) for model in owners])}"


def _choice_lines(choice: Choice, models: tuple[type[Section], ...]) -> Iterator[str]:
    text, default = choice.description, choice.default
    if not isinstance(default, str):
        text, default = f"{text} Default: {default.words}.", ""
    values = " | ".join(value_of(model, choice) for model in models)
    yield from _comment(text, "  ")
    yield f"  {choice.key}: {default}".ljust(32) + f"# {values}"


def _key_lines(name: str, field: FieldInfo, indent: str, note: str = "") -> Iterator[str]:
    rule = default_rule(field)
    text = field.description if rule is None else f"{field.description} Default: {rule.words}."
    yield from _comment(text or "", indent)
    facts = filter(None, (_type(field), note, "required" if is_needed(field) else ""))
    yield f"{indent}{name}: {_default(field)}".ljust(32) + f"# {', '.join(facts)}"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, 92 - len(indent)):
        yield f"{indent}# {line}"


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default is None:
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
