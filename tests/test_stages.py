"""What a resumed run takes from the run before."""

from pathlib import Path

import numpy as np
import pytest

from onestep_md import stages
from onestep_md.config import load_config
from onestep_md.kinds import load_target
from onestep_md.results.conformations import ring_warnings
from onestep_md.run_folder import keep_origin, recorded_platform

SYSTEMS = Path(__file__).parents[1] / "systems"


@pytest.mark.parametrize("recorded", ["CPU", "Reference"])
def test_auto_is_the_platform_that_the_run_has_had(tmp_path, monkeypatch, recorded):
    config = load_config(SYSTEMS / "alanine.yaml")
    target = load_target(config)
    assert recorded_platform(tmp_path) is None
    keep_origin(tmp_path, config, target, {"platform": recorded})
    again = "onestep_md.kinds.molecule.time_platforms"
    monkeypatch.setattr(again, lambda molecule: pytest.fail("timed again"))
    pool = stages.open_pool(config, [target], True, None, recorded_platform(tmp_path))
    assert pool.platform == recorded


def test_what_is_sampled_is_described():
    target = load_target(load_config(SYSTEMS / "alanine.yaml"))
    last = target.describe()[-1]
    assert (
        last.split() == "isomers held: 1 stereocentre, 2 trans amides; sampled: 5 torsions".split()
    )
    density = load_target(load_config(SYSTEMS / "gmm9.yaml"))
    assert density.describe() == density.fingerprint.lines()


def test_a_ring_that_dynamics_never_flipped_is_told():
    config = load_config(SYSTEMS / "molecules" / "methylcyclohexane.yaml")
    molecule = load_target(config).molecule
    x = molecule.positions[None]
    (warning,) = ring_warnings(molecule, x)
    assert "never flipped the ring" in warning and "exploration.method: annealing" in warning
    # the mirror image has every torsion the other way round
    assert ring_warnings(molecule, np.concatenate([x, -x])) == []
    for name in ("benzene", "bicyclooctane", "butane"):
        molecule = load_target(load_config(SYSTEMS / "molecules" / f"{name}.yaml")).molecule
        assert ring_warnings(molecule, molecule.positions[None]) == []
