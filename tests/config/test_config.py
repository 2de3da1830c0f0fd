"""Good files load with their defaults, those that depend on the kind of target among them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from short_files import KINDS, MOLECULE_TRAIN, TARGET
from typer.testing import CliRunner

from onestep_md.config import Annealing, Config, config_text, load_config, load_configs
from onestep_md.config.forms import KEYS
from onestep_md.errors import ConfigError
from onestep_md.sample import app as sample_app


def test_particles_in_flat_coordinates(write):
    flow = load_config(write("target: {kind: density, name: dw4}\nflow: {coordinates: flat}")).flow
    assert (flow.coordinates, flow.network, flow.bins) == ("flat", None, None)


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


def test_two_keys_are_enough_for_a_density(write):
    config = load_config(write(KINDS["density"]))
    assert (config.target.kind, config.target.name) == ("density", "gmm9")
    assert config.target.model_dump() == {"kind": "density", "name": "gmm9", "data": None}
    assert config.exploration.method == "annealing"
    assert (config.exploration.particles, config.exploration.moves) == (20_000, 8)


def test_density_with_a_data_file(write):
    assert load_config(write(KINDS["data"])).target.data == "pines.csv"


@pytest.mark.parametrize("function", ["banana:log_density", "my.package_2:_log_p"])
def test_density_of_a_python_function(write, function):
    config = load_config(write(KINDS["python"]), [f"target.function={function}"])
    assert (config.target.kind, config.target.function) == ("python", function)
    assert config.target.dim == 2


@pytest.mark.parametrize(
    "target",
    [
        {"smiles": "CCO", "forcefield": ["gaff2"], "solvent": "obc2"},
        {"file": "a.sdf", "forcefield": ["gaff2"], "solvent": "obc2"},
        {"peptide": "ACE-ALA-NME", "forcefield": ["amber99sbildn.xml"]},
    ],
)
def test_defaults_of_molecules(target):
    (config,) = load_configs({"target": {"temperature": 300.0, **target}}).values()
    train = config.train
    assert (train.steps, train.regression_batch, train.likelihood_weight) == (2000, 2048, 1.0)
    assert train.learning_rate == 6e-3
    assert train.flow_weight == train.state_weight == train.volume_weight == 0.0
    assert train.step_shares == (20.0, 2.0, 1.0, 1.0)
    assert config.dynamics.duration == 2000.0
    values = {"target": {"temperature": 300.0, **target}, "flow": {"coordinates": "cartesian"}}
    (config,) = load_configs(values).values()
    assert (config.train.steps, config.train.likelihood_weight) == (60, 0.1)


@pytest.mark.parametrize(
    ("kind", "weight", "train"),
    [
        ("molecule", 1.0, (2000, 1024, 2048, 8192, (20, 2, 1, 1))),
        ("atoms", 0.1, (60, 512, 64, 2048, (8, 1, 1, 0))),
        ("density", 1.0, (2000, 512, 512, 1024, (1, 1, 1, 1))),
        ("data", 1.0, (2000, 512, 512, 1024, (1, 1, 1, 1))),
        ("python", 1.0, (2000, 512, 512, 1024, (1, 1, 1, 1))),
        ("particles", 1.0, (60, 512, 512, 1024, (2, 1, 1, 1))),
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


@pytest.mark.parametrize("method", ["buffer", "osds"])
@pytest.mark.parametrize("kind", KINDS)
def test_equivariant_networks_start_from_the_likelihood(write, kind, method):
    config = load_config(write(KINDS[kind]), [f"train.method={method}"])
    train, equivariant = config.train, kind in ("atoms", "particles")
    buffer = method == "buffer"
    # paths have nothing to begin with
    alone = buffer and (equivariant or kind == "molecule")
    assert (train.state_weight, train.volume_weight) == ((0, 0) if alone else (0.1, 0.02))
    if buffer:
        assert train.pretraining == (3000 if equivariant else 0)
        assert train.flow_weight == (0 if alone else 0.01)
    rates = {"atoms": 2.5e-4, "particles": 2.5e-4, "molecule": 6e-3}
    assert train.learning_rate == rates.get(kind, 1e-3)
    sizes = {"atoms": (6, 32), "particles": (10, 48)}
    assert (config.flow.layers, config.flow.width) == sizes.get(kind, (8, 96))
    by = "dynamics" if kind == "molecule" else "annealing"
    assert config.exploration.method == by


@pytest.mark.parametrize(
    ("method", "expected"),
    [("dynamics", {"duration": 100.0, "timestep": 1.0}), ("annealing", {"particles": 500})],
)
def test_the_command_line_may_choose_another_method_than_the_file(write, method, expected):
    for written in ("duration: 100, timestep: 1.0", "method: annealing, particles: 500"):
        text = TARGET + f"exploration: {{{written}}}\n"
        found = load_config(write(text), [f"exploration.method={method}"]).exploration.model_dump()
        assert found["method"] == method
        if expected.keys() & {key.partition(":")[0] for key in written.split(", ")}:
            assert found.items() >= expected.items()
        else:
            assert not expected.keys() - found.keys()
    text = TARGET + "train: {pretraining: 5, steps: 6}\n"
    assert load_config(write(text), ["train.method=osds"]).train.steps == 6


def test_what_was_written_by_older_runs_is_read(write):
    # every key of every method, also those that had no effect, and keys without a value
    older = {
        "target": {"kind": "density", "name": "gmm9", "constraints": "none", "pdb": None,
                   "trust": False, "held": "amides"},
        "exploration": {"method": "annealing", "temperatures": [], "duration": 90.0,
                        "equilibration": 20.0, "timestep": 2.0, "exchange_interval": 0.2,
                        "frame_interval": 0.1, "friction": 1.0, "particles": 700, "moves": 8,
                        "snapshots": 5},
        "flow": {"coordinates": "flat", "network": None, "layers": 8},
        "train": {"method": "osds", "teacher": None, "pretraining": 0, "flow_weight": 0.01,
                  "step_shares": [1.0, 1.0, 1.0, 1.0], "likelihood_weight": 1.0, "steps": 9},
    }  # fmt: skip
    config = load_config(write(yaml.safe_dump(older)))
    assert (config.exploration.particles, config.train.steps) == (700, 9)
    molecule = yaml.safe_load(TARGET)
    older["exploration"] |= {"temperatures": [300.0, 400.0], "method": "dynamics"}
    older["train"] |= {"method": "buffer", "grid": "angle", "step_shares": [2.0, 1.0, 0.0, 0.0]}
    older["flow"]["coordinates"] = "internal"
    config = load_config(write(yaml.safe_dump(older | molecule)))
    assert (config.exploration.temperatures, config.exploration.duration) == ((300.0, 400.0), 90.0)
    assert config.train.step_shares == (2.0, 1.0, 0.0, 0.0)


def test_a_configuration_may_change_its_method(write):
    config = load_config(write(TARGET + "exploration: {timestep: 1.0}\n"))
    longer = config.changed("exploration", duration=900.0)
    assert (longer.exploration.timestep, longer.exploration.duration) == (1.0, 900.0)
    annealed = config.changed("exploration", method="annealing", moves=3)
    assert (
        annealed.exploration == Annealing(particles=20_000, moves=3)
        and annealed.train == config.train
    )
    with pytest.raises(ValidationError, match="exploration.timestep belongs to method: dynamics"):
        config.changed("exploration", method="annealing", timestep=1.0)


def test_a_run_may_start_from_another_one(write):
    text = TARGET + "exploration: {method: run, from: runs/alanine, moves: 6}\n"
    config = load_config(write(text))
    assert config.from_run.folder == Path("runs/alanine")
    assert (config.from_run.particles, config.from_run.moves) == (2000, 6)
    assert load_config(write(config_text(config))) == config
    assert config.changed("target", temperature=310.0).from_run == config.from_run
    assert load_config(write(text), ["exploration.method=annealing"]).annealing.moves == 6


def test_no_value_is_left_open(write):
    # but which of several there is, and what only the exploration decides
    open_ = {"target": {"data", *KEYS}, "flow": {"network", "base", "bins"}}
    for text in KINDS.values():
        for section, keys in load_config(write(text)).model_dump().items():
            if isinstance(keys, dict):
                absent = {key for key, value in keys.items() if value is None}
                assert absent <= open_.get(section, set())


@pytest.mark.parametrize("bins", [0, 8])
def test_bins_may_be_chosen(write, bins):
    assert load_config(write(KINDS["density"]), [f"flow.bins={bins}"]).flow.bins == bins


def test_training_methods(write):
    path = write(KINDS["density"])
    assert load_config(path).train.method == "buffer"
    for kind in KINDS.values():
        for method in ("osds", "scds"):
            config = load_config(write(kind), [f"train.method={method}"])
            assert (config.train.method, hasattr(config.train, "teacher")) == (method, False)
        config = load_config(write(kind), ["train.method=cdds", "train.teacher=runs/a"])
        assert config.train.teacher == "runs/a"


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_resolved_configuration_of_each_kind_reads_back_equal(write, text):
    for options in ([], ["train.method=cdds", "train.teacher=runs/a"]):
        config = load_config(write(text), options)
        resolved = yaml.safe_load(config_text(config))
        assert resolved["flow"].get("bins") == config.flow.bins
        assert resolved["train"]["state_weight"] == config.train.state_weight
        assert load_config(write(config_text(config))).model_dump() == config.model_dump()
        copy = write(yaml.safe_dump(config.model_dump(mode="json")))
        assert load_config(copy).model_dump() == config.model_dump()


def test_files_and_the_command_ask_for_equally_few_samples(write):
    fewest = load_config(write(TARGET), ["sample.n=10", "sample.n_one_step=10"])
    assert (fewest.sample.n, fewest.sample.n_one_step) == (10, 10)
    with pytest.raises(ConfigError, match="sample.n = 9, must be at least 10"):
        load_config(write(TARGET), ["sample.n=9"])
    refused = CliRunner().invoke(sample_app, ["no-run", "--n", "9"])
    assert refused.exit_code == 2 and "10" in refused.output
