"""Several learners on torch.distributed.

All messages are those of CPUs (gloo): rows and decisions are there anyway, and gradients, a few
megabytes a step, are brought there from GPUs.

DistributedDataParallel is of no use here: it wraps one forward and one backward pass, and a
training step has several of each, with Jacobian-vector products among them. The gradients are
added up once per step instead.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

_stores: list[dist.TCPStore] = []  # of this process, the first learner: open until it ends


class PeerLost(Exception):
    """Another learner is gone; all of them have to start again from the last checkpoint."""


def open_store(host: str, world: int) -> int:
    """Listen for `world` learners at a port of the system's choice, and return the port.

    The port is bound from the start: a free one that is looked up and bound later may be taken
    meanwhile, and by the store of another run, which the other learners would then join.
    """
    store = dist.TCPStore(host, 0, world, is_master=True, wait_for_workers=False)
    _stores.append(store)
    return store.port


def join(host: str, port: int, rank: int, world: int) -> None:
    """Make the process group of all learners; rank 0 is the process that called `open_store`."""
    store = _stores[-1] if rank == 0 else dist.TCPStore(host, port, world, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)


class Group:
    """The `Learners` protocol for one process of an initialised process group."""

    def __init__(self, stop: Callable[[], bool] = lambda: False):
        """Take `stop`, which returns whether the run was asked to stop; rank 0 alone calls it."""
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._stop = stop

    def take_rows(self, rows: Tensor) -> Tensor:
        """Take one of `world` equal blocks of (n, ...)."""
        size, rest = divmod(len(rows), self.world)
        assert rest == 0, f"{len(rows)} rows for {self.world} learners"
        return rows[self.rank * size : (self.rank + 1) * size]

    def gather(self, rows: Tensor) -> Tensor:
        """Join the blocks of all learners in order, (n, ...)."""
        rows = rows.detach().contiguous()
        blocks = [torch.empty_like(rows) for _ in range(self.world)]
        _together(dist.all_gather, blocks, rows)
        return torch.cat(blocks)

    def sum_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Add up the gradients of all learners in place, in one message."""
        flat = torch.cat([gradient.flatten() for gradient in gradients]).cpu()
        _together(dist.all_reduce, flat)
        for gradient, total in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(total.view_as(gradient))

    def stop_requested(self) -> bool:
        """Whether rank 0 was asked to stop."""
        asked = self.rank == 0 and self._stop()
        return bool(self.gather(torch.tensor([asked])).any())

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the process group to its owner."""


def _together(operation: Callable, *arguments: object) -> None:
    try:
        operation(*arguments)
    except RuntimeError as error:  # what gloo raises for a closed connection
        raise PeerLost(str(error)) from error
