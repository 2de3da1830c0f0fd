"""Several molecules trained together: their configuration, what they share, and interruptions."""

import pkgutil
import signal
from pathlib import Path

import pytest
import torch

from onestep_md import pipeline
from onestep_md.analysis.records.folder import read_results
from onestep_md.config import load_configs, several_text
from onestep_md.errors import ConfigError, Interrupted, RunFolderError
from onestep_md.sampler import load

SYSTEMS = Path(__file__).parents[1] / "systems"
FORCES = "forcefield: [amber99sbildn.xml], temperature: 300}"
TWO = f"""\
target:
  - {{pdb: {SYSTEMS}/alanine.pdb, {FORCES}
  - {{pdb: {SYSTEMS}/glycine.pdb, {FORCES}
exploration: {{method: dynamics, duration: 4, equilibration: 1, \
exchange_interval: 0.5, frame_interval: 0.05}}
flow: {{coordinates: cartesian, layers: 2, width: 8}}
train: {{pretraining: 3, steps: 3, batch: 16, regression_batch: 8, buffer: 32}}
sample: {{n: 20, steps: [0, 1]}}
"""


@pytest.fixture
def write(tmp_path):
    def function(text):
        path = tmp_path / "two.yaml"
        path.write_text(text)
        return path

    return function


def test_a_list_of_targets_is_one_configuration_each(write):
    configs = load_configs(write(TWO), ["train.steps=7"], seed=5)
    assert list(configs) == ["alanine", "glycine"]
    for name, config in configs.items():
        assert Path(config.target.pdb).stem == name
        assert config.train.steps == 7 and config.seed == 5
        assert config.exploration.temperatures[0] == 300.0
    assert list(load_configs(SYSTEMS / "gmm9.yaml")) == ["gmm9"]


def test_the_shipped_list_loads_and_its_files_exist():
    configs = load_configs(SYSTEMS / "residues.yaml")
    assert list(configs) == ["alanine", "glycine", "valine"]
    for config in configs.values():
        assert (config.folder / config.target.pdb).is_file()
        assert config.regions


def test_the_resolved_configuration_reads_back_equal(write):
    configs = load_configs(write(TWO))
    again = load_configs(write(several_text(list(configs.values()))))
    assert {name: config.model_dump() for name, config in again.items()} == {
        name: config.model_dump() for name, config in configs.items()
    }


ALANINE = f"{{pdb: a/alanine.pdb, {FORCES}"
MISTAKES = {
    "one": (f"target: [{ALANINE}]\n", "1: target is a list of 1; take two molecules or more"),
    "equal names": (
        f"target: [{ALANINE}, {ALANINE}]\nflow: {{coordinates: cartesian}}\n",
        "1: target is a list with two files alanine.pdb",
    ),
    "internal coordinates": (
        TWO.replace("cartesian", "internal"),
        "1: target is a list; one network for several molecules needs flow.coordinates: cart",
    ),
    "a Gaussian base": (
        TWO.replace("cartesian", "cartesian, base: gaussian"),
        "5: target is a list; from flow.base: gaussian a network learns one molecule",
    ),
    "a density": (
        f"target:\n  - {ALANINE}\n  - {{kind: density, name: gmm9}}\n",
        "1: target is a list; only molecules can be trained together",
    ),
    "unknown key": (
        TWO.replace("glycine.pdb, ", "glycine.pdb, tmperature: 300, "),
        "3: unknown key `tmperature` in `target`",
    ),
    "paths": (
        TWO.replace("pretraining: 3", "method: osds"),
        "6: target is a list; it needs train.method: buffer",
    ),
    "another run": (
        TWO.split("exploration")[0] + "exploration: {method: run, from: runs/a}\n"
        "flow: {coordinates: cartesian}\n",
        "4: target is a list; a run that starts from another one has one target",
    ),
    "learners": (TWO + "cluster: {learners: 2}\n", "8: target is a list; it is trained by one"),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_where_they_are(write, text, expected):
    with pytest.raises(ConfigError) as caught:
        load_configs(write(text))
    assert f"two.yaml:{expected}" in str(caught.value)


def run(path, folder, resume=False):
    pipeline.run(load_configs(path), folder, resume, local=True, address=None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "two.yaml"
    path.write_text(TWO)
    run(path, path.parent / "run")
    return path.parent / "run"


def flow_of(folder, name):
    return torch.load(folder / name / "model.pt", weights_only=True)["flow"]


def test_molecules_share_networks_and_have_results_of_their_own(finished):
    flows = [flow_of(finished, name) for name in ("alanine", "glycine")]
    shared = [key for key in flows[0] if "network" in key]
    assert len(shared) > 20
    for key in shared:
        assert torch.equal(flows[0][key], flows[1][key])
    for name, atoms in (("alanine", 22), ("glycine", 19)):
        results = read_results(finished / name)
        assert [row.steps for row in results.evidence] == [0, 1]
        assert results.fingerprint["atoms"] == atoms
        assert results.cost["training"].evaluations > 0
        assert (finished / name / "report.html").exists()
        assert len((finished / name / "samples.dcd").read_bytes()) > 20 * atoms * 12
    assert results.isomers.held == ("2 trans amides",)
    assert results.isomers.outside[1]["an inverted stereocentre"] == 0


def test_more_samples_are_drawn_of_each(finished, tmp_path):
    load(finished / "glycine").write(tmp_path / "more", 100, seed=3)
    assert (tmp_path / "more" / "samples.dcd").exists()
    with pytest.raises(RunFolderError, match=r"several molecules.*glycine"):
        load(finished)


@pytest.mark.parametrize(
    "step",
    ["onestep_md.training.likelihood.Likelihood.step", "onestep_md.training.train.train_step"],
    ids=["pretraining", "training"],
)
def test_stopped_and_resumed_it_ends_where_it_would_have_ended(
    finished, write, tmp_path, monkeypatch, step
):
    path, folder, taken = write(TWO), tmp_path / "run", 0
    whole_step = pkgutil.resolve_name(step)

    def stopped_at_the_third(*arguments):
        nonlocal taken
        taken += 1
        if taken == 3:
            signal.raise_signal(signal.SIGTERM)
        return whole_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step, stopped_at_the_third)
        with pytest.raises(Interrupted, match="--resume"):
            run(path, folder)
    with pytest.raises(RunFolderError, match="already holds a run"):
        run(path, folder)
    run(path, folder, resume=True)
    for name in ("alanine", "glycine"):
        whole, resumed = flow_of(finished, name), flow_of(folder, name)
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
