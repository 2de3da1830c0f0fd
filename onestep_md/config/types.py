"""Types of the values in the YAML file: what is accepted, its unit, and what it is called.

Units are fixed by the type, never written beside the number. YAML reads `1e-3` as a string and
`yes` as a boolean; the types put the first right and refuse the second. `explain` turns
pydantic's errors into the words of `Words`.
"""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, Discriminator, Field, Strict, Tag


@dataclass(frozen=True)
class Words:
    """Name of a type in messages and in `--schema`, and its unit."""

    text: str
    unit: str = ""


# the names in targets.densities.BUILDERS, which imports torch
DENSITIES = (
    "gmm9", "gmm40_fab", "gmm40", "funnel", "mw54", "mw52", "mw32", "dw4", "lj13_f1", "lj55_f1",
    "brownian", "seeds", "ionosphere", "sonar", "credit", "lgcp",
)  # fmt: skip
PARTICLES = {"dw4": 2, "lj13_f1": 3, "lj55_f1": 3}  # densities of particles: dimensions

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_NAME = re.compile(r"\w+")
_ATOM = re.compile(r"[^:\s]+:-?\d+:[^:\s]+")


def _number(value: Any) -> Any:
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _whole(value: object) -> object:
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _auto_or_count(value: object) -> object:
    value = _whole(value)
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError("must be auto or a whole number of at least 1")


def _range(value: object) -> object:
    pair = [_number(item) for item in value] if isinstance(value, list | tuple) else []
    if len(pair) != 2 or any(type(item) not in (int, float) for item in pair):
        raise ValueError("must be two numbers in degrees, [low, high]")
    if not (all(-180 <= a <= 180 for a in pair) or all(0 <= a <= 360 for a in pair)):
        raise ValueError("must lie within -180..180 or within 0..360 degrees")
    if (pair[1] - pair[0]) % 360 == 0 and pair[1] - pair[0] != 360:
        raise ValueError("is an empty range; the whole circle is [-180, 180]")
    return pair


def _quad(value: object) -> object:
    atoms = value if isinstance(value, list | tuple) else []
    valid = [
        (type(a) is int and a >= 0) or (isinstance(a, str) and bool(_ATOM.fullmatch(a)))
        for a in atoms
    ]
    if len(atoms) != 4 or not all(valid):
        raise ValueError("must be four atoms, each a 0-based index or RESNAME:RESID:ATOM")
    if len(set(atoms)) != 4:
        raise ValueError("must be four different atoms")
    return value


def _function(value: object) -> object:
    if isinstance(value, str) and not _FUNCTION.fullmatch(value):
        raise ValueError("must be module:name, such as banana:log_density")
    return value


def _residues(value: object) -> object:
    names = value.split("-") if isinstance(value, str) else [""]
    if not all(_NAME.fullmatch(name.strip()) for name in names):
        raise ValueError("must be names of residues joined by dashes, such as ACE-ALA-NME")
    return value


def _pairs(value: object) -> object:
    pairs = value if isinstance(value, list | tuple) else [None]
    for pair in pairs:
        numbers = pair if isinstance(pair, list | tuple) else []
        if len(numbers) != 2 or any(type(number) is not int for number in numbers):
            raise ValueError("must be pairs of numbers of residues, such as [[1, 6]]")
        if numbers[0] == numbers[1]:
            raise ValueError("must be pairs of two different residues, such as [[1, 6]]")
    return value


def _steps(value: object) -> object:
    allowed = (0, 1, 2, 4, 8, 16, 32, 64, 128)
    steps = value if isinstance(value, list | tuple) else []
    if not steps or any(type(k) is not int or k not in allowed for k in steps):
        raise ValueError("must be a list of 0 and powers of two up to 128")
    if 1 not in steps or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise ValueError("must rise and contain 1, because the exported samples take one step")
    return value


def _shares(value: object) -> object:
    shares = [_number(item) for item in value] if isinstance(value, list | tuple) else []
    if len(shares) != 4 or any(type(a) not in (int, float) or a < 0 for a in shares):
        raise ValueError("must be four numbers of at least 0, for K = 1, 2, 4 and 8")
    if shares[0] == 0:
        raise ValueError("must begin above 0, because the buffer's chains move by one-step maps")
    return shares


_Float = Annotated[float, Strict(), BeforeValidator(_number)]

