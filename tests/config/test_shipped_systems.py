"""Every file in systems/ loads, and says of its target what is true of it."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from onestep_md.config import config_text, load_config, load_states
from onestep_md.config.types import DENSITIES, PARTICLES

FILES = sorted((Path(__file__).parents[2] / "systems").glob("*.yaml"))
STATES = [path for path in FILES if load_states(path) is not None]
# those of several molecules are the business of test_transfer
SYSTEMS = [path for path in FILES if path not in STATES and "  - {pdb:" not in path.read_text()]
MOLECULES = [path for path in SYSTEMS if "pdb:" in path.read_text()]


@pytest.mark.parametrize("path", MOLECULES, ids=lambda path: path.stem)
def test_shipped_molecules_load_and_their_files_exist(path):
    config = load_config(path)
    assert config.folder == path.parent
    assert (config.folder / config.target.pdb).is_file()
    if config.exploration.method == "dynamics":
        assert config.exploration.temperatures[0] == config.target.temperature
    assert config.regions


@pytest.mark.parametrize("path", STATES, ids=lambda path: path.stem)
def test_shipped_states_are_changes_of_a_shipped_system(path):
    system = path.with_name(f"{path.stem.partition('-')[0]}.yaml")
    own = load_config(system).target
    targets = [load_config(system, options).target for options in load_states(path).values()]
    assert all(target != own for target in targets)


def test_all_systems_are_shipped():
    names = {path.stem for path in SYSTEMS}
    assert {"alanine", "alanine-ff96", "alanine-quick", "trialanine", "thymidine"} <= names
    assert {"python-density", *DENSITIES} <= names


@pytest.mark.parametrize("name", DENSITIES)
def test_shipped_densities_load_by_their_name(name):
    target = load_config(SYSTEMS[0].parent / f"{name}.yaml").target
    assert (target.kind, target.name) == ("density", name)


@pytest.mark.parametrize("name", DENSITIES)
def test_default_coordinates_of_densities(name):
    flow = load_config(SYSTEMS[0].parent / f"{name}.yaml").flow
    cartesian = ("cartesian", "egnn", None)
    expected = cartesian if name in PARTICLES else ("flat", None, None)
    assert (flow.coordinates, flow.network, flow.bins) == expected


@pytest.mark.parametrize(("name", "draws"), [("cartesian", 1), ("gaussian", 8)])
def test_only_atoms_from_a_gaussian_have_auxiliaries(name, draws):
    assert load_config(SYSTEMS[0].parent / f"alanine-{name}.yaml").sample.auxiliaries == draws


@pytest.mark.parametrize("name", PARTICLES)
def test_densities_of_particles_are_those_that_are(name):
    from onestep_md.targets.densities import build_density
    from onestep_md.targets.particles import Particles

    assert isinstance(build_density(name, None), Particles)
    assert build_density(name, None).space == PARTICLES[name]


def test_names_of_densities_are_those_that_can_be_built():
    from onestep_md.targets.densities import BUILDERS

    assert tuple(BUILDERS) == DENSITIES


@pytest.mark.parametrize("path", MOLECULES, ids=lambda path: path.stem)
def test_regions_of_shipped_systems_do_not_overlap(path):
    def inside(angle, low, high):
        return (angle - low) % 360 < ((high - low) % 360 or 360)

    regions = load_config(path).regions
    grid = np.meshgrid(np.arange(-180, 180, 5), np.arange(-180, 180, 5))
    names = sorted({name for ranges in regions.values() for name in ranges})
    assert len(names) == 2
    boxes = [
        np.logical_and.reduce(
            [inside(angle, *ranges[name]) for name, angle in zip(names, grid, strict=True)]
        )
        for ranges in regions.values()
    ]
    assert all(box.any() for box in boxes)
    assert not any((a & b).any() for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: path.stem)
def test_resolved_configuration_reads_back_equal(path, tmp_path):
    config = load_config(path, ["train.steps=7"])
    copy = tmp_path / "config.yaml"
    copy.write_text(config_text(config))
    assert load_config(copy).model_dump() == config.model_dump()
    copy.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(copy).model_dump() == config.model_dump()
