"""The result of an exploration, and the file that keeps it."""

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from onestep_md.errors import RunFolderError, TargetError
from onestep_md.files import replacing

EXPLORATION_FILE = "exploration.npz"  # in a run folder


@dataclass(frozen=True)
class Exploration:
    """Frames of replica exchange, or of annealing.

    Attributes:
        frames: (n, atoms, 3) in nm, of the lowest temperature, in time order; of an annealing, in
            the order of the population, relatives side by side.
        u: (n,) their reduced energies in kT.
        grad_u: (n, atoms, 3) their gradients in kT/nm.
        replica: (n,) number of the walker, which changes temperature, of each frame; for an
            annealing the island of the population.
        temperatures: (replicas,) in K.
        exchange_acceptance: (replicas - 1,) accepted fraction between neighbours.
        evaluations: force evaluations spent.
        restarts: segments that produced non-finite values or left the domain and were run again.
        ladder_u: (m, replicas) energies of all temperatures in kT of the lowest, in time order,
            nan where a segment failed or left the domain; (0, replicas) where none were kept.
    """

    frames: np.ndarray
    u: np.ndarray
    grad_u: np.ndarray
    replica: np.ndarray
    temperatures: np.ndarray
    exchange_acceptance: np.ndarray
    evaluations: int
    restarts: int
    ladder_u: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def save(self, path: Path, fingerprint: str) -> None:
        """Write an npz file, completely or not at all.

        Args:
            path: of the file.
            fingerprint: of everything the result depends on; `load` checks it.
        """
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        try:
            with replacing(path) as aside:
                np.savez(aside, fingerprint=np.array(fingerprint), **arrays)
        except OSError as error:
            raise RunFolderError(
                f"cannot write {path}: {error}. Free some space and start again with --resume."
            ) from error

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> "Exploration":
        """Read what `save` wrote.

        Raises:
            TargetError: it was made with another target, other settings or another seed.
            RunFolderError: the file is damaged.
        """
        try:
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in stored.files}
            stored_fingerprint = str(arrays.pop("fingerprint"))
            evaluations, restarts = int(arrays.pop("evaluations")), int(arrays.pop("restarts"))
            exploration = cls(evaluations=evaluations, restarts=restarts, **arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise RunFolderError(
                f"cannot read {path}: {error}. Delete it to explore again."
            ) from error
        if stored_fingerprint != fingerprint:
            raise TargetError(
                f"{path} was made with another target, other exploration settings or another "
                "seed. Restore those, choose another folder with --out, or delete the file to "
                "explore again."
            )
        return exploration
