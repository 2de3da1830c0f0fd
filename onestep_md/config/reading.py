"""Turn the written keys of a file into the values of all keys: check them, then add defaults.

A file may leave out keys, so written sections have models of their own, made from those of
`sections`, `targets` and `training`. A wrong key is absent from the later checks, so these still
run and all mistakes are reported together.
"""

import copy
import functools
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol, Union

from pydantic import Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from onestep_md.config.checks import inconsistencies
from onestep_md.config.defaults import Default, Facts, facts_of
from onestep_md.config.section import (
    Choice,
    Section,
    choice_of,
    default_of,
    is_needed,
    models_of,
    value_of,
)
from onestep_md.config.source import Key, dotted
from onestep_md.config.types import closest, either, explain, suggest, words_of


class Notes(Protocol):
    """A collector of mistakes: `source.Source`, or `Mistakes` where there is no file."""

    def mistake(self, key: Key, message: str) -> None:
        """Note a mistake at a key."""

    def is_option(self, key: Key) -> bool:
        """Whether a key was given on the command line."""


class Mistakes:
    """Messages in order."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def mistake(self, key: Key, message: str) -> None:
        """Note a mistake."""
        self.found.append(message)

    def is_option(self, key: Key) -> bool:
        """There is no command line."""
        return False


def resolved_values(
    config: type[Section], data: Mapping[str, Any], notes: Notes
) -> dict[str, Any]:
    """Return the values of all keys by section; wrong keys are noted and absent.

    Args:
        config: model of the whole configuration.
        data: section -> key -> value, as written.
        notes: collects the mistakes.
    """
    facts, older = facts_of(data), _is_of_older_run(config, data)
    readers: dict[str, _SectionReader] = {}
    written = {name: value for name, value in data.items() if value is not None}
    for name, field in config.model_fields.items():
        if not models_of(field):
            continue
        raw = written.pop(name, {})
        if not isinstance(raw, Mapping):
            message = f"`{name}` must be a section with `key: value` lines, not {_show(raw)}."
            notes.mistake((name,), message)
        elif raw or name not in _meant(data, config.model_fields):
            keys = {key: value for key, value in raw.items() if not _is_left_out(key, value)}
            readers[name] = _SectionReader(name, field, keys, facts, notes)
            written[name] = readers[name].own(older)
    right, wrong = _checked(config, written, readers, notes)
    values = _with_defaults(config, right, wrong, readers, notes)
    # the names in regions can be checked even where a range is wrong
    for key, message in inconsistencies({"regions": data.get("regions")} | values):
        notes.mistake(key, message)
    return values


def _is_of_older_run(config: type[Section], data: Mapping[str, Any]) -> bool:
    """Whether every key of every exploration that has a value by default has one.

    Resolved configurations of older runs, from before keys belonged to one method, are so; the
    keys of the other method had no effect in them.
    """
    keys = data.get("exploration")
    models = models_of(config.model_fields["exploration"])
    known = {
        key
        for model in models
        for key, field in model.model_fields.items()
        if not is_needed(field) and field.default is not None
    }
    return isinstance(keys, Mapping) and all(keys.get(key) is not None for key in known)


def _is_left_out(key: str, value: Any) -> bool:
    """Whether a key counts as left out: it has no value, or is a ladder without rungs."""
    return value is None or (key == "temperatures" and value in ([], ()))


def _meant(given: Iterable[str], known: Iterable[str]) -> set[str | None]:
    """Known keys that are misspelt; a message that they are missing would be a second one."""
    return {closest(name, list(known)) for name in given if name not in known}


class _SectionReader:
    """Keys of a section, and the model that they belong to."""

    def __init__(
        self, name: str, field: FieldInfo, keys: dict[str, Any], facts: Facts, notes: Notes
    ):
        self.name, self.keys, self.facts, self.notes = name, keys, facts, notes
        self.models, self.choice = models_of(field), choice_of(field)
        self.known = list(dict.fromkeys(k for model in self.models for k in model.model_fields))
        self.guessed = False  # whether the model is a guess, since the key that decides is wrong
        self.model = self._chosen(self.choice) if self.choice else self.models[0]

    def _chosen(self, choice: Choice) -> type[Section]:
        by_value = {value_of(model, choice): model for model in self.models}
        value, default = self.keys.get(choice.key), choice.value(self.facts)
        if value is None:
            self.guessed = isinstance(choice.default, Default) and not self.facts.certain
            return by_value[default]
        if isinstance(value, str) and value in by_value:
            return by_value[value]
        message = f"{self.name}.{choice.key} = {_show(value)}, must be one of "
        message += ", ".join(by_value) + suggest(str(value), list(by_value))
        self.notes.mistake((self.name, choice.key), _sentence(message))
        self.guessed = True
        return by_value[closest(str(value), list(by_value)) or default]

    def own(self, older: bool) -> dict[str, Any]:
        """Return the keys without those of other models; note mistakes.

        Args:
            older: whether keys of other models have no meaning, see `_is_of_older_run`.
        """
        if self.choice is None:
            return self.keys
        foreign = [
            key for key in self.known if key in self.keys and key not in self.model.model_fields
        ]
        kept = {key: value for key, value in self.keys.items() if key not in foreign}
        fits = [key for key in kept if key != self.choice.key and key in self.known]
        needed = any(is_needed(field) for field in self.model.model_fields.values())
        if not older and not self.guessed:
            wrong = [key for key in foreign if self._is_wrong(key, self.choice)]
            # where nothing fits, the choice itself is the mistake, most likely left out
            self.guessed = bool(wrong) and needed and not fits
            for key in wrong[:1] if self.guessed else wrong:
                self.notes.mistake((self.name, key), self._belongs(key, self.choice))
        return kept | {self.choice.key: value_of(self.model, self.choice)}

    def _is_wrong(self, key: str, choice: Choice) -> bool:
        """Whether a key of another model may not stand here.

        It may at its default, as in the listing of the schema; and in the file where the choice
        is made on the command line.
        """
        here, of_choice = (self.name, key), (self.name, choice.key)
        if self.notes.is_option(of_choice) and not self.notes.is_option(here):
            return False
        value = self.keys[key]
        value = tuple(value) if isinstance(value, list) else value
        owners = [model for model in self.models if key in model.model_fields]
        return all(value != default_of(model.model_fields[key], self.facts) for model in owners)

    def _belongs(self, key: str, choice: Choice) -> str:
        owners = [value_of(m, choice) for m in self.models if key in m.model_fields]
        here = value_of(self.model, choice)
        message = f"{self.name}.{key} belongs to {choice.key}: {either(owners)}; the "
        message += f"{choice.key} here is {here}"
        if choice.key in self.keys or (self.name == "exploration" and not self.facts.molecule):
            return f"{message}. Remove it."
        return f"{message}, the default. Remove it, or set {self.name}.{choice.key}: {owners[0]}."

    def complete(
        self, right: Mapping[str, Any], wrong: Collection[Key], facts: Facts
    ) -> dict[str, Any]:
        """Return `right` with defaults; note needed keys that are missing."""
        values = dict(right)
        bad = {str(key[1]) for key in wrong if key[0] == self.name and len(key) > 1}
        absent = bad | _meant(bad, self.known)
        for key, field in self.model.model_fields.items():
            if key in values or key in absent or self.guessed:
                continue
            if not is_needed(field):
                values[key] = default_of(field, facts)
            else:
                message = f"{self.name}.{key} is missing. {field.description}"
                self.notes.mistake((self.name, key), message)
        if self.choice and self.keys.get(self.choice.key) not in (None, values[self.choice.key]):
            del values[self.choice.key]  # it is a guess
        return values


@functools.cache
def _written(model: type[Section]) -> type[Section]:
    """A model as written: every key may be left out."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        choice, models = choice_of(field), models_of(field)
        if choice:
            parts: Any = Union[tuple(_written(part) for part in models)]  # noqa: UP007
            fields[name] = (parts, Field(None, discriminator=choice.key))
        elif models:
            fields[name] = (_written(models[0]), None)
        else:
            optional = copy.copy(field)
            optional.default = None
            fields[name] = (field.annotation, optional)
    return create_model(f"Written{model.__name__}", __base__=Section, **fields)


