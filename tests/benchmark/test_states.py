"""References of states: the solvent between them, and the numbers that a short one gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from onestep_md.benchmark.state_reference import (
    _scale_solvent,
    _State,
    write_state_reference,
)
from onestep_md.config import load_config, load_states
from onestep_md.kinds.molecule import load_molecule_target

SYSTEMS = Path(__file__).parents[2] / "systems"


def evaluate(target, x):
    return target.factory("Reference")().evaluate(x)[0]


def test_scaled_solvent_is_a_straight_line_from_vacuum():
    system = SYSTEMS / "alanine.yaml"
    config = load_config(system)
    own = _State("own", config, load_molecule_target(config))
    vacuum = load_config(system, load_states(SYSTEMS / "alanine-states.yaml")["vacuum"])
    noise = 0.005 * np.random.default_rng(0).standard_normal((8, 22, 3))
    x = own.target.molecule.positions + noise
    u, bare = evaluate(own.target, x), evaluate(load_molecule_target(vacuum), x)
    assert np.abs(u - bare).min() > 5.0
    scaled = evaluate(_scale_solvent(own, 0.25).target, x)
    np.testing.assert_allclose(scaled, bare + 0.25 * (u - bare), atol=1e-9)


@pytest.mark.slow
def test_a_short_reference_is_near_the_long_one(tmp_path):
    known = json.loads((SYSTEMS / "reference" / "alanine-states.json").read_text())["states"]
    chosen = "{ff03: {forcefield: [amber03.xml, amber03_obc.xml]}, 350K: {temperature: 350}}"
    (tmp_path / "states.yaml").write_text(f"states: {chosen}\n")
    path = tmp_path / "reference.json"
    write_state_reference(SYSTEMS / "alanine.yaml", tmp_path / "states.yaml", path, 100.0)
    rows = json.loads(path.read_text())["states"]
    assert set(rows) == {"ff03", "350K"}
    for name, row in rows.items():
        apart = row["delta_log_z"] - known[name]["delta_log_z"]
        assert abs(apart) < 4.0 * np.hypot(row["error"], known[name]["error"]) < 2.0
