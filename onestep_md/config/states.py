"""Read a YAML file of states: targets that differ from that of a run in some of their keys.

states:
  vacuum: {forcefield: [amber99sbildn.xml]}
  warm: {temperature: 350.0}
"""

import json
from pathlib import Path

from onestep_md.config.forms import FILES
from onestep_md.config.source import Source


def load_states(path: Path) -> dict[str, list[str]] | None:
    """Read the states of a file as changes such as `target.temperature=350.0`, by their names.

    Paths of files that lie in the folder of the YAML file become absolute.

    Returns:
        None where the file has no section `states`.

    Raises:
        ConfigError: the section does not consist of names with keys of the target.
    """
    source = Source(path)
    if "states" not in source.data:
        return None
    for key in source.data.keys() - {"states"}:
        source.mistake((key,), f"`{key}` has no place beside `states`.")
    states = source.data["states"]
    if not isinstance(states, dict) or not states:
        message = (
            "`states` must hold names with keys of the target, such as `warm: {temperature: 350}`."
        )
        source.mistake(("states",), message)
        source.raise_mistakes()
    for name, changes in states.items():
        if not isinstance(changes, dict) or not changes:
            message = f"state `{name}` must hold keys of the target, such as {{temperature: 350}}."
            source.mistake(("states", name), message)
    source.raise_mistakes()
    return {
        name: [f"target.{key}={_value(key, value, path.parent)}" for key, value in changes.items()]
        for name, changes in states.items()
    }


def _value(key: str, value: object, folder: Path) -> str:
    """Write a value as YAML on one line."""
    if key in FILES:
        names = value if isinstance(value, list) else [value]
        found = [
            str((folder / str(n)).resolve()) if (folder / str(n)).exists() else n for n in names
        ]
        value = found if isinstance(value, list) else found[0]
    return json.dumps(value)
