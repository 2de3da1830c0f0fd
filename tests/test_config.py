"""Good files load with their defaults, and the printed schema is what is accepted.

What each kind of target needs and refuses is here too; all other mistakes have their own file.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from onestep_md.config import Config, Train, config_text, load_config, schema_text
from onestep_md.config_types import DENSITIES, PARTICLES
from onestep_md.errors import ConfigError

FILES = sorted((Path(__file__).parents[1] / "systems").glob("*.yaml"))
# those of several molecules are the business of test_transfer
SYSTEMS = [path for path in FILES if "  - {pdb:" not in path.read_text()]
MOLECULES = [path for path in SYSTEMS if "pdb:" in path.read_text()]
TARGET = """\
target:
  pdb: a.pdb
  forcefield: [amber96.xml]
  temperature: 300.0
"""
KINDS = {
    "molecule": TARGET,
    "density": "target: {kind: density, name: gmm9}\n",
    "data": "target: {kind: density, name: lgcp, data: pines.csv}\n",
    "particles": "target: {kind: density, name: dw4}\n",
    "python": "target: {kind: python, function: 'banana:log_density', dim: 2}\n",
}
# these defaults depend on the target
MOLECULE_TRAIN = Train(
    steps=1200, batch=1024, regression_batch=256, likelihood_weight=0.1, buffer=8192,
    step_shares=(2.0, 1.0, 1.0, 1.0),
)  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes good.yaml into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("good.yaml").write_text(text)
        return Path("good.yaml")

    return write


# ---- good files


@pytest.mark.parametrize("path", MOLECULES, ids=lambda path: path.stem)
def test_shipped_molecules_load_and_their_files_exist(path):
    config = load_config(path)
    assert config.folder == path.parent
    assert (config.folder / config.target.pdb).is_file()
    assert config.exploration.temperatures[0] == config.target.temperature
    assert config.regions


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


def test_particles_in_flat_coordinates(write):
    flow = load_config(write("target: {kind: density, name: dw4}\nflow: {coordinates: flat}")).flow
    assert (flow.coordinates, flow.network, flow.bins) == ("flat", None, None)


@pytest.mark.parametrize(("name", "draws"), [("cartesian", 1), ("gaussian", 8)])
def test_only_atoms_from_a_gaussian_have_auxiliaries(name, draws):
    assert load_config(SYSTEMS[0].parent / f"alanine-{name}.yaml").sample.auxiliaries == draws


@pytest.mark.parametrize("name", PARTICLES)
def test_densities_of_particles_are_those_that_are(name):
    from onestep_md.targets.densities import density
    from onestep_md.targets.particles import Particles

    assert isinstance(density(name, None), Particles)
    assert density(name, None).space == PARTICLES[name]


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


def test_three_keys_are_enough(write):
    config = load_config(write(TARGET))
    assert (config.target.kind, config.train) == ("molecule", MOLECULE_TRAIN)
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
    with pytest.raises(ValidationError, match="target.dim is missing"):
        Config.model_validate({"target": {"kind": "python", "function": "a:b"}})


# ---- kinds of target, methods of training


def test_two_keys_are_enough_for_a_density(write):
    config = load_config(write(KINDS["density"]))
    assert (config.target.kind, config.target.name) == ("density", "gmm9")
    assert (config.target.pdb, config.target.data, config.target.temperature) == (None,) * 3
    assert config.exploration.temperatures == ()
    assert (config.exploration.particles, config.exploration.moves) == (20_000, 8)


def test_density_with_a_data_file(write):
    assert load_config(write(KINDS["data"])).target.data == "pines.csv"


@pytest.mark.parametrize("function", ["banana:log_density", "my.package_2:_log_p"])
def test_density_of_a_python_function(write, function):
    config = load_config(write(KINDS["python"]), [f"target.function={function}"])
    assert (config.target.kind, config.target.function) == ("python", function)
    assert config.target.dim == 2


@pytest.mark.parametrize(
    ("kind", "weight", "train"),
    [
        ("molecule", 0.1, (1200, 1024, 256, 8192, (2, 1, 1, 1))),
        ("density", 1.0, (2000, 512, 512, 1024, (1, 1, 1, 1))),
        ("data", 1.0, (2000, 512, 512, 1024, (1, 1, 1, 1))),
        ("python", 1.0, (2000, 512, 512, 1024, (1, 1, 1, 1))),
        ("particles", 1.0, (2000, 512, 512, 1024, (2, 1, 1, 1))),
    ],
)
def test_defaults_that_depend_on_the_kind(write, kind, weight, train):
    path = write(KINDS[kind])
    config = load_config(path)
    assert (config.flow.bins, config.train.likelihood_weight) == (None, weight)
    found = config.train
    sizes = (found.steps, found.batch, found.regression_batch, found.buffer)
    assert (*sizes, found.step_shares) == train
    config = load_config(path, ["train.step_shares=[1, 0, 0, 0]", "train.likelihood_weight=0"])
    assert (config.train.step_shares, config.train.likelihood_weight) == ((1, 0, 0, 0), 0.0)


@pytest.mark.parametrize("bins", [0, 8])
def test_bins_may_be_chosen(write, bins):
    assert load_config(write(KINDS["density"]), [f"flow.bins={bins}"]).flow.bins == bins


def test_training_methods(write):
    path = write(KINDS["density"])
    assert load_config(path).train.method == "buffer"
    for kind in KINDS.values():
        for method in ("osds", "scds"):
            config = load_config(write(kind), [f"train.method={method}"])
            assert (config.train.method, config.train.teacher) == (method, None)
        config = load_config(write(kind), ["train.method=cdds", "train.teacher=runs/a"])
        assert config.train.teacher == "runs/a"


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_resolved_configuration_of_each_kind_reads_back_equal(write, text):
    config = load_config(write(text), ["train.method=cdds", "train.teacher=runs/a"])
    resolved = yaml.safe_load(config_text(config))
    assert resolved["flow"].get("bins") == config.flow.bins
    assert resolved["train"]["likelihood_weight"] == config.train.likelihood_weight
    assert load_config(write(config_text(config))).model_dump() == config.model_dump()
    copy = write(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(copy).model_dump() == config.model_dump()


NAMES = ", ".join(DENSITIES)
BAD_TARGETS = {
    "target: {kind: density}": f"target.name is missing. The benchmark density: {NAMES}.",
    "target: {kind: density, name: gmm8}": f'target.name = "gmm8", must be one of {NAMES}. '
    "Did you mean `gmm9`?",
    "target: {kind: density, name: xyz}": f'target.name = "xyz", must be one of {NAMES}.',
    "target: {kind: densty, name: gmm9}": 'target.kind = "densty", must be one of molecule, '
    "density, python. Did you mean `density`?",
    "target: {name: gmm9}": "target.name needs target.kind: density; the kind here is molecule.",
    "target: {dim: 2, function: 'a:b'}": "target.function needs target.kind: python; the kind "
    "here is molecule.",
    "target: {kind: density, pdb: a.pdb}": "target.pdb needs target.kind: molecule; the kind "
    "here is density.",
    "target: {kind: python, function: 'a:b'}": "target.dim is missing. Number of coordinates "
    "that target.function takes.",
    "target: {kind: python, dim: 2}": "target.function is missing. Python function of x (batch, "
    "dim) that returns the log density (batch,), in torch; its module is looked for in the "
    "folder of the YAML file first.",
    "target: {kind: python, function: banana.py, dim: 2}": 'target.function = "banana.py", must '
    "be module:name, such as banana:log_density.",
    "target: {kind: python, function: 3, dim: 2}": "target.function = 3, must be text.",
    "target: {kind: python, function: 'a:b', dim: 0}": "target.dim = 0, must be at least 1.",
    "target: {kind: python, function: 'a:b', dim: 2, data: c}": "target.data has no effect on a "
    "python density; remove it.",
}


@pytest.mark.parametrize(("text", "message"), BAD_TARGETS.items())
def test_bad_target_gives_its_message(write, text, message):
    with pytest.raises(ConfigError) as caught:
        load_config(write(f"seed: 1\n{text}\n"))
    assert str(caught.value) == f"good.yaml:2: {message}"


BAD_TRAINING = {
    "{method: cdds}": 'train.method = "cdds" needs train.teacher, the run folder of a trained '
    "sampler.",
    "{method: cdds, techer: a}": "unknown key `techer` in `train`. Did you mean `teacher`?",
    "{teacher: a}": 'train.teacher has no effect on train.method = "buffer"; remove it.',
    "{grid: brownian}": 'train.grid has no effect on train.method = "buffer"; remove it.',
    "{method: odss, teacher: a}": 'train.method = "odss", must be one of buffer, osds, scds, '
    "cdds. Did you mean `osds`?",
    "{likelihood_weight: -1}": "train.likelihood_weight = -1, must be at least 0.",
}


@pytest.mark.parametrize(("text", "message"), BAD_TRAINING.items())
def test_bad_training_gives_its_message(write, text, message):
    with pytest.raises(ConfigError) as caught:
        load_config(write(KINDS["density"] + f"train: {text}\n"))
    assert str(caught.value) == f"good.yaml:2: {message}"


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
    # their defaults depend on the target, so the listing leaves them empty
    for values in (defaults, listing):
        del values["exploration"]["temperatures"], values["exploration"]["method"]
        del values["flow"]["coordinates"], values["sample"]["auxiliaries"]
        of_kind = ("steps", "batch", "regression_batch", "likelihood_weight", "buffer")
        for key in (*of_kind, "step_shares"):
            del values["train"][key]
    for section in ("exploration", "flow", "train", "cluster", "sample", "regions", "seed"):
        assert listing[section] == defaults[section]
    assert "  temperature:                  # number > 0, K, required for a m" in schema_text()
    assert "  dim:                          # whole number >= 1, required for a p" in schema_text()
    assert max(map(len, schema_text().splitlines())) < 100
    assert "  timestep: 2.0                 # number > 0 and <= 5, fs" in schema_text()


def test_schema_listing_completed_with_required_keys_loads(write):
    options = ["target.pdb=a.pdb", "target.forcefield=[b.xml]", "target.temperature=300"]
    assert load_config(write(schema_text()), options).train == MOLECULE_TRAIN
    options = ["target.kind=density", "target.name=gmm9"]
    assert load_config(write(schema_text()), options).flow.coordinates == "flat"
