"""How the parameters of a flow move along their gradients."""

import torch
from torch import Tensor, nn

# Muon's rate over Adam's: the first is the change of a unit vector's image, the second that of
# each entry. Twelve times 4e-3, the peak in pretraining, was too much for LJ13 and for molecules.
_MUON_RATE = 8.0
_MOMENTUM = 0.95
_BETAS = (0.9, 0.99)


class Optimizer:
    """Muon for the matrices inside networks, where it is asked for, and Adam for all else.

    Muon (Jordan et al., https://kellerjordan.github.io/posts/muon) makes all singular values of a
    step equal, so that the few large ones of a gradient do not hide the others: dw4 has in 600
    steps the ESS that it had in 3,000 by Adam alone. Matrices that are zero in an untrained
    network make its output, and are left to Adam.

    Args:
        network: untrained.
        rate: learning rate of Adam.
        muon: whether matrices move by Muon.
    """

    def __init__(self, network: nn.Module, rate: float, muon: bool):
        matrices, others = list[nn.Parameter](), list[nn.Parameter]()
        for parameter in network.parameters():
            inside = parameter.ndim == 2 and bool(parameter.any())
            (matrices if muon and inside else others).append(parameter)
        self._parts: dict[str, torch.optim.Optimizer]
        self._parts = {"adam": torch.optim.Adam(others, betas=_BETAS, foreach=True)}
        if matrices:
            self._parts["muon"] = torch.optim.Muon(matrices, momentum=_MOMENTUM, weight_decay=0.0)
        self.rate = rate

    @property
    def rate(self) -> float:
        """Learning rate of Adam; that of Muon follows it."""
        return self._parts["adam"].param_groups[0]["lr"]

    @rate.setter
    def rate(self, rate: float) -> None:
        for name, part in self._parts.items():
            part.param_groups[0]["lr"] = rate * (_MUON_RATE if name == "muon" else 1.0)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts.values():
            part.zero_grad()

    def step(self) -> None:
        """Move all parameters that have a gradient."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the states of both optimizers."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, saved: dict[str, dict[str, Tensor]]) -> None:
        """Continue from `state_dict()`."""
        for name, part in self._parts.items():
            part.load_state_dict(saved[name])
