"""Where the learner computes: chosen by what there is, and refused rather than replaced."""

import pytest
import torch

from onestep_md.config import Cluster
from onestep_md.errors import ConfigError
from onestep_md.training import hardware


@pytest.mark.parametrize(
    ("wanted", "gpu", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_device(monkeypatch, wanted, gpu, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a large GPU")
    cluster = Cluster(device=wanted, learner_threads=3)
    assert hardware.device(cluster).type == expected
    text = hardware.describe(cluster, local=False)
    assert text == ("learner on a large GPU" if expected == "cuda" else "learner on 3 CPU threads")


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="PyTorch sees no GPU"):
        hardware.device(Cluster(device="cuda"))


def test_threads_leave_half_of_the_cores_to_evaluators(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert hardware.threads(Cluster(), local=False) == 4
    assert hardware.threads(Cluster(), local=True) == 8
    assert hardware.threads(Cluster(learner_threads=3), local=True) == 3
