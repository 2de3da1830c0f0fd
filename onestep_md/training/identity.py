"""The identity of a stored flow: the facts of target and architecture that a reader must share."""

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
    match = _OLD_TEXT.fullmatch(text)
    if not match:
        raise ValueError(f"no identity of a flow: {text}")
    flow = ast.literal_eval(match["flow"])
    sizes = {"n_linear": int(match["line"]), "n_circular": int(match["circle"])}
    known = {name: value for name, value in flow.items() if value is not None}
    return {"target": match["target"], **sizes, **known}


def difference(stored: Identity, ours: Identity) -> str:
    """Name the facts in which two identities differ; empty where they are the same."""
    names = sorted(name for name in {*stored, *ours} if stored.get(name) != ours.get(name))
    return "; ".join(
        f"{name}: {stored.get(name, 'not set')} there, {ours.get(name, 'not set')} here"
        for name in names
    )
