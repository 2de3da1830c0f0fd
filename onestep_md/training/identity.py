"""What a stored flow and the one that reads it must have in common: target and architecture."""

import ast
import re

# facts by their names; of a run on several molecules {"molecules": [facts, ...]}
Identity = dict[str, object]

_OLD_TEXT = re.compile(
    r"(?P<target>.*), (?P<line>\d+) \+ (?P<circle>\d+) coordinates, flow (?P<flow>{.*})"
)


def read_identity(stored: str | Identity) -> Identity:
    """Take an identity from a file; older versions wrote a text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(stored, dict):
        return stored
    parts = [_parse(text) for text in stored.split("; ")]
    return parts[0] if len(parts) == 1 else {"molecules": parts}


def _parse(text: str) -> Identity:
    found = _OLD_TEXT.fullmatch(text)
    if not found:
        raise ValueError(f"no identity of a flow: {text}")
    flow = ast.literal_eval(found["flow"])
    sizes = {"n_linear": int(found["line"]), "n_circular": int(found["circle"])}
    known = {name: value for name, value in flow.items() if value is not None}
    return {"target": found["target"], **sizes, **known}


def difference(stored: Identity, ours: Identity) -> str:
    """Name the facts in which two identities differ; empty where they are the same."""
    names = sorted(name for name in {*stored, *ours} if stored.get(name) != ours.get(name))
    return "; ".join(
        f"{name}: {stored.get(name, 'not set')} there, {ours.get(name, 'not set')} here"
        for name in names
    )
