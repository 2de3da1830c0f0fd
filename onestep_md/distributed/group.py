"""Several learners on torch.distributed.

All messages are those of CPUs (gloo): rows and decisions are there anyway, and gradients, a few
megabytes a step, are brought there from GPUs.

DistributedDataParallel is of no use here: it wraps one forward and one backward pass, and a
training step has several of each, with Jacobian-vector products among them. The gradients are
added up once per step instead.
"""

from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


class PeerLost(Exception):
    """Another learner is gone; all of them have to start again from the last checkpoint."""


class Group:
    """The `Learners` protocol for one process of an initialised process group."""

    def __init__(self, stop: Callable[[], bool] = lambda: False):
        """`stop` tells whether the run was asked to stop; rank 0 alone is asked."""
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._stop = stop

    def take_rows(self, rows: Tensor) -> Tensor:
        """One of `world` equal blocks of (n, ...)."""
        size, rest = divmod(len(rows), self.world)
        assert rest == 0, f"{len(rows)} rows for {self.world} learners"
        return rows[self.rank * size : (self.rank + 1) * size]

    def gather(self, rows: Tensor) -> Tensor:
        """The blocks of all learners in order, (n, ...)."""
        rows = rows.detach().contiguous()
        blocks = [torch.empty_like(rows) for _ in range(self.world)]
        _together(dist.all_gather, blocks, rows)
        return torch.cat(blocks)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all learners in place, in one message."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]).cpu()
        _together(dist.all_reduce, flat)
        for gradient, total in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(total.view_as(gradient))

    def stop_requested(self) -> bool:
        """What rank 0 was told."""
        asked = self.rank == 0 and self._stop()
        return bool(self.gather(torch.tensor([asked])).any())

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *exc: object) -> None:
        """The process group is not ours."""


def _together(operation: Callable, *arguments: object) -> None:
    try:
        operation(*arguments)
    except RuntimeError as error:  # what gloo raises for a closed connection
        raise PeerLost(str(error)) from error
