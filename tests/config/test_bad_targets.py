"""What each kind of target and each method of training needs and refuses."""

import pytest
from short_files import KINDS, messages

from onestep_md.config.types import DENSITIES

NAMES = ", ".join(DENSITIES)
BAD_TARGETS = {
    "target: {kind: density}": f"target.name is missing. The benchmark density: {NAMES}.",
    "target: {kind: density, name: gmm8}": f'target.name = "gmm8", must be one of {NAMES}. '
    "Did you mean `gmm9`?",
    "target: {kind: density, name: xyz}": f'target.name = "xyz", must be one of {NAMES}.',
    "target: {kind: densty, name: gmm9}": 'target.kind = "densty", must be one of molecule, '
    "density, python. Did you mean `density`?",
    "target: {name: gmm9}": "target.name belongs to kind: density; the kind here is molecule, "
    "the default. Remove it, or set target.kind: density.",
    "target: {dim: 2, function: 'a:b'}": "target.function belongs to kind: python; the "
    "kind here is molecule, the default. Remove it, or set target.kind: python.",
    "target: {kind: density, pdb: a.pdb}": "target.pdb belongs to kind: molecule; the kind "
    "here is density. Remove it.",
    "target: {kind: python, function: 'a:b'}": "target.dim is missing. Number of coordinates "
    "that target.function takes.",
    "target: {kind: python, dim: 2}": "target.function is missing. Python function of x (batch, "
    "dim) that returns the log density (batch,), in torch; its module is looked for in the "
    "folder of the YAML file first. Any change of the code in it, or in modules of the same "
    "folder that it imports, makes another target, but for comments, docstrings and layout.",
    "target: {kind: python, function: banana.py, dim: 2}": 'target.function = "banana.py", must '
    "be module:name, such as banana:log_density.",
    "target: {kind: python, function: 3, dim: 2}": "target.function = 3, must be text.",
    "target: {kind: python, function: 'a:b', dim: 0}": "target.dim = 0, must be at least 1.",
    "target: {kind: python, function: 'a:b', dim: 2, data: c}": "target.data belongs to kind: "
    "density; the kind here is python. Remove it.",
}


@pytest.mark.parametrize(("text", "message"), BAD_TARGETS.items())
def test_bad_target_gives_its_message(write, text, message):
    assert messages(write(f"seed: 1\n{text}\n")) == [f"run.yaml:2: {message}"]


BAD_TRAINING = {
    "{method: cdds}": "train.teacher is missing. Run folder of the pretrained sampler that is "
    "distilled; the path starts where the command is run.",
    "{method: cdds, techer: a}": "unknown key `techer` in `train`. Did you mean `teacher`?",
    "{teacher: a}": "train.teacher belongs to method: cdds; the method here is buffer, the "
    "default. Remove it, or set train.method: cdds.",
    "{grid: brownian}": "train.grid belongs to method: osds, scds or cdds; the method here is "
    "buffer, the default. Remove it, or set train.method: osds.",
    "{method: scds, volume_weight: 0.5}": "train.volume_weight belongs to method: buffer, osds or "
    "cdds; the method here is scds. Remove it.",
    "{method: osds, step_share: [1, 0, 0, 0]}": "unknown key `step_share` in `train`. Did you "
    "mean `step_shares`?",
    "{method: odss, teacher: a}": 'train.method = "odss", must be one of buffer, osds, scds, '
    "cdds. Did you mean `osds`?",
    "{likelihood_weight: -1}": "train.likelihood_weight = -1, must be at least 0.",
}


@pytest.mark.parametrize(("text", "message"), BAD_TRAINING.items())
def test_bad_training_gives_its_message(write, text, message):
    assert messages(write(KINDS["density"] + f"train: {text}\n")) == [f"run.yaml:2: {message}"]


def test_dynamics_of_a_density_are_refused_whatever_else_is_wrong(write):
    text = KINDS["density"] + "exploration: {method: dynamics}\nflow: {coordinates: polar}\n"
    said = messages(write(text))
    assert said[0] == "run.yaml:2: exploration.method = dynamics needs a molecule; remove it."
    assert len(said) == 2 and said[1].startswith('run.yaml:3: flow.coordinates = "polar", must be')


@pytest.mark.parametrize("kind", ["density", "python"])
def test_keys_of_molecules_alone_are_refused_for_densities(write, kind):
    keys = "{method: annealing, moves: 3, duration: 90, snapshots: 2}"
    noun = {"density": "a density", "python": "a python density"}[kind]
    assert messages(write(KINDS[kind] + f"exploration: {keys}\n")) == [
        "run.yaml:2: exploration.duration belongs to method: dynamics; the method here is "
        "annealing. Remove it.",
        f"run.yaml:2: exploration.snapshots has no effect on {noun}; remove it.",
    ]


def test_dynamics_are_not_proposed_for_a_density(write):
    text = KINDS["density"] + "exploration: {timestep: 1.0}\n"
    assert messages(write(text)) == [
        "run.yaml:2: exploration.timestep belongs to method: dynamics; the method here is "
        "annealing. Remove it."
    ]
