"""The actor of a worker process: one evaluator with a clock around it, and how Ray places it.

Arguments arrive read-only and answers are plain arrays.
"""

import functools
import os
import socket
import time
from typing import Any

import numpy as np
import ray

from onestep_md.distributed.pool import Evaluator, EvaluatorFactory, evaluate_blocks, run_segments
from onestep_md.errors import OneStepError, PoolError
from onestep_md.targets.evaluator import Segment, SegmentResult

GPU_PLATFORMS = ("CUDA", "OpenCL", "HIP", "torch-CUDA")


class EvaluatorActor:
    """One evaluator, made at the first call so that its errors reach the driver as they are."""

    def __init__(self, factory: EvaluatorFactory):
        self._factory = factory

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        host = socket.gethostname()
        try:
            return self._factory()
        except OneStepError as error:
            raise type(error)(f"{error}\n  This was the evaluator on {host}.") from error
        except (OSError, ImportError) as error:
            raise PoolError(
                f"the evaluator on {host} cannot be built: {error}\n  The driver could. Packages "
                "and files that the target needs must be on every node, files at the same path."
            ) from error

    def ready(self) -> tuple[str, int]:
        """Host name and process id, as proof that the evaluator has been built."""
        assert self._evaluator is not None
        return socket.gethostname(), os.getpid()

    def evaluate(self, blocks: list[np.ndarray]) -> tuple[tuple[np.ndarray, np.ndarray], float]:
        """((u, grad_u), seconds) of all rows of the blocks, each (batch, atoms, 3)."""
        evaluator = self._evaluator
        started = time.perf_counter()
        result = evaluate_blocks(evaluator, blocks)
        return result, time.perf_counter() - started

    def run_segments(self, segments: list[Segment]) -> tuple[list[SegmentResult], float]:
        """(results, seconds) of pieces of dynamics."""
        evaluator = self._evaluator
        started = time.perf_counter()
        results = run_segments(evaluator, segments)
        return results, time.perf_counter() - started


def actor_class(platform: str, workers: int) -> Any:
    """The remote class: one CPU each, restarted for ever, no task retried by Ray itself.

    `workers` share the GPUs of the cluster, where the platform computes on GPUs.
    """
    env = {"OMP_NUM_THREADS": "1"}
    gpus = int(ray.cluster_resources().get("GPU", 0))
    fraction = None
    if platform not in GPU_PLATFORMS:
        # num_gpus=0 no longer hides the GPUs, and they belong to the learner.
        env["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus:
        fraction = 1 / -(-workers // gpus)
    return ray.remote(EvaluatorActor).options(
        num_cpus=1,
        num_gpus=fraction,
        max_restarts=-1,
        max_task_retries=0,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": env},
    )
