"""A device that is none, since there may be no GPU.

Its tensors say that they are on the meta device, compute on the CPU, and refuse tensors of the CPU
as those of a GPU do.
"""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from onestep_md.benchmark.learner import gradients_at_once
from onestep_md.training import train

TRANSFERS = ("aten::_to_copy", "aten::copy_")  # operations between devices


class Elsewhere(torch.Tensor):
    @staticmethod
    def __new__(cls, data):
        made = torch.Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), dtype=data.dtype, device="meta"
        )
        made.held = data
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    name, wanted = func._schema.name, kwargs.get("device")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    if not there and wanted is None:
        with _disable_current_modes():
            return func(*args, **kwargs)
    here = any(tensor.ndim and not isinstance(tensor, Elsewhere) for tensor in tensors)
    if there and here and name not in TRANSFERS and name != "aten::index":
        raise RuntimeError(f"{name}: tensors on two devices")
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args_held, kwargs_held = tree_map(
        lambda leaf: leaf.held if isinstance(leaf, Elsewhere) else leaf, (args, kwargs)
    )
    with _disable_current_modes():
        out = func(*args_held, **kwargs_held)
    stays = there if wanted is None else torch.device(wanted).type == "meta"
    if not stays:
        return out
    if name.endswith("_"):  # those of lists of tensors return nothing
        return args[0] if func._schema.returns else None
    return tree_map(lambda leaf: Elsewhere(leaf) if type(leaf) is torch.Tensor else leaf, out)


class Computed(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class Moved(TorchFunctionMode):
    """Tensors made of numbers there are made here and moved."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None) if func in (torch.as_tensor, torch.tensor) else None
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


@pytest.fixture
def elsewhere(monkeypatch):
    # modes are those of one thread; a GPU is the same in all
    monkeypatch.setattr(train, "start_gradients", gradients_at_once)
    # parameters stay the same objects, as on their way to a GPU, for the optimizer's sake
    torch.__future__.set_swap_module_params_on_conversion(True)
    with Moved(), Computed():
        yield torch.device("meta")
    torch.__future__.set_swap_module_params_on_conversion(False)
