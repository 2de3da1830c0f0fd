"""Two learners take the steps of one, but for the order of summation.

Every learner is a process of its own that runs this file.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.distributed.group import Group, PeerLost, join, open_store
from onestep_md.distributed.learners import Alone
from onestep_md.distributed.pool import SerialEvaluators
from onestep_md.files import write_text
from onestep_md.flow.step import StepFlow
from onestep_md.training.buffer import Buffer, Configurations
from onestep_md.training.state import start_state
from onestep_md.training.train import train_step

STEPS = 12
LOST = 9  # exit code


class Cylinder(Chart):
    """Lines and angles that are x itself; wells of the first angle are emphasised."""

    def __init__(self, n_linear, n_circular):
        super().__init__()
        self._n = n_linear, n_circular

    n_linear = property(lambda self: self._n[0])
    n_circular = property(lambda self: self._n[1])

    def to_x(self, s):
        return s, s.new_zeros(len(s))

    from_x = to_x

    def log_emphasis(self, s):
        return 0.3 * (s[:, self.n_linear :].cos() > 0.0).double().sum(-1)


class Energy:
    """N(1, 0.6^2) on every line, exp(cos angle) on every circle; clashes beyond x_0 = 2."""

    def __init__(self, n_linear):
        self.n = n_linear

    def evaluate(self, x):
        x = torch.from_numpy(x)
        line, circle = x[:, : self.n], x[:, self.n :]
        u = 0.5 * ((line - 1) / 0.6).square().sum(-1) - circle.cos().sum(-1)
        u[line[:, 0] > 2] = torch.inf
        return u.numpy(), torch.cat([(line - 1) / 0.36, circle.sin()], -1).numpy()


def trained(learners, n_linear, n_circular, volume_loss):
    """Parameters, chains, teacher and the last report after a few steps."""
    torch.manual_seed(0)
    chart = Cylinder(n_linear, n_circular)
    evaluators = SerialEvaluators(lambda: Energy(n_linear), "torch")
    values = {
        "batch": 32, "regression_batch": 64, "likelihood_weight": 0.1, "volume_loss": volume_loss,
        "step_shares": (2, 1, 1, 1), "learning_rate": 1e-3, "flow_weight": 0.01,
        "state_weight": 0.1, "volume_weight": 0.02,
    }  # fmt: skip
    target = {"kind": "density", "name": "gmm9"}
    settings = Config.model_validate({"target": target, "train": values}).train
    # fewer samples than drawn chains
    s = chart.sample_base(200, torch.Generator().manual_seed(5))
    u, grad_u = (torch.from_numpy(array) for array in evaluators.evaluate(s.numpy()))
    start = Configurations(s, chart.log_emphasis(s) - u, chart.pull_back(s, grad_u))
    flow = StepFlow(n_linear, n_circular, layers=2, width=16, orders=2, bins=4, seed=0)
    state = start_state(flow, Buffer(start), settings.learning_rate, seed=1)
    infos = [train_step(state, settings, chart, evaluators, learners) for _ in range(STEPS)]
    return {
        "flow": torch.cat([p.detach().flatten() for p in state.flow.parameters()]),
        "teacher": torch.cat([p.flatten() for p in state.teacher.parameters()]),
        "chains": state.buffer.chains.s,
        "stride": torch.tensor(state.buffer.stride),
        "reports": torch.tensor([list(vars(info).values()) for info in infos]),
        "evaluations": torch.tensor(state.evaluations),
    }


CASES = [(3, 0, "logdet"), (3, 2, "logdet"), (3, 2, "tangent")]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What `main` below leaves in two processes."""
    folder = tmp_path_factory.mktemp("two")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, __file__, folder, str(rank)] for rank in range(2)]
    pipes = {"stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=env, **pipes) for command in commands]
    for process, code in zip(processes, (0, LOST), strict=True):
        _, error = process.communicate(timeout=120)
        assert process.returncode == code, error
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_two_learners_take_the_steps_of_one(by_two, case):
    torch.set_num_threads(1)
    expected = trained(Alone(), *CASES[case])
    first, second = (found[case] for found in by_two)
    assert expected["flow"].isfinite().all()
    for name in expected:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, equal_nan=True)
        tolerance = 1e-6 if name in ("flow", "teacher") else 1e-4  # steps move parameters by 1e-3
        torch.testing.assert_close(
            first[name], expected[name], rtol=1e-5, atol=tolerance, equal_nan=True
        )


def test_the_port_of_the_learners_is_theirs_from_the_moment_it_is_chosen():
    ports = {open_store("127.0.0.1", 2) for _ in range(3)}  # as of three runs at once
    assert len(ports) == 3
    for port in ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("", port))


def main(folder, rank):
    """Train, then lose the second learner."""
    torch.set_num_threads(1)
    place = folder / "port"
    if rank == 0:
        write_text(place, str(open_store("127.0.0.1", 2)))
    while not place.exists():
        time.sleep(0.01)
    join("127.0.0.1", int(place.read_text()), rank, 2)
    group = Group()
    torch.save([trained(group, *case) for case in CASES], folder / f"{rank}.pt")
    if rank == 1:
        os._exit(LOST)
    with pytest.raises(PeerLost):
        group.gather(torch.zeros(3))
    os._exit(0)  # gloo's threads, torn down after a lost peer, now and then abort the process


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