def _checked(
    config: type[Section],
    written: dict[str, Any],
    readers: Mapping[str, _SectionReader],
    notes: Notes,
) -> tuple[dict[str, Any], set[Key]]:
    """Return values of the right types, and the wrong keys."""
    wrong: set[Key] = set()
    while True:
        try:
            return _given(_written(config).model_validate(written)), wrong
        except ValidationError as failure:
            errors = failure.errors()
        for error in errors:
            key = error["loc"]
            section = readers.get(str(key[0]))
            if section is None:
                key, place, field = key, key[:1], config.model_fields.get(str(key[0]))
            else:
                key = (key[0], *key[2:]) if section.choice else key  # [1] is the choice
                place, field = key[:2], section.model.model_fields.get(str(key[1]))
            if field is None:
                notes.mistake(key, _unknown(config, key, section))
            else:
                notes.mistake(*_complaint(key, error, field))
            wrong.add(place)
        written = {
            name: {key: value for key, value in part.items() if (name, key) not in wrong}
            if name in readers
            else part
            for name, part in written.items()
            if (name,) not in wrong
        }


def _given(model: Section) -> dict[str, Any]:
    """The values of a model that were written."""
    values = {}
    for name in type(model).model_fields:
        if name in model.model_fields_set:
            value = getattr(model, name)
            values[name] = _given(value) if isinstance(value, Section) else value
    return values


