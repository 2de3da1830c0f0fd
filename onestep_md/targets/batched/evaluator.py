"""Reduced energies by torch, and dynamics by OpenMM, under the contract of `PotentialEvaluator`.

Dynamics stays on OpenMM's CPU platform: it needs one energy after the other.
"""

import numpy as np
import openmm
import torch

from onestep_md.errors import TargetError
from onestep_md.targets import gaps
from onestep_md.targets.batched.energy import BatchedEnergy
from onestep_md.targets.evaluator import PotentialEvaluator, Segment, SegmentResult
from onestep_md.targets.molecule import Molecule

# conformations times pairs of atoms in one evaluation: on a CPU they stay in the cache
_PAIRS = {"cpu": 2**15, "cuda": 2**22}
# conformations are filled up to a multiple of it: the vectors that a sum over pairs runs over are
# whole then, and a row has the same last digits in every batch
_ROWS = 32


class BatchedEvaluator:
    """Evaluates one molecule.

    Args:
        molecule: as loaded by `load_molecule`.
        device: of torch, cpu or cuda.

    Raises:
        TargetError: its System has a force that is not known, or there is no such device.
    """

    def __init__(self, molecule: Molecule, device: str = "cpu"):
        if device == "cuda" and not torch.cuda.is_available():
            raise TargetError(
                "cluster.platform: torch-CUDA, but PyTorch sees no GPU here. Set it to torch, to "
                "an OpenMM platform or to auto."
            )
        system = openmm.XmlSerializer.deserialize(molecule.system_xml)
        self._energy = BatchedEnergy.of(system, molecule.kT).to(device)
        self._device, self._filler = device, molecule.positions
        self._at_once = _ROWS * max(1, _PAIRS[device] // _ROWS // _pairs(len(self._filler)))
        self._dynamics = PotentialEvaluator(molecule, "CPU")

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute reduced energies and their gradients, as `PotentialEvaluator.evaluate`."""
        x = np.ascontiguousarray(x, dtype=np.float64)
        if x.ndim != 3 or x.shape[1:] != self._filler.shape:
            raise ValueError(f"x has shape {x.shape}, expected (batch, {len(self._filler)}, 3)")
        u, grad_u = np.full(len(x), np.inf), np.zeros_like(x)
        rows = np.flatnonzero(np.isfinite(x).all(axis=(1, 2)))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a Ray actor; several threads sum in another order
        try:
            for start in range(0, len(rows), self._at_once):
                part = rows[start : start + self._at_once]
                u[part], grad_u[part] = self._evaluate(x[part])
        finally:
            torch.set_num_threads(threads)
        return gaps.mark(u, grad_u)

    def run_segment(self, segment: Segment) -> SegmentResult:
        """Run dynamics, as `PotentialEvaluator.run_segment` on the CPU platform."""
        return self._dynamics.run_segment(segment)

    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        filled = np.empty((_ROWS * -(-len(x) // _ROWS), *x.shape[1:]))
        filled[: len(x)], filled[len(x) :] = x, self._filler
        u, grad_u = self._energy.with_gradient(torch.tensor(filled, device=self._device))
        return u[: len(x)].cpu().numpy(), grad_u[: len(x)].cpu().numpy()


def _pairs(atoms: int) -> int:
    return max(1, atoms * (atoms - 1) // 2)