Number = Annotated[_Float, Words("number")]
Kelvin = Annotated[_Float, Words("number", "K")]
Picoseconds = Annotated[_Float, Words("number", "ps")]
Femtoseconds = Annotated[_Float, Words("number", "fs")]
PerPicosecond = Annotated[_Float, Words("number", "1/ps")]
Seconds = Annotated[_Float, Words("number", "s")]
Whole = Annotated[int, Strict(), BeforeValidator(_whole), Words("whole number")]
AutoCount = Annotated[
    int | Literal["auto"], BeforeValidator(_auto_or_count), Words("auto or whole number >= 1")
]
Truth = Annotated[bool, Strict(), Words("true or false")]
# pydantic reads the names; type checkers see text
Density = Annotated[Literal[DENSITIES], Words("one of these names")]  # type: ignore[valid-type]
Function = Annotated[str, BeforeValidator(_function), Words("module:name")]
Files = Annotated[tuple[str, ...], Field(min_length=1), Words("list of names")]
Residues = Annotated[str, BeforeValidator(_residues), Words("names joined by dashes")]
Pairs = Annotated[
    tuple[tuple[int, int], ...], BeforeValidator(_pairs), Words("list of [number, number]")
]
Temperatures = Annotated[
    tuple[Annotated[_Float, Field(gt=0)], ...], Words("list of numbers > 0", "K")
]
StepCounts = Annotated[tuple[int, ...], BeforeValidator(_steps), Words("list of whole numbers")]
StepShares = Annotated[
    tuple[float, float, float, float], BeforeValidator(_shares), Words("list of four numbers")
]
Atom = int | str
Quad = Annotated[tuple[Atom, Atom, Atom, Atom], BeforeValidator(_quad)]
# The discriminator keeps pydantic from reporting a bad torsion against both alternatives.
Torsions = Annotated[
    Annotated[Literal["auto"], Tag("<auto>")] | Annotated[dict[str, Quad], Tag("<named>")],
    Discriminator(lambda value: "<named>" if isinstance(value, dict) else "<auto>"),
    Words("auto or {name: [atom, atom, atom, atom]}"),
]
Range = Annotated[tuple[float, float], BeforeValidator(_range)]
Regions = Annotated[
    dict[str, Annotated[dict[str, Range], Field(min_length=1)]],
    Words("{region: {torsion: [low, high]}}", "degrees"),
]


def words_of(annotation: object, metadata: Iterable[object]) -> Words:
    """Return the name of a field's type."""
    for item in metadata:
        if isinstance(item, Words):
            return item
    if get_origin(annotation) is Literal:
        return Words(" | ".join(get_args(annotation)))
    return next((words_of(*_split(part)) for part in get_args(annotation)), Words("text"))


def _split(annotation: object) -> tuple[object, tuple[object, ...]]:
    return annotation, getattr(annotation, "__metadata__", ())


def explain(error: dict, unit: str) -> str:
    """Return the rest of the sentence `key = value, ...` for one of pydantic's errors.

    Args:
        error: entry of `ValidationError.errors()`.
        unit: unit of the field, printed beside a bound.
    """
    context = error.get("ctx", {})
    for name, text in (
        ("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"),
    ):  # fmt: skip
        if name in context:
            return f"must be {text} {context[name]:.12g} {unit}".rstrip()
    match error["type"]:
        case "float_type":
            return "must be a number"
        case "int_type" | "int_from_float":
            return "must be a whole number"
        case "bool_type":
            return "must be true or false"
        case "string_type":
            read = isinstance(error["input"], bool)  # from NO, the SMILES string, for one
            return "must be text" + "; YAML reads yes, no, on and off so: quote the word" * read
        case "tuple_type":
            return "must be a list, in square brackets"
        case "dict_type":
            return "must hold `name: value` lines"
        case "too_short":
            count = context["min_length"]
            return f"must have at least {count} {'entry' if count == 1 else 'entries'}"
        case "literal_error":
            choices = re.findall(r"'([^']*)'", context["expected"])
            known = choices[0] if len(choices) == 1 else "one of " + ", ".join(choices)
            return f"must be {known}{suggest(str(error['input']), choices)}"
        case "value_error":
            return str(context["error"])
    return error["msg"]


def either(words: Sequence[str]) -> str:
    """Join words: `a`, `a or b`, `a, b or c`."""
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def closest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word nearest to `word`, in any case, if one is near."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lowered, n=1)
    return lowered[close[0]] if close else None


def suggest(word: str, known: Sequence[str]) -> str:
    """Return `. Did you mean ...?` as the end of a message; empty if nothing is near."""
    near = closest(word, known)
    return f". Did you mean `{near}`?" if near else ""
