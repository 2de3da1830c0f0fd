"""Files of states: what they hold, and every mistake in them at its line."""

import pytest

from onestep_md.config import load_states
from onestep_md.errors import ConfigError


def write(tmp_path, text):
    path = tmp_path / "states.yaml"
    path.write_text(text)
    return path


def test_states_become_changes_of_keys(tmp_path):
    (tmp_path / "mine.xml").write_text("")
    text = (
        "states:\n"
        "  a: {forcefield: [mine.xml, amber03_obc.xml], temperature: 310}\n"
        "  b: {system: mine.xml}\n"
    )
    path = str(tmp_path.resolve() / "mine.xml")
    assert load_states(write(tmp_path, text)) == {
        "a": [f'target.forcefield=["{path}", "amber03_obc.xml"]', "target.temperature=310"],
        "b": [f'target.system="{path}"'],
    }


def test_a_file_of_one_state_has_none(tmp_path):
    assert load_states(write(tmp_path, "target: {temperature: 300}\n")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("states: {a: {temperature: 3}}\ntrain: {steps: 3}\n", ":2: `train` has no place"),
        ("states: [a, b]\n", ":1: `states` must hold names"),
        ("states: {}\n", ":1: `states` must hold names"),
        ("states:\n  a: 310\n", ":2: state `a` must hold keys"),
        ("states:\n  a: {temperature: 3}\n  a: {temperature: 4}\n", ":3: duplicate key `a`"),
    ],
)
def test_mistakes_are_located(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        load_states(write(tmp_path, text))
    assert words in str(caught.value)
