"""Equal-weight configurations of the target, in flow coordinates, with their forces.

The buffer starts with the exploration frames. Batches of flow samples come back from the
evaluators with importance weights, are resampled by them and overwrite entries of its second
half, whose populations then follow the weights and no longer the short dynamics. The first half
stays as it is: a basin that the flow does not reach yet must not be forgotten.
"""

import torch
from torch import Tensor


class Buffer:
    """A fixed number of (state, force) pairs with random replacement.

    Attributes:
        s: (size, dim) float32 flow states.
        force: (size, dim) float32 grad log p in flow coordinates.
        fresh: how many entries have been written by the flow since the start.
    """

    def __init__(self, s: Tensor, force: Tensor):
        self.s = s.float().clone()
        self.force = force.float().clone()
        self.fresh = 0

    def __len__(self) -> int:
        return len(self.s)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs with replacement."""
        index = torch.randint(len(self), (n,), generator=generator)
        return self.s[index], self.force[index]

    def refresh(
        self, s: Tensor, force: Tensor, log_w: Tensor, n: int, generator: torch.Generator
    ) -> None:
        """Resample n of a weighted batch into random places of the second half.

        Args:
            s, force: (batch, dim) flow samples and their forces.
            log_w: (batch,) log importance weights, -inf allowed.
            n: how many to take; a batch whose weights rest on few samples should give few.
            generator: source of randomness.
        """
        if n == 0 or not torch.isfinite(log_w).any():
            return
        chosen = torch.multinomial(
            torch.softmax(log_w.double(), 0), n, replacement=True, generator=generator
        )
        half = len(self) // 2
        # all different: writing one place twice would leave it to chance which pair it holds
        place = half + torch.randperm(len(self) - half, generator=generator)[:n]
        chosen = chosen[: len(place)]
        self.s[place] = s[chosen].float()
        self.force[place] = force[chosen].float()
        self.fresh += len(place)

    def state(self) -> dict[str, Tensor | int]:
        """Tensors and primitives for a checkpoint."""
        return {"s": self.s, "force": self.force, "fresh": self.fresh}

    @classmethod
    def from_state(cls, state: dict) -> "Buffer":
        """Rebuild a buffer from `state()`."""
        buffer = cls(state["s"], state["force"])
        buffer.fresh = state["fresh"]
        return buffer
