"""What the pydantic models accept: the listing for `--schema`, and the check of a file.

Both walk the fields of the models, so neither can differ from what is accepted. In the listing
each key appears as in a YAML file: its meaning above, its default beside it, then type, bounds
and unit. The check goes key by key, so that one mistake hides no other. Called by `config`.
"""

import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from onestep_md.config.checks import TARGETS
from onestep_md.config.source import Key, Source, dotted
from onestep_md.config.types import closest, explain, suggest, words_of

_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def schema_lines(model: type[BaseModel]) -> Iterator[str]:
    """The listing, line by line; it is itself valid YAML."""
    yield "# Keys of a onestep_md YAML file. Only those marked `required` must be given."
    for name, field in model.model_fields.items():
        yield ""
        if _is_section(field):
            for line in textwrap.wrap(inspect.getdoc(field.annotation), 92):
                yield f"# {line}"
            yield f"{name}:"
            for key, inner in field.annotation.model_fields.items():
                # which keys of the target are required depends on its kind
                needed = [k.noun for k in TARGETS.values() if key in k.required]
                note = f"required for {needed[0]}" if needed and name == "target" else ""
                yield from _key_lines(key, inner, "  ", note)
        else:
            yield from _key_lines(name, field, "")


def _key_lines(name: str, field: FieldInfo, indent: str, note: str = "") -> Iterator[str]:
    for line in textwrap.wrap(field.description, 92 - len(indent)):
        yield f"{indent}# {line}"
    facts = [_type(field), note]
    yield f"{indent}{name}: {_default(field)}".ljust(32) + f"# {', '.join(filter(None, facts))}"


def _default(field: FieldInfo) -> str:
    if field.default in (None, ()):
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


def checked_values(source: Source, model: type[BaseModel]) -> dict[str, object]:
    """Validated values of a file, defaults filled in; what is wrong is left out.

    Args:
        source: the file; notes the mistakes.
        model: the model of the whole file.
    """
    return _check(source, model, model, (), source.data)


def _check(
    source: Source, root: type[BaseModel], model: type[BaseModel], parent: Key, data: Mapping
) -> dict:
    unknown = [name for name in data if name not in model.model_fields]
    for name in unknown:
        source.mistake((*parent, name), _unknown(name, root, model, parent))
    meant = {closest(name, list(model.model_fields)) for name in unknown}
    values: dict[str, object] = {}
    for name, field in model.model_fields.items():
        key, raw = (*parent, name), data.get(name)
        if raw is None and name in meant:
            continue  # it is there, misspelt; that it is missing would be a second message
        if _is_section(field):
            if isinstance(raw, dict | None):
                values[name] = _check(source, root, field.annotation, key, raw or {})
            else:
                message = f"`{name}` must be a section with `key: value` lines, not {_show(raw)}."
                source.mistake(key, message)
        elif raw is not None:
            _check_value(source, field, key, raw, values)
        else:
            values[name] = field.default  # a key without a value is a key left out
    return values


def _check_value(source: Source, field: FieldInfo, key: Key, raw: object, values: dict) -> None:
    adapter = TypeAdapter(Annotated[field.annotation, field])
    try:
        values[key[-1]] = adapter.validate_python(raw)
    except ValidationError as failure:
        for error in failure.errors():
            # `<auto>` and `<named>` are the branches of a union, not keys
            inner = tuple(part for part in error["loc"] if not str(part).startswith("<"))
            unit = words_of(field.annotation, field.metadata).unit
            sentence = f"{dotted(key + inner)} = {_show(error['input'])}, {explain(error, unit)}"
            source.mistake(key + inner, sentence if sentence.endswith("?") else sentence + ".")


def _unknown(name: str, root: type[BaseModel], model: type[BaseModel], parent: Key) -> str:
    where = f"in `{dotted(parent)}`" if parent else "at the top level"
    known = list(model.model_fields)
    sections = {n: f.annotation.model_fields for n, f in root.model_fields.items()
                if _is_section(f)}  # fmt: skip
    homes = [section for section, fields in sections.items() if name in fields]
    if homes:
        hint = f". It belongs to {' or '.join(f'`{home}`' for home in homes)}."
    elif name in root.model_fields:
        hint = ". It belongs to the top level."
    else:
        hint = suggest(name, known) or f". Known keys: {', '.join(known)}."
    return f"unknown key `{name}` {where}{hint}"


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
