"""Where the learner of this process computes: its threads and its device, chosen once."""

import os

import torch

from onestep_md.config import Cluster
from onestep_md.errors import ConfigError


def threads(cluster: Cluster) -> int:
    """CPU threads: half of the cores, the evaluators need the others."""
    wanted = cluster.learner_threads
    return max(1, (os.cpu_count() or 2) // 2) if wanted == "auto" else wanted


def device(cluster: Cluster) -> torch.device:
    """Where the network is, in training by one learner and for all samples.

    Raises:
        ConfigError: a GPU is asked for, and PyTorch sees none.
    """
    found = torch.cuda.is_available()
    if cluster.device == "cuda" and not found:
        raise ConfigError(
            "cluster.device: cuda, but PyTorch sees no GPU on this machine. Use auto or cpu, or "
            "install a PyTorch that is built for it."
        )
    return torch.device("cuda" if found and cluster.device != "cpu" else "cpu")


def describe(cluster: Cluster) -> str:
    """For the user, in a few words."""
    chosen = device(cluster)
    if cluster.learners > 1:
        return f"{cluster.learners} learners on Ray"
    if chosen.type == "cuda":
        return f"learner on {torch.cuda.get_device_name(chosen)}"
    return f"learner on {threads(cluster)} CPU threads"
