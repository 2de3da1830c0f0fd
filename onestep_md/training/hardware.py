"""Where the learner of this process computes: threads, memory and device, chosen once."""

import ctypes
import os

import torch

from onestep_md.config import Cluster
from onestep_md.distributed.pool import Evaluators
from onestep_md.errors import ConfigError

# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 2**30  # bytes


def prepare(cluster: Cluster, local: bool) -> None:
    """Set threads, and keep the memory of large tensors for the next ones.

    The C library returns blocks of megabytes to the system as soon as they are free, and has
    every page of the next one cleared: a quarter of the time of an equivariant network. Where it
    is no glibc, nothing is changed.
    """
    torch.set_num_threads(threads(cluster, local))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def threads(cluster: Cluster, local: bool) -> int:
    """Number of CPU threads: half of the cores, or all where learner and evaluators take turns."""
    wanted = cluster.learner_threads
    cores = os.cpu_count() or 2
    return max(1, cores if local else cores // 2) if wanted == "auto" else wanted


def device(cluster: Cluster) -> torch.device:
    """Choose the device of the network, in training by one learner and for all samples.

    Raises:
        ConfigError: a GPU is asked for, and PyTorch sees none.
    """
    has_gpu = torch.cuda.is_available()
    if cluster.device == "cuda" and not has_gpu:
        raise ConfigError(
            "cluster.device: cuda, but PyTorch sees no GPU on this machine. Use auto or cpu, or "
            "install a PyTorch that is built for it."
        )
    return torch.device("cuda" if has_gpu and cluster.device != "cpu" else "cpu")


def describe(cluster: Cluster, local: bool) -> str:
    """Describe the learners in a few words."""
    chosen = device(cluster)
    if cluster.learners > 1:
        return f"{cluster.learners} learners on Ray"
    if chosen.type == "cuda":
        return f"learner on {torch.cuda.get_device_name(chosen)}"
    return f"learner on {threads(cluster, local)} CPU threads"


def resources(cluster: Cluster, evaluators: Evaluators) -> dict[str, object]:
    """List evaluators and learners, for environment.json."""
    return {
        "evaluators": evaluators.workers,
        "platform": evaluators.platform,
        "learners": cluster.learners,
        "learner_device": str(device(cluster)),
        "learner_threads": torch.get_num_threads(),
    }
