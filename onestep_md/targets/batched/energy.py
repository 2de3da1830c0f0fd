"""The potential energy of an OpenMM System as a torch module, for batches of conformations.

u(x) = U(x) / kT, equal to OpenMM's Reference platform. Forces that it does not know, and cutoffs
and boxes, are refused: a System has all of its energy or none.
"""

from collections.abc import Callable

import openmm
import torch
from torch import Tensor, nn

from onestep_md.errors import TargetError
from onestep_md.targets.batched import bonded, born, pairs
from onestep_md.targets.batched.geometry import Geometry

_READERS: dict[str, Callable[..., nn.Module | None]] = {
    "HarmonicBondForce": bonded.read_bonds,
    "HarmonicAngleForce": bonded.read_angles,
    "PeriodicTorsionForce": bonded.read_torsions,
    "RBTorsionForce": bonded.read_rb_torsions,
    "CMAPTorsionForce": bonded.read_maps,
    "CustomBondForce": bonded.read_custom_bonds,
    "CustomAngleForce": bonded.read_custom_angles,
    "CustomTorsionForce": bonded.read_custom_torsions,
    "NonbondedForce": pairs.read_pairs,
    "CustomNonbondedForce": pairs.CustomPairs,
    "GBSAOBCForce": born.read_obc2,
    "CustomGBForce": born.read_custom_born,
    "CMMotionRemover": lambda force: None,
}


class BatchedEnergy(nn.Module):
    """Reduced energies of a System.

    It computes in the precision and on the device of the module, which are those of `x`: float64
    on the CPU unless `to` has moved it.

    Args:
        terms: modules from a `Geometry` to energies (batch,) in kJ/mol.
        atoms: their number.
        kT: thermal energy in kJ/mol.
    """

    def __init__(self, terms: list[nn.Module], atoms: int, kT: float):
        super().__init__()
        self._terms, self._atoms, self._kT = nn.ModuleList(terms), atoms, kT

    @classmethod
    def of(cls, system: openmm.System, kT: float) -> "BatchedEnergy":
        """Read all forces of a System.

        Raises:
            TargetError: one of them is not known; the message names it.
        """
        atoms = system.getNumParticles()
        if any(system.isVirtualSite(i) for i in range(atoms)):
            raise TargetError(_refusal("the System", "virtual sites are not known"))
        terms = []
        for force in system.getForces():
            term = _read(force)
            if term is not None:
                terms.append(term)
        return cls(terms, atoms, kT)

    def forward(self, x: Tensor) -> Tensor:
        """Compute reduced energies.

        Args:
            x: (batch, atoms, 3) in nm. The memory grows with batch times pairs of atoms.

        Returns:
            (batch,) in kT; a row may be infinite or not a number, the others do not feel it.
        """
        if x.ndim != 3 or x.shape[1:] != (self._atoms, 3):
            raise ValueError(f"x has shape {tuple(x.shape)}, expected (batch, {self._atoms}, 3)")
        geometry = Geometry(x)
        energy = geometry.zero
        for term in self._terms:
            energy = energy + term(geometry)
        return energy / self._kT

    def with_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute reduced energies and their gradients.

        Args:
            x: (batch, atoms, 3) in nm.

        Returns:
            u (batch,) in kT and grad_u (batch, atoms, 3) in kT/nm, both without history.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = self(x)
            if not u.requires_grad:  # no force, or constants alone
                return u, torch.zeros_like(x)
            # rows are independent, so the gradient of the sum holds the gradient of every row
            (grad_u,) = torch.autograd.grad(u.sum(), x, materialize_grads=True)
        return u.detach(), grad_u


def _read(force: openmm.Force) -> nn.Module | None:
    name = type(force).__name__
    if name not in _READERS:
        raise TargetError(_refusal(name, "it is not among the forces that are known"))
    if force.usesPeriodicBoundaryConditions() or getattr(force, "getNonbondedMethod", int)():
        raise TargetError(_refusal(name, "it has a cutoff or a box"))
    try:
        term = _READERS[name](force)
        if term is not None and hasattr(force, "getNumParticles"):
            term(Geometry(torch.zeros(0, force.getNumParticles(), 3, dtype=torch.float64)))
    except TargetError as error:
        raise TargetError(_refusal(name, str(error))) from error
    except (ArithmeticError, IndexError, RuntimeError) as error:
        raise TargetError(_refusal(name, f"its expressions fail: {error}")) from error
    return term


def _refusal(name: str, reason: str) -> str:
    return (
        f"{name} cannot be computed in batches: {reason}. Set cluster.platform to Reference or "
        "CPU, or to auto."
    )
