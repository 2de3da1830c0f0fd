"""Good files load, and every kind of bad one gives exactly the expected message."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from onestep_md.config import Config, config_text, load_config, schema_text
from onestep_md.errors import ConfigError

SYSTEMS = sorted((Path(__file__).parents[1] / "systems").glob("*.yaml"))
TARGET = """\
target:
  pdb: a.pdb
  forcefield: [amber96.xml]
  temperature: 300.0
"""  # four lines; what a test adds starts on line 5


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes bad.yaml into an empty current folder, so that messages start with its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        Path("bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path("bad.yaml")

    return write


def messages(path, *overrides, seed=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, seed)
    return str(caught.value).splitlines()


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
    assert config.train.model_dump() == {
        "steps": 3000,
        "batch": 1024,
        "learning_rate": 1e-3,
        "volume_loss": "tangent",
        "buffer": 50000,
        "checkpoint_interval": 60.0,
    }
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


@pytest.mark.parametrize(("name", "field"), fields())
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
    assert load_config(write(schema_text()), options).train.steps == 3000


# ---- bad files: what is added below TARGET, and the messages without the file name

BAD_SECTIONS = {
    "misspelt key": (
        "train: {stps: 5}",
        ["5: unknown key `stps` in `train`. Did you mean `steps`?"],
    ),
    "misspelt section": (
        "trian: {steps: 5}",
        ["5: unknown key `trian` at the top level. Did you mean `train`?"],
    ),
    "key without a section": (
        "batch: 5",
        ["5: unknown key `batch` at the top level. It belongs to `train`."],
    ),
    "unlike any key": (
        "flow:\n  zzz: 5",
        ["6: unknown key `zzz` in `flow`. Known keys: layers, width, bins."],
    ),
    "folder is no key": (
        "folder: x",
        ["5: unknown key `folder` at the top level. Known keys: target, exploration, flow, train,"
         " cluster, sample, regions, seed."],
    ),
    "below the least value": (
        "train:\n  batch: 0",
        ["6: train.batch = 0, must be at least 1."],
    ),
    "bound with a unit": (
        "exploration: {timestep: 50, friction: -1.0}",
        ["5: exploration.timestep = 50, must be at most 5 fs.",
         "5: exploration.friction = -1.0, must be more than 0 1/ps."],
    ),
    "wrong types": (
        "train:\n  steps: many\n  batch: yes\n  buffer: 1.5\n  learning_rate: [1]",
        ['6: train.steps = "many", must be a whole number.',
         "7: train.batch = true, must be a whole number.",
         "8: train.buffer = 1.5, must be a whole number.",
         "9: train.learning_rate = [1], must be a number."],
    ),
    "unit in the value": (
        "cluster: {patience: 10 s}",
        ['5: cluster.patience = "10 s", must be a number.'],
    ),
    "not finite": (
        "train: {learning_rate: .nan}\nexploration: {duration: .inf}",
        ["5: train.learning_rate = NaN, must be a finite number.",
         "6: exploration.duration = Infinity, must be a finite number."],
    ),
    "wrong choice": (
        "train: {volume_loss: logdt}\ncluster: {platform: cuda}",
        ['5: train.volume_loss = "logdt", must be one of tangent, logdet. '
         "Did you mean `logdet`?",
         '6: cluster.platform = "cuda", must be one of auto, Reference, CPU, CUDA. '
         "Did you mean `CUDA`?"],
    ),
    "neither auto nor a count": (
        "cluster: {evaluators: 0, learner_threads: all}",
        ["5: cluster.evaluators = 0, must be auto or a whole number of at least 1.",
         '5: cluster.learner_threads = "all", must be auto or a whole number of at least 1.'],
    ),
    "value instead of a section": (
        "train: 200",
        ["5: `train` must be a section with `key: value` lines, not 200."],
    ),
    "duplicate key": (
        "train:\n  batch: 5\n  steps: 6\n  batch: 7",
        ["8: duplicate key `batch` in `train`, first given on line 6."],
    ),
    "duplicate section": (
        "seed: 1\ntarget: {temperature: 5}",
        ["6: duplicate key `target` at the top level, first given on line 1."],
    ),
    "temperatures": (
        "exploration:\n  temperatures:\n  - 310\n  - 400\n  - 350",
        ["7: exploration.temperatures[0] = 310 K, must equal target.temperature = 300 K.",
         "9: exploration.temperatures[2] = 350 K, must be more than the 400 K before it."],
    ),
    "one temperature": (
        "exploration: {temperatures: [300]}",
        ["5: exploration.temperatures = [300], must have at least 2 entries."],
    ),
    "negative temperature in the ladder": (
        "exploration: {temperatures: [300, -5]}",
        ["5: exploration.temperatures[1] = -5, must be more than 0 K."],
    ),
    "times that do not fit": (
        "exploration: {duration: 10, frame_interval: 0.3}",
        ["5: exploration.frame_interval = 0.3 ps is too long for "
         "exploration.exchange_interval = 0.2 ps.",
         "5: exploration.equilibration = 20 ps is too long for exploration.duration = 10 ps."],
    ),
    "numbers of steps": (
        "sample: {steps: [0, 3]}",
        ["5: sample.steps = [0, 3], must be a list of 0 and powers of two up to 128."],
    ),
    "one step is needed": (
        "sample: {steps: [2, 4]}",
        ["5: sample.steps = [2, 4], must rise and contain 1, because the exported samples take "
         "one step."],
    ),
    "torsions": (
        "sample:\n  torsions:\n    a: [0, 1, 2]\n    b: [0, 1, 2, 2]\n    c: [ALA:2, 1, 2, 3]",
        ["7: sample.torsions.a = [0, 1, 2], must be four atoms, each a 0-based index or "
         "RESNAME:RESID:ATOM.",
         "8: sample.torsions.b = [0, 1, 2, 2], must be four different atoms.",
         '9: sample.torsions.c = ["ALA:2", 1, 2, 3], must be four atoms, each a 0-based index or '
         "RESNAME:RESID:ATOM."],
    ),
    "torsions misspelt": (
        "sample: {torsions: atuo}",
        ['5: sample.torsions = "atuo", must be auto. Did you mean `auto`?'],
    ),
    "ranges": (
        "regions:\n  A:\n    phi: [1]\n    psi: [-10, 200]\n  B: {phi: [5, 5]}\n  C: {}\n  D: 4",
        ["7: regions.A.phi = [1], must be two numbers in degrees, [low, high].",
         "8: regions.A.psi = [-10, 200], must lie within -180..180 or within 0..360 degrees.",
         "9: regions.B.phi = [5, 5], is an empty range; the whole circle is [-180, 180].",
         "10: regions.C = {}, must have at least 1 entry.",
         "11: regions.D = 4, must hold `name: value` lines."],
    ),
    "torsion of a region, auto": (
        "regions: {A: {chi: [0, 90], phi: [0, 90], psi_12: [0, 90]}}",
        ["5: regions.A.chi: no torsion `chi`. With sample.torsions = auto there are phi and psi, "
         "or phi_2, psi_2, ...; name any other under sample.torsions."],
    ),
    "torsion of a region, named": (
        "sample: {torsions: {gamma: [0, 1, 2, 3]}}\nregions: {A: {gama: [0, 9], phi: [0, 9]}}",
        ["6: regions.A.gama: no torsion `gama` in sample.torsions. Did you mean `gamma`?",
         "6: regions.A.phi: no torsion `phi` in sample.torsions. Known: gamma."],
    ),
    "value YAML cannot construct": (
        "seed: 2024-13-45",
        ["5: `seed` cannot be read: month must be in 1..12."],
    ),
    "alias to itself": (
        "regions: &r {A: *r}",
        ["5: `regions.A` contains itself through a YAML alias.",
         "5: regions.A = null, must hold `name: value` lines."],
    ),
    "key that is no word": (
        "? [1, 2]\n: 3",
        ["5: a key at the top level is not a plain word."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD_SECTIONS.values(), ids=BAD_SECTIONS)
def test_bad_value_gives_its_message(write, text, expected):
    assert messages(write(TARGET + text + "\n")) == [f"bad.yaml:{line}" for line in expected]


BAD_FILES = {
    "empty": (
        "# nothing\n",
        ["bad.yaml: the file is empty. It needs at least target.pdb, target.forcefield and "
         "target.temperature; `python -m onestep_md.run --schema` lists every key."],
    ),
    "not a mapping": (
        "\n- target\n",
        ["bad.yaml:2: the file must consist of sections such as `target:` with `key: value` "
         "lines under them."],
    ),
    "not closed": (
        "target:\n  forcefield: [a.xml, b.xml\n  temperature: 300\n",
        ["bad.yaml:3: not valid YAML: expected ',' or ']', but got ':' (while parsing a flow "
         "sequence from line 2 on)."],
    ),
    "tab": (
        "target:\n\tpdb: a.pdb\n",
        ["bad.yaml:2: not valid YAML: found character '\\t' that cannot start any token (indent "
         "with spaces, not tabs) (while scanning for the next token)."],
    ),
    "control character": (
        "target:\n  pdb: a\x07.pdb\n",
        ["bad.yaml:2: not valid YAML: special characters are not allowed."],
    ),
    "not text": (b"\xff\xfe\x00\x81", ["bad.yaml: is not text in UTF-8; a YAML file is expected."]),
    "no target": (
        "seed: 1\n",
        ["bad.yaml:1: target.pdb is missing. PDB file of one molecule with all its hydrogens; the "
         "path starts at the folder of the YAML file. Its atom order is the order of all output.",
         "bad.yaml:1: target.temperature is missing. Temperature of the Boltzmann distribution "
         "that is sampled.",
         "bad.yaml:1: target.forcefield is missing. Give force-field files such as "
         "[amber99sbildn.xml, amber99_obc.xml], or target.system."],
    ),
    "both sources of energies, negative temperature": (
        "seed: 1\ntarget:\n  pdb: a.pdb\n  forcefield: [b.xml]\n  system: s.xml\n"
        "  temperature: -5\n",
        ["bad.yaml:5: target.forcefield and target.system are both given; keep one of them.",
         "bad.yaml:6: target.temperature = -5, must be more than 0 K."],
    ),
    "constraints of a System": (
        "target: {pdb: a.pdb, system: s.xml, temperature: 300, constraints: hbonds}\n",
        ['bad.yaml:1: target.constraints = "hbonds" has no effect on target.system; remove it.'],
    ),
    "all mistakes at once, a misspelt key not missing as well": (
        "target:\n  pdb: 3\n  forcefeld: a.xml\n  temprature: 300\ntrain:\n  batch: 0\nsead: 1\n",
        ["bad.yaml:2: target.pdb = 3, must be text.",
         "bad.yaml:3: unknown key `forcefeld` in `target`. Did you mean `forcefield`?",
         "bad.yaml:4: unknown key `temprature` in `target`. Did you mean `temperature`?",
         "bad.yaml:6: train.batch = 0, must be at least 1.",
         "bad.yaml:7: unknown key `sead` at the top level. Did you mean `seed`?"],
    ),
    "text instead of a list": (
        "target: {pdb: a.pdb, forcefield: b.xml, temperature: 300}\n",
        ['bad.yaml:1: target.forcefield = "b.xml", must be a list, in square brackets.'],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_gives_its_message(write, text, expected):
    assert messages(write(text)) == expected


def test_unreadable_files(write, tmp_path):
    write("")
    assert messages("absent.yaml") == ["absent.yaml: cannot be read: No such file or directory."]
    Path("folder.yaml").mkdir()
    assert messages("folder.yaml") == ["folder.yaml: cannot be read: Is a directory."]


BAD_OPTIONS = {
    "train.batch=0": "--set train.batch: train.batch = 0, must be at least 1.",
    "train.stps=5": "--set train.stps: unknown key `stps` in `train`. Did you mean `steps`?",
    "train.steps": "--set train.steps: must be KEY=VALUE, such as --set train.steps=200.",
    "=5": "--set =5: must be KEY=VALUE, such as --set train.steps=200.",
    "flow=[1": "--set flow: `[1` is not valid YAML: expected ',' or ']', but got '<stream end>'.",
    "seed.a=5": '--set seed.a: `seed` holds a value, not keys of its own.',
    "sample={n: 500, n: 600}": "--set sample: duplicate key `n` in `sample`.",
    "exploration.temperatures=[300, 200]": "--set exploration.temperatures: "
    "exploration.temperatures[1] = 200 K, must be more than the 300 K before it.",
}


@pytest.mark.parametrize(("option", "expected"), BAD_OPTIONS.items())
def test_bad_option_is_named_as_the_place(write, option, expected):
    assert messages(write(TARGET + "seed: 1\n"), option) == [expected]


def test_mistakes_of_file_and_options_come_together(write):
    path = write(TARGET + "train: {steps: 0, batch: 0}\n")
    assert messages(path, "train.steps=-1", seed=-2) == [
        "bad.yaml:5: train.batch = 0, must be at least 1.",
        "--set train.steps: train.steps = -1, must be at least 1.",
        "--seed: seed = -2, must be at least 0.",
    ]


def test_option_repairs_a_mistake_of_the_file(write):
    path = write(TARGET + "train: {steps: 0}\n")
    assert load_config(path, ["train={steps: 4}"]).train.steps == 4
