"""Shortest files of every kind of target, and the messages that a bad one gives."""

import pytest

from onestep_md.config import BufferTraining, load_config
from onestep_md.errors import ConfigError

TARGET = """\
target:
  pdb: a.pdb
  forcefield: [amber96.xml]
  temperature: 300.0
"""  # four lines; what a test adds starts on line 5
KINDS = {
    "molecule": TARGET,
    "atoms": TARGET + "flow: {coordinates: cartesian}\n",
    "density": "target: {kind: density, name: gmm9}\n",
    "data": "target: {kind: density, name: lgcp, data: pines.csv}\n",
    "particles": "target: {kind: density, name: dw4}\n",
    "python": "target: {kind: python, function: 'banana:log_density', dim: 2}\n",
}
# these defaults depend on the target
MOLECULE_TRAIN = BufferTraining(
    steps=2000, batch=1024, regression_batch=2048, likelihood_weight=1.0, buffer=8192,
    step_shares=(20.0, 2.0, 1.0, 1.0), learning_rate=6e-3, pretraining=0, flow_weight=0.0,
    state_weight=0.0, volume_weight=0.0,
)  # fmt: skip


def messages(path, *overrides, seed=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, seed)
    return str(caught.value).splitlines()
