"""Gradients of the losses, each clipped by itself; one of them in a second thread.

Backward passes are loops of C++ that leave Python's lock alone, so that the one of the chains'
loss costs a learner no time while it does other work, or waits for energies.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from onestep_md.flow.base import Flow

GRADIENT_NORM = 1.0


def gradients_of(loss: Tensor, flow: Flow) -> list[Tensor]:
    """Differentiate a scalar by the parameters of a flow, zeros where it depends on none."""
    parameters = list(flow.parameters())
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def start_gradients(loss: Tensor, flow: Flow) -> "Future[list[Tensor]]":
    """Start `gradients_of` in a thread that ends with it."""
    thread = ThreadPoolExecutor(max_workers=1)
    gradients = thread.submit(gradients_of, loss, flow)
    thread.shutdown(wait=False)
    return gradients


def clip(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Shorten gradients whose common norm is larger than `GRADIENT_NORM` to this."""
    norm = torch.nn.utils.get_total_norm(gradients)
    factor = (GRADIENT_NORM / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    return [factor * gradient for gradient in gradients]
