"""Reads a YAML file and remembers where every key stands, so that a mistake can be located.

ruamel.yaml composes a tree of nodes, each with its line; nothing that a tag names is ever made or
run. Walking this tree finds all doubled keys, and where they stand. `--set` and `--seed` replace
values and become the place that a mistake in them is reported at.
"""

import copy
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning, MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from onestep_md.errors import ConfigError

_BRACKET = re.compile(r": *\[[^\]]*\]\S")  # text that goes on after what reads as a list

Key = tuple[str | int, ...]  # ("train", "batch"), ("exploration", "temperatures", 2)


def dotted(key: Key) -> str:
    """Write a key as users do: `train.batch`, `exploration.temperatures[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


def to_yaml(values: Mapping[str, object]) -> str:
    """Write plain values as YAML, keys in the given order."""
    writer: Any = _yaml()
    text = io.StringIO()
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = False, False
    writer.allow_unicode = False
    writer.dump(dict(values), text)
    return text.getvalue().removeprefix("%YAML 1.1\n---\n")


def _yaml() -> YAML:
    """Make a safe reader in pure Python, of YAML 1.1: `yes` is true, `010` is eight."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    return yaml


class Source:
    """The values of one YAML file with their places, and the mistakes found in them so far."""

    def __init__(self, path: Path, text: str | None = None):
        """Read the file, or a text in its place.

        Raises:
            ConfigError: unreadable, not YAML, empty, or not a mapping.
        """
        self.path = path
        self.data: dict[str, Any] = {}
        self._places: dict[Key, int | str] = {(): 1}  # line in the file, or a command-line option
        self._option: str | None = None  # the --set that is being read
        self._mistakes: list[tuple[int | str, str]] = []
        node = self._compose(_read(path) if text is None else text)
        if node is None:
            raise ConfigError(
                f"{path}: the file is empty. It needs at least target.pdb, target.forcefield and "
                "target.temperature of a molecule, or target.kind: density and target.name; "
                "`python -m onestep_md.run --schema` lists every key."
            )
        if not isinstance(node, MappingNode):
            raise ConfigError(
                f"{path}:{_line(node)}: the file must consist of sections such as `target:` with "
                "`key: value` lines under them."
            )
        self.data = self._build(node, (), ())

    def _compose(self, text: str) -> Node | None:
        try:
            return _yaml().compose(text)
        except YAMLError as error:
            raise ConfigError(f"{self.path}:{_explain(error, text)}") from error

    def _build(self, node: Node, key: Key, parents: tuple[int, ...]) -> Any:
        """Build the plain value of a node, and note the line of everything in it under `key`."""
        if id(node) in parents:
            self.mistake(key, f"`{dotted(key)}` contains itself through a YAML alias.")
            return None
        parents = (*parents, id(node))
        if isinstance(node, SequenceNode):
            return [self._build(child, self._note(key, i, child), parents)
                    for i, child in enumerate(node.value)]  # fmt: skip
        if isinstance(node, MappingNode):
            return self._build_mapping(node, key, parents)
        try:
            with warnings.catch_warnings():  # of 1e-3, a number here
                warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
                return _yaml().constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            reason = error.problem if isinstance(error, MarkedYAMLError) else error
            self.mistake(key, f"`{dotted(key)}` cannot be read: {reason}.")
            return None

    def _build_mapping(
        self, node: MappingNode, key: Key, parents: tuple[int, ...]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        where = f"in `{dotted(key)}`" if key else "at the top level"
        for name_node, child in node.value:
            if not isinstance(name_node, ScalarNode):
                self.mistake(key, f"a key {where} is not a plain word.", line=_line(name_node))
                continue
            name = name_node.value  # as written: YAML would turn the key `on` into True
            if name in values:
                first = self._places[(*key, name)]
                before = f", first given on line {first}" if isinstance(first, int) else ""
                message = f"duplicate key `{name}` {where}{before}."
                self.mistake((*key, name), message, line=_line(name_node))
                continue
            values[name] = self._build(child, self._note(key, name, name_node), parents)
        return values

    def _note(self, parent: Key, name: str | int, node: Node) -> Key:
        key = (*parent, name)
        self._places[key] = self._option or _line(node)
        return key

    def override(self, option: str) -> None:
        """Apply one `--set KEY=VALUE`; the value is read as YAML.

        Args:
            option: such as `train.steps=200` or `regions.all={phi: [-180, 180]}`.
        """
        name, equals, text = option.partition("=")
        name = name.strip()
        place, key = f"--set {name}", tuple(name.split("."))
        if not equals or not all(key):
            self._mistakes.append(
                (f"--set {option}", "must be KEY=VALUE, such as --set train.steps=200.")
            )
            return
        try:
            node = _yaml().compose(text)
        except YAMLError as error:
            reason = _explain(error, text).partition(": ")[2]
            self._mistakes.append((place, f"`{text}` is {reason}"))
            return
        self._option = self._places[key] = place
        value = None if node is None else self._build(node, key, ())
        self._option = None
        self.replace(key, value, place)

    def of_target(self, i: int) -> "Source":
        """Return the same file with the i-th of its targets alone; mistakes are noted for both."""
        part = copy.copy(self)
        part.data = self.data | {"target": self.data["target"][i]}
        first = ("target", i)
        part._places = {
            ("target", *key[2:]) if key[:2] == first else key: place
            for key, place in self._places.items()
            if key[:1] != ("target",) or key[:2] == first
        }
        return part

    def replace(self, key: Key, value: object, place: str) -> None:
        """Put a value where `key` points; mistakes in it are reported at `place`."""
        section: dict[Any, Any] = self.data
        for depth, part in enumerate(key[:-1], start=1):
            if section.get(part) is None:
                section[part] = {}
            if not isinstance(section[part], dict):
                message = f"`{dotted(key[:depth])}` holds a value, not keys of its own."
                self._mistakes.append((place, message))
                return
            section = section[part]
        section[key[-1]] = value
        for known in [known for known in self._places if known[: len(key)] == key]:
            del self._places[known]
        self._places[key] = place

    def is_option(self, key: Key) -> bool:
        """Whether a key has its value from the command line."""
        return isinstance(self._place(key), str)

    def _place(self, key: Key) -> int | str:
        """Find the place of a key, or of the nearest enclosing one."""
        while key not in self._places:
            key = key[:-1]
        return self._places[key]

    def mistake(self, key: Key, message: str, line: int | None = None) -> None:
        """Note a mistake at a key, or at the nearest enclosing one."""
        place = self._place(key)
        # a line inside the value of --set means nothing to the user
        if line is not None and isinstance(place, int):
            place = line
        self._mistakes.append((place, message))

    def raise_mistakes(self) -> None:
        """Raise one ConfigError with all mistakes, in the order of the file; none: do nothing."""
        if not self._mistakes:
            return
        in_file = sorted((m for m in self._mistakes if isinstance(m[0], int)), key=lambda m: m[0])
        lines = [f"{self.path}:{line}: {message}" for line, message in in_file]
        lines += [f"{place}: {text}" for place, text in self._mistakes if isinstance(place, str)]
        raise ConfigError("\n".join(dict.fromkeys(lines)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text in UTF-8; a YAML file is expected.") from error


def _line(node: Node) -> int:
    return node.start_mark.line + 1


def _explain(error: YAMLError, text: str) -> str:
    """`line: not valid YAML: reason`, with a hint for the commonest causes."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        reason = error.problem or str(error)
        line = error.problem_mark.line + 1
        if "'\\t'" in reason:
            reason += " (indent with spaces, not tabs)"
        elif "escape" in reason:
            reason += " (write text with a backslash in single quotes)"
        elif _BRACKET.search(text.splitlines()[line - 1]):
            reason += " (write text that begins with [ in quotes)"
        if error.context and error.context_mark and error.context_mark.line + 1 != line:
            reason += f" ({error.context} from line {error.context_mark.line + 1} on)"
        return f"{line}: not valid YAML: {reason}."
    position = getattr(error, "position", 0)  # a control character: ReaderError has no mark
    line = text.count("\n", 0, position) + 1
    return f"{line}: not valid YAML: {getattr(error, 'reason', error)}."
