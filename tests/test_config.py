"""Good files load with their defaults, and the printed schema is what is accepted."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from onestep_md.config import Config, Train, config_text, load_config, schema_text

SYSTEMS = sorted((Path(__file__).parents[1] / "systems").glob("*.yaml"))
TARGET = """\
target:
  pdb: a.pdb
  forcefield: [amber96.xml]
  temperature: 300.0
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes good.yaml into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("good.yaml").write_text(text)
        return Path("good.yaml")

    return write


# ---- good files


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: path.stem)
def test_shipped_systems_load_and_their_files_exist(path):
    config = load_config(path)
    assert config.folder == path.parent
    assert (config.folder / config.target.pdb).is_file()
    assert config.exploration.temperatures[0] == config.target.temperature
    assert config.regions


def test_all_systems_are_shipped():
    names = {path.stem for path in SYSTEMS}
    assert {"alanine", "alanine-ff96", "alanine-quick", "trialanine", "thymidine"} <= names


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: path.stem)
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


def test_three_keys_are_enough(write):
    config = load_config(write(TARGET))
    assert config.train == Train()
    ladder = np.array(config.exploration.temperatures)
    assert (len(ladder), ladder[0], ladder[-1]) == (6, 300.0, 1000.0)
    assert np.allclose(ladder[1:] / ladder[:-1], (1000 / 300) ** 0.2, rtol=1e-4)
    assert (config.sample.n, config.sample.steps) == (10000, (0, 1, 2, 4, 8))


def test_default_temperatures_rise_from_a_hot_target(write):
    config = load_config(write(TARGET), ["target.temperature=900"])
    assert config.exploration.temperatures[0] == 900.0
    assert config.exploration.temperatures[-1] == 1800.0


def test_values_are_coerced_by_their_declared_type(write):
    # YAML 1.1 reads all four numbers as strings, and `on` as a boolean
    text = "train: {learning_rate: 5e-4, batch: 1e3}\nsample: {n: 2E4}\nseed: 1e1\n"
    config = load_config(write(TARGET + text + "regions: {on: {phi: [-1e1, 1e1]}}\n"))
    assert (config.train.learning_rate, config.train.batch) == (5e-4, 1000)
    assert (config.sample.n, config.seed) == (20000, 10)
    assert config.regions == {"on": {"phi": (-10.0, 10.0)}}


def test_empty_section_and_empty_key_mean_the_default(write):
    text = "train:\n  # steps: 5\nexploration:\n  temperatures:\n"
    config = load_config(write(TARGET + text))
    assert config == load_config(write(TARGET))


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: path.stem)
def test_resolved_configuration_reads_back_equal(path, tmp_path):
    config = load_config(path, ["train.steps=7"])
    copy = tmp_path / "config.yaml"
    copy.write_text(config_text(config))
    assert load_config(copy).model_dump() == config.model_dump()
    copy.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(copy).model_dump() == config.model_dump()


def test_overrides_and_seed_replace_values_of_the_file(write):
    path = write(TARGET + "train: {steps: 5, batch: 6}\nseed: 3\n")
    options = [
        "train.steps=200",
        "train.steps=300",
        "sample.torsions={a: [0, 1, 2, 3]}",
        "regions.x.a=[0, 90]",
        "target.forcefield=",
        "target.system=s.xml",
    ]
    config = load_config(path, options, seed=9)
    assert (config.train.steps, config.train.batch, config.seed) == (300, 6, 9)
    assert config.sample.torsions == {"a": (0, 1, 2, 3)}
    assert config.regions == {"x": {"a": (0.0, 90.0)}}
    assert (config.target.forcefield, config.target.system) == (None, "s.xml")


def test_configuration_is_frozen(write):
    config = load_config(write(TARGET))
    with pytest.raises(ValidationError):
        config.train.steps = 1
    with pytest.raises(ValidationError):
        config.seed = 1


def test_models_refuse_inconsistent_values_without_a_file():
    target = {"pdb": "a.pdb", "forcefield": ["f.xml"], "system": "s.xml", "temperature": 300}
    with pytest.raises(ValidationError, match="are both given"):
        Config.model_validate({"target": target})


# ---- the schema


def fields(model=Config, prefix=""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{name}.")
        else:
            yield prefix + name, field


@pytest.mark.parametrize(("name", "field"), list(fields()))
def test_schema_names_and_explains_every_key(name, field):
    assert field.description and field.description.endswith(".")
    assert field.description[:20] in schema_text()
    assert f"{name.rpartition('.')[2]}:" in schema_text()


def test_schema_is_yaml_with_the_defaults_and_units(write):
    listing = yaml.safe_load(schema_text())
    defaults = Config.model_validate(
        {"target": {"pdb": "a", "forcefield": ["b"], "temperature": 300}}
    ).model_dump(mode="json")
    del defaults["exploration"]["temperatures"], listing["exploration"]["temperatures"]
    for section in ("exploration", "flow", "train", "cluster", "sample", "regions", "seed"):
        assert listing[section] == defaults[section]
    assert "  temperature:                  # number > 0, K, required" in schema_text()
    assert "  timestep: 2.0                 # number > 0 and <= 5, fs" in schema_text()


def test_schema_listing_completed_with_required_keys_loads(write):
    options = ["target.pdb=a.pdb", "target.forcefield=[b.xml]", "target.temperature=300"]
    assert load_config(write(schema_text()), options).train == Train()