def _complaint(key: Key, error: Any, field: FieldInfo) -> tuple[Key, str]:
    """Key and message of one of pydantic's errors."""
    # `<auto>` and `<named>` are the branches of a union, not keys
    key = tuple(part for part in key if not str(part).startswith("<"))
    unit = words_of(field.annotation, field.metadata).unit
    return key, _sentence(f"{dotted(key)} = {_show(error['input'])}, {explain(error, unit)}")


def _with_defaults(
    config: type[Section],
    right: Mapping[str, Any],
    wrong: set[Key],
    readers: Mapping[str, _SectionReader],
    notes: Notes,
) -> dict[str, Any]:
    """Return the values with defaults, except for keys that are wrong, misspelt or missing."""
    facts, values = facts_of(right), {}
    meant = _meant([str(key[0]) for key in wrong], config.model_fields)
    for name, field in config.model_fields.items():
        if name in readers:
            values[name] = readers[name].complete(right.get(name, {}), wrong, facts)
        elif name in right:
            values[name] = right[name]
        elif not models_of(field) and (name,) not in wrong and name not in meant:
            values[name] = default_of(field, facts)
    return values


def _unknown(config: type[Section], key: Key, section: _SectionReader | None) -> str:
    name, sections = str(key[-1]), config.model_fields
    where = f"in `{dotted(key[:-1])}`" if section else "at the top level"
    homes = [
        home
        for home, field in sections.items()
        if any(name in model.model_fields for model in models_of(field))
    ]
    known = section.known if section else list(sections)
    if homes:
        hint = f". It belongs to {' or '.join(f'`{home}`' for home in homes)}."
    elif name in sections:
        hint = ". It belongs to the top level."
    else:
        # a near key may be one of another model; the list has those of this one
        here = list(section.model.model_fields) if section else known
        hint = suggest(name, known) or f". Known keys: {', '.join(here)}."
    return f"unknown key `{name}` {where}{hint}"


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
